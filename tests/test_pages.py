"""The pages: each technique and question of the article has one; what is generated is all there."""

import json
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import costlab_reference as reference  # noqa: E402

TOC = re.findall(r"(?:root|file): (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))
CHAPTERS = reference.chapters(ROOT)

# What the article names, and the page of the book that is about it.
PAGES = {
    "1 background": "book/background",
    "2 core concepts": "book/concepts",
    "2 use of compute": "notebooks/02_compute",
    "2 use of storage": "notebooks/03_storage",
    "3 algorithms and formulas": "book/algorithms",
    "3.1 weight clipping": "notebooks/04_clipping",
    "3.1 quantization": "notebooks/05_quantization",
    "3.1 distillation": "notebooks/06_distillation",
    "3.2 data parallel": "notebooks/07_data_parallel",
    "3.2 model parallel": "notebooks/08_model_parallel",
    "3.2 gradient parallel": "notebooks/09_gradient_parallel",
    "3.3 pruning": "notebooks/10_pruning",
    "3.3 regularization": "notebooks/11_regularization",
    "3.3 shearing": "notebooks/12_shearing",
    "4.1 code for compression": "notebooks/14_listing_compression",
    "4.2 code for distributed training": "notebooks/15_listing_distributed",
    "4.3 code for optimization": "notebooks/16_listing_optimization",
    "5 trends": "notebooks/19_trends",
    "6 questions": "notebooks/20_advisor",
    "7 conclusion": "book/conclusion",
    "as a service": "notebooks/17_serving",
}
TO_COME = {"08_model_parallel"}
QUESTIONS = {
    "compute": "which compute",
    "storage": "which storage",
    "compression": "which compression",
    "parallelism": "which way to distribute",
    "optimization": "which optimization",
}
TRENDS = ("compute", "storage", "compression", "distributed training", "optimization")


@pytest.mark.parametrize("topic", PAGES)
def test_what_the_article_names_has_its_page(topic):
    page = PAGES[topic]
    if page not in TOC and page.removeprefix("notebooks/") in TO_COME:
        pytest.skip(f"{page} is still to come")
    assert page in TOC
    assert list(ROOT.glob(f"{page}.*")), f"{page} is in _toc.yml and nowhere else"


def headings(name: str) -> str:
    cells = json.loads((ROOT / f"notebooks/{name}.ipynb").read_text(encoding="utf-8"))["cells"]
    text = "\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    return "\n".join(re.findall(r"^## .*$", text, re.M)).lower()


@pytest.mark.parametrize("question", QUESTIONS)
def test_each_question_of_the_article_has_its_section(question):
    assert QUESTIONS[question] in headings("20_advisor")


@pytest.mark.parametrize("trend", TRENDS)
def test_each_trend_of_the_article_has_its_section(trend):
    assert trend in headings("19_trends")


@pytest.mark.parametrize("name", CHAPTERS)
def test_each_chapter_ends_with_a_take_away_problems_and_what_to_read(name):
    texts = ["".join(c["source"]) for c in reference.cells(ROOT, name)]
    text = "\n".join(texts)
    assert re.search(r"^## (Take it with you|What to take from this)$", text, re.M)
    assert re.search(r"^## Further reading$", text, re.M)
    for number in ("1|One", "2|Two", "3|Three"):
        assert re.search(rf"^\*\*(Worked problem )?({number})[.:]", text, re.M), number


def test_the_overview_links_to_every_method_of_the_article():
    text = (ROOT / "book/algorithms.md").read_text(encoding="utf-8")
    for topic, page in PAGES.items():
        if topic.startswith("3."):
            assert f"../{page}.ipynb" in text, f"{topic} has no way to its chapter"


def prose() -> list[Path]:
    return sorted((ROOT / "book").glob("*.md"))


@pytest.mark.parametrize("path", prose(), ids=lambda path: path.stem)
def test_links_between_pages_lead_somewhere(path):
    text = reference.write_out(path.read_text(encoding="utf-8"), ROOT)
    for target in re.findall(r"\]\(((?:\.\./)?[\w/]+\.(?:md|ipynb))", text):
        page = (path.parent / target).resolve()
        assert page.is_file(), target
        name = page.relative_to(ROOT).with_suffix("").as_posix()
        assert name in TOC, f"{target} is no page of the book"


# --- what is generated


@pytest.mark.parametrize("name", CHAPTERS)
def test_every_claim_that_held_is_on_the_page(name):
    outputs = [o for c in reference.cells(ROOT, name) for o in c.get("outputs", [])]
    said = sum("".join(o.get("text", [])).count("claim holds (") for o in outputs)
    found = list(reference.claims(ROOT, name))
    assert len(found) == said
    for kind, sentence, figures, _ in found:
        assert kind in ("exact", "measured", "recorded")
        assert len(sentence) > 10
        assert re.fullmatch(r"\S+ (<|<=|>|>=|==) \S+( \(noise \S+\))?", figures)


def test_a_claim_over_several_lines_is_put_together():
    text = "before\nclaim holds (measured): A long\n  sentence\n[measured] 2 > 1 (noise 0.5)\nafter"
    assert list(reference.printed(text)) == [("measured", "A long sentence", "2 > 1 (noise 0.5)")]
    assert list(reference.printed("claim holds (exact): Cut off\n")) == []


def test_nothing_in_a_sentence_is_taken_for_markup():
    assert reference.plain("$5 for [a] x_y | z") == r"\$5 for \[a\] x\_y \| z"


def test_the_page_of_claims_counts_and_links_them():
    page = reference.claims_page(ROOT)
    count = int(page.split()[0])
    assert count == sum(len(list(reference.claims(ROOT, name))) for name in CHAPTERS)
    assert page.count("](../notebooks/") == count


def test_the_reference_holds_what_readers_type():
    page = reference.api_page(ROOT)
    import costlab

    for name in costlab._HOME:
        assert f"### costlab.{name}\n" in page
    assert "quantize(model: nn.Module, *, bits: int=8" in page
    assert "[The bill](../notebooks/01_the_bill.ipynb)" in page


def test_the_status_sums_its_runs():
    rows = re.findall(
        r"^\| \w[^|]*\| [\d-]+ \| ([\d.]+) \| ([\d.]+) \|", reference.status_page(ROOT), re.M
    )
    assert len(rows) >= 10
    total = float(re.search(r"\*\*([\d.]+)\*\*", reference.status_page(ROOT))[1])
    assert total == pytest.approx(sum(float(dollars) for _, dollars in rows), abs=0.02)


def test_the_status_says_how_long_chapters_run(tmp_path):
    (tmp_path / "_toc.yml").write_text("file: notebooks/01_the_bill")
    (tmp_path / "notebooks").mkdir()
    notebook = {"cells": [{"source": ["# The bill\n", "text"]}]}
    (tmp_path / "notebooks" / "01_the_bill.ipynb").write_text(json.dumps(notebook))
    assert reference._chapter_times(tmp_path) == []
    (tmp_path / "costlab" / "results").mkdir(parents=True)
    record = {"chapters": {"01_the_bill": 34.56, "99_gone": 1.0}}
    (tmp_path / "costlab" / "results" / "chapters.json").write_text(json.dumps(record))
    *_, row, end = reference._chapter_times(tmp_path)
    assert (row, end) == ("| [The bill](../notebooks/01_the_bill.ipynb) | 35 |", "")


def test_a_chapter_to_come_is_named_and_not_linked():
    text = "[Later](../notebooks/99_later.ipynb), [The bill](../notebooks/01_the_bill.ipynb#x)"
    assert reference.write_out(text, ROOT) == (
        "Later, [The bill](../notebooks/01_the_bill.ipynb#x)"
    )


def test_paths_leave_out_chapters_to_come():
    text = reference.path_list(ROOT, "01_the_bill 99_later")
    assert "99" not in text
    assert text.endswith("Together 20 minutes of reading.")


@pytest.mark.parametrize("name", CHAPTERS)
def test_minutes_are_known(name):
    assert 5 <= reference.minutes(ROOT, name) <= 90


@pytest.mark.parametrize(
    ("heading", "anchor"),
    [("The idea, in one figure", "the-idea-in-one-figure"), ("What `x` is", "what-x-is")],
)
def test_anchors_are_those_of_the_book(heading, anchor):
    assert reference.slug(heading) == anchor
