"""The editions of the notebooks, the slides, the kit, the plans and the game's leaderboard."""

import contextlib
import io
import itertools
import os
import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import editions
import kit
import leaderboard
import slides

ROOT = editions.ROOT
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
WORKSHOP = ROOT / "book" / "workshop"
FIGURE = {"mystnb": {"image": {"alt": "Two lines that cross"}}}
STUB = """from costlab.exercises import check


def flops_per_token(parameters):
    return ...  # your answer


solved = check("bill.1", flops_per_token)"""


def small():
    """A notebook with one of everything."""
    png = new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"})
    solution = (
        "<!-- solution: bill.1 -->\n\n<details>\nSECRET\n</details>\n\n<!-- end of solution -->"
    )
    cells = [
        new_markdown_cell("# Title\n\nIt opens. It goes on.\n\n[Open in Colab](https://x.test/y)"),
        new_code_cell("from costlab import notebook\n\nnotebook.begin(seed=0)"),
        new_markdown_cell(
            "## A part\n\nSaid first. Said next.\n\n- one\n- two\n\n$$x\n\ny$$\n\nEnd."
        ),
        new_code_cell("a = 1", outputs=[new_output("stream", text="[measured] 2 ms\n")]),
        new_markdown_cell("This leads to the figure."),
        new_code_cell("draw()", outputs=[png], metadata=FIGURE),
        new_code_cell(STUB, outputs=[new_output("stream", text="bill.1: not answered yet.\n")]),
        new_markdown_cell(solution),
        new_markdown_cell("## Take it with you"),
    ]
    return new_notebook(cells=cells)


def sources(nb):
    return "\n".join(cell.source for cell in nb.cells)


# --- students and instructors


def test_students_get_stubs_without_solutions_or_outputs():
    made = editions.student(small())
    assert "return ...  # your answer" in sources(made)
    assert "SECRET" not in sources(made)
    assert "solution" not in sources(made)
    assert not any(cell.get("outputs") for cell in made.cells)
    assert all(cell.source for cell in made.cells)
    nbformat.validate(made)


def test_the_source_stays_as_it_is():
    nb = small()
    editions.student(nb), editions.instructor(nb, "x"), slides.deck(nb)
    assert nb == small() | {"cells": nb.cells}
    assert [cell.source for cell in nb.cells] == [cell.source for cell in small().cells]
    assert nb.cells[3].outputs == small().cells[3].outputs


def test_instructors_get_solutions_notes_and_minutes():
    made = editions.instructor(small(), "Let them vote.", seconds=12)
    text = sources(made)
    assert "<details open>" in text
    assert "return 2 * parameters" in text
    assert "return ..." not in text
    assert "Let them vote." in made.cells[1].source
    assert "12 s" in made.cells[1].source
    solved = next(cell for cell in made.cells if "check(" in cell.source)
    assert solved.outputs[0].text.startswith("bill.1: right. ")
    assert re.search(r"## A part\n\n\*About \d+ minutes\.\*", text)
    nbformat.validate(made)


def test_minutes_grow_with_what_there_is_to_read():
    nb = small()
    before = editions.section_minutes(nb)
    nb.cells[2].source += "\n\n" + "word " * 900
    after = editions.section_minutes(nb)
    assert after[2] - before[2] in (4, 5, 6)
    assert {k: v for k, v in after.items() if k != 2} == {k: v for k, v in before.items() if k != 2}


@each_notebook
def test_no_solution_reaches_a_student(path):
    nb = nbformat.read(path, as_version=4)
    exercises = [name for cell in nb.cells if (name := editions.exercise_of(cell))]
    text = sources(editions.student(nb))
    assert "<details>" not in text
    assert text.count("return ...") == sources(nb).count("return ...")
    assert all(f'check("{name}"' in text for name in exercises)


@each_notebook
def test_every_cell_of_an_instructor_solves_its_exercise(path):
    nb = nbformat.read(path, as_version=4)
    for cell in nb.cells:
        if name := editions.exercise_of(cell):
            editions.solve(cell, name)
            scope = {}
            with contextlib.redirect_stdout(io.StringIO()):
                exec("from costlab.exercises import check, hint\n" + cell.source, scope)
            assert scope["solved"] is True, name


@each_notebook
def test_every_chapter_has_teaching_notes(path):
    notes = editions.teaching_notes(path.stem)
    assert len(notes.split()) > 30
    assert "**Ask.**" in notes
    assert "\n(" not in notes


# --- slides


def test_prose_is_spoken_and_what_is_drawn_is_shown():
    cells = slides.deck(small(), "Teaching note.").cells
    kinds = [cell.metadata.slideshow.slide_type for cell in cells]
    shown = "\n".join(c.source for c, kind in zip(cells, kinds) if kind != "notes")
    spoken = "\n".join(c.source for c, kind in zip(cells, kinds) if kind == "notes")
    assert kinds.count("slide") == 3
    for text in ("# Title", "It opens.", "Said first.", "- one\n- two", "$$x\n\ny$$", "a = 1"):
        assert text in shown
    for text in ("It goes on.", "Said next.", "End.", "This leads", "Teaching note."):
        assert text in spoken
        assert text not in shown
    assert "SECRET" not in shown + spoken
    assert "Colab" not in shown + spoken
    assert "notebook.begin" not in shown
    figure = next(i for i, cell in enumerate(cells) if "draw()" in cell.source)
    assert kinds[figure] == "subslide"
    assert cells[figure + 1].source == "This leads to the figure."
    stub = next(cell for cell in cells if "return ..." in cell.source)
    assert stub.outputs == []


def test_a_slide_that_is_full_is_followed_by_another():
    nb = small()
    nb.cells[3].source = "\n".join(f"x{i} = {i}" for i in range(15))
    cells = [c for c in slides.deck(nb).cells if c.cell_type == "code"]
    assert cells[0].metadata.slideshow.slide_type == "subslide"


@pytest.fixture(scope="module")
def page():
    nb = nbformat.read(ROOT / "notebooks" / "12_shearing.ipynb", as_version=4)
    return slides.export(slides.deck(nb, "Let them vote."), "Shearing")


def test_a_deck_loads_only_what_lies_beside_it(page):
    loaded = re.findall(r"""(?:src|href)="((?!data:|#)[^"]*)\"""", page)
    files = {name for name in loaded if not re.match(r"https?:|\w+\.ipynb", name)}
    assert files == {
        "assets/reveal.css", "assets/slides.css", "assets/mathjax/tex-chtml.js",
        "assets/reveal.js", "assets/notes.js",
    }  # fmt: skip
    assert not re.search(r"<(script|link|img)[^>]*(src|href)=.https?:", page)
    assert "@import" not in page


def test_a_deck_has_slides_notes_and_described_pictures(page):
    assert page.count("<section") > 40
    assert page.count('<aside class="notes">') > 20
    assert "Let them vote." in page
    assert not re.search(r'<img(?![^>]*alt="\w)', page)
    assert not re.search(r"<pre>[^<]*^\[measured\]", page, re.M)
    assert page.count("<section") == page.count("</section>")


def test_the_assets_are_free_and_fetch_nothing(tmp_path):
    slides.copy_assets(tmp_path)
    assert (
        "MIT" in (tmp_path / "LICENSE-reveal.js").read_text()
        or "Permission is hereby" in (tmp_path / "LICENSE-reveal.js").read_text()
    )
    assert (tmp_path / "reveal.js").read_text(encoding="utf-8").count("reveal.js 5")
    for style in tmp_path.glob("*.css"):
        assert not re.search(r"@import|url\(\s*['\"]?https?:", style.read_text(encoding="utf-8"))


# --- the kit


def test_the_kit_is_packed_whole_or_not_at_all(tmp_path):
    file = tmp_path / "a.txt"
    file.write_text("text")
    target = tmp_path / "kit.zip"
    assert kit.pack({"book/a.txt": file}, "<html>", target) == target.stat().st_size
    with zipfile.ZipFile(target) as archive:
        assert sorted(archive.namelist()) == [
            "costlab-workshop/START.html",
            "costlab-workshop/book/a.txt",
        ]
    before = target.read_bytes()
    with pytest.raises(SystemExit, match="at most 0 are promised"):
        kit.pack({"a": file}, "<html>", target, limit=10)
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.txt", "kit.zip"]


# --- the plans


@pytest.mark.parametrize(("title", "length"), [("Ninety", 90), ("Half", 210), ("One day", 420)])
def test_the_minutes_of_a_plan_follow_one_another(title, length):
    text = (WORKSHOP / "plans.md").read_text(encoding="utf-8")
    section = re.search(rf"^## {title}.*?(?=^## )", text, re.M | re.S)[0]
    rows = [(int(a), int(b)) for a, b in re.findall(r"^\| (\d+)–(\d+) \|", section, re.M)]
    assert rows[0][0] == 0
    assert rows[-1][1] == length
    assert all(end == start for (_, end), (start, _) in itertools.pairwise(rows))
    assert "**Goals.**" in section


def test_plans_name_chapters_that_exist():
    text = "".join(path.read_text(encoding="utf-8") for path in WORKSHOP.glob("*.md"))
    numbers = {int(n) for n in re.findall(r"[Cc]hapters? (\d+)", text)}
    assert numbers <= {int(path.stem[:2]) for path in NOTEBOOKS}
    for name in re.findall(r"`make ([\w-]+)`", text):
        assert re.search(rf"^{name}:", (ROOT / "Makefile").read_text(), re.M), name


# --- the game


def result(name, dollars, parses=0.5):
    return leaderboard.Result(name, dollars, parses)


def test_the_cheapest_that_keeps_the_parse_rate_wins():
    entries = [result("a", 80), result("b", 50), result("cheat", 10, 0.44), result("c", 51)]
    ranked = leaderboard.rank(result("", 100), entries)
    assert [(place, entry.name) for place, entry in ranked] == [
        (1, "b"), (1, "c"), (3, "a"), (None, "cheat"),
    ]  # fmt: skip
    text = leaderboard.board(result("", 100), ranked)
    assert "below the floor of 0.45" in text
    assert "saved 50%" in text


def test_a_place_is_shared_with_its_best_and_not_along_a_chain():
    entries = [result("a", 100), result("b", 104), result("c", 108)]
    assert [p for p, _ in leaderboard.rank(result("", 100), entries)] == [1, 1, 3]


def test_what_is_no_entry_is_named_and_left(tmp_path, tiny, capsys):
    import costlab

    costlab.save(tiny(), tmp_path / "ours.safetensors")
    (tmp_path / "readme.txt").write_text("hello")
    assert list(leaderboard.load_entries(tmp_path)) == ["ours"]
    assert "readme.txt is no entry" in capsys.readouterr().err
    (tmp_path / "ours.safetensors").unlink()
    with pytest.raises(SystemExit, match="There is no entry"):
        leaderboard.play(tmp_path)


# --- the kit, opened without a network


def excuse():
    """Why this machine cannot switch the network off for one process, or None."""
    if sys.platform != "linux" or not shutil.which("unshare") or not shutil.which("ip"):
        return "network namespaces need Linux, unshare and ip"
    if os.geteuid():
        return "only root may make a network namespace"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, check=False)
    return done.stderr if done.returncode else None


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_the_kit_works_with_the_network_switched_off(tmp_path):
    reason = excuse()
    if reason and os.environ.get("CI") == "true":
        pytest.fail(f"in CI this test must run, and {reason}")
    if reason:
        pytest.skip(reason)
    subprocess.run([sys.executable, "tools/book.py"], cwd=ROOT, check=True, capture_output=True)
    subprocess.run([sys.executable, "tools/kit.py"], cwd=ROOT, check=True, capture_output=True)
    assert kit.KIT.stat().st_size < 60_000_000
    with zipfile.ZipFile(kit.KIT) as archive:
        archive.extractall(tmp_path)
    worker = [sys.executable, str(ROOT / "tests" / "kit_worker.py"), str(tmp_path)]
    inside = ["unshare", "--net", "sh", "-c", 'ip link set lo up && exec "$@"', "sh", *worker]
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    done = subprocess.run(
        inside, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for said in ("no network", "wheel", "notebook", "book", "slides", "leaderboard"):
        assert f"{said}: ok" in done.stdout
