"""The notebooks: their rules, the one sanitizing rule, and nbval's comparison of stored digits."""

import copy
import os
import random
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from nbval.plugin import IPyNbFile, coalesce_streams, get_sanitize_patterns

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import answers
import notebook_rules
import notebooks
import repo

ROOT = notebooks.ROOT

URL = "https://github.com/someone/somewhere"
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
each_notebook = pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)


def text_output(text):
    return new_output("stream", name="stdout", text=text)


def html_output(html):
    return new_output("display_data", data={"text/html": html, "text/plain": "<bill>"})


def picture():
    return new_output("display_data", data={"image/png": "aGVsbG8=", "text/plain": "<Figure>"})


def good(name="01_good"):
    """A small notebook that keeps every rule."""
    receipt = html_output('<div class="receipt">bits per byte 1.43</div>')
    cells = [
        new_markdown_cell(f"# Title\n\n[Open in Colab]({notebooks.colab_link(name, URL)})"),
        new_code_cell(notebooks.first_cell(URL), outputs=[text_output("[measured] machine: x\n")]),
        new_code_cell("bill", outputs=[receipt]),
        new_markdown_cell(
            "About $2N$ operations, `2.1 ms` in code, 24 hours a day since the 1990s."
        ),
        new_code_cell(
            "figure()",
            outputs=[picture()],
            metadata={"mystnb": {"image": {"alt": "One two three"}}},
        ),
        new_code_cell("bill", outputs=[receipt]),
    ]
    nb = new_notebook(cells=cells)
    for count, cell in enumerate((c for c in cells if c.cell_type == "code"), 1):
        cell.execution_count = count
    notebooks.normalize(nb)
    return nb


def broken(nb, name="01_good"):
    link = notebooks.colab_link(name, URL)
    found = notebook_rules.problems(nb, name, notebooks.first_cell(URL), link)
    return [problem.rule for problem in found]


# --- the rules, on the book's notebooks and on bad ones


@each_notebook
def test_notebook_keeps_the_rules(path):
    assert notebooks.broken_rules(path) == []


@each_notebook
def test_generated_parts_are_up_to_date(path):
    nb = nbformat.read(path, as_version=4)
    stamped = copy.deepcopy(nb)
    notebooks.stamp(stamped, path.stem, repo.address())
    assert stamped == nb


def test_a_good_notebook_has_no_problem():
    assert broken(good()) == []


@pytest.mark.parametrize(
    ("source", "rule"),
    [
        (":::{note}\nhi\n:::", "commonmark"),
        ("```{note}\nhi\n```", "commonmark"),
        ("````{figure} x.png\n````", "commonmark"),
        ("see {cite:p}`someone`", "commonmark"),
        ("{glue:text}`x:.2f`", "commonmark"),
        ("(label)=\n## Heading", "commonmark"),
        ("see [@someone]", "commonmark"),
        ("so it is.[^1]", "commonmark"),
        ("| a | b |\n|---|---|\n| 1 | 2 |", "commonmark"),
        ("~~no~~", "commonmark"),
        ("{{ value }}", "commonmark"),
        ("% a comment", "commonmark"),
        ("It takes 2.1 ms.", "measured"),
        ("It takes 0.9 s for each.", "measured"),
        ("a 3-second wait", "measured"),
        ("It reaches 1.43 bits per byte.", "measured"),
        ("That is $0.12 an hour and $3.60 a day.", "measured"),
        (r"That is \$0.12 per million.", "measured"),
        ("about 4.6 million dollars", "measured"),
        ("120 tokens per second", "measured"),
        ("204.8 GB/s of bandwidth", "measured"),
        ("990 TFLOPS at most", "measured"),
        ("It is 1.9× faster.", "measured"),
        ("It is 40 % cheaper.", "measured"),
        ("the share is 12.5 %", "measured"),
        ("![](picture.png)", "alt"),
        ("![a badge](https://example.org/badge.svg)", "offline"),
        ("# Another title", "title"),
        ("See /home/me/notes.txt", "path"),
    ],
)
def test_bad_markdown_is_found(source, rule):
    nb = good()
    nb.cells[3].source = source
    assert rule in broken(nb)


@pytest.mark.parametrize(
    "source",
    [
        "Training costs $6ND$ operations, $$\n2.1 ms\n$$ and $O(n)$ the rest, $5 \\times 10^9$.",
        "```python\nwait = '2.1 ms'  # $5\n# not a title\n```",
        "`$5` and ``a ` b 2.1 ms``",
        "Chapter 3, section 2.1, step 4: in 20 minutes, 8 bits, int8, 30 days of 24 hours.",
        "> a quote\n\n1. one\n2. two\n\n* **bold** and [a link](01_the_bill.ipynb#part-2)",
        "<details>\n<summary>Solution</summary>\n\ntext\n\n</details>",
        "A set {a, b} and f(x)={1}, 7B parameters, H100, p95, 2026-01-01.",
        "Since the 1990s, 3 machines and 100 users; see [1].",
        "---\n\nA rule, and a dash -- here.",
    ],
)
def test_plain_markdown_is_left_in_peace(source):
    nb = good()
    nb.cells[3].source = source
    assert broken(nb) == []


def replace_code(**changes):
    def change(nb):
        for key, value in changes.items():
            setattr(nb.cells[4], key, value)

    return change


def title(source):
    return lambda nb: setattr(nb.cells[0], "source", source)


@pytest.mark.parametrize(
    ("change", "rule"),
    [
        (replace_code(source="plot();"), "semicolon"),
        (replace_code(source="%pip install x"), "shell"),
        (replace_code(source="!pip install x"), "shell"),
        (replace_code(source="  !ls"), "shell"),
        (replace_code(source=" "), "empty"),
        (replace_code(source="x = 1\n" * 41), "length"),
        (replace_code(execution_count=None), "order"),
        (replace_code(execution_count=2), "order"),
        (replace_code(metadata={}), "alt"),
        (replace_code(metadata={"mystnb": {"image": {"alt": "bars"}}}), "alt"),
        (replace_code(metadata={"mystnb": {"image": {"alt": "a bar of 2.1 ms"}}}), "measured"),
        (replace_code(metadata={"execution": {"iopub.status.busy": "2026-01-01"}}), "metadata"),
        (replace_code(outputs=[new_output("error", ename="E", evalue="e")]), "error"),
        (replace_code(outputs=[new_output("stream", name="stderr", text="warn")]), "stderr"),
        (replace_code(outputs=[text_output("saved /root/x.bin")]), "path"),
        (replace_code(outputs=[text_output("saved /Users/me/x.bin")]), "path"),
        (replace_code(outputs=[text_output("C:\\Users\\me")]), "path"),
        (replace_code(outputs=[text_output("File \x1b[92m/work/x.py\x1b[0m")]), "path"),
        (replace_code(outputs=[html_output("<a href='/tmp/x'>")]), "path"),
        (replace_code(outputs=[text_output("<f at 0x7f33a2b4>")]), "address"),
        (replace_code(outputs=[text_output("[measured] 1.4 bits per byte")]), "hidden"),
        (replace_code(outputs=[html_output('<p class="measured">flips 3 %</p>')]), "hidden"),
        (title("No title"), "title"),
        (title("# Title"), "colab"),
        (title(f"# Title\n\n[Colab]({notebooks.colab_link('01_good', URL + '2')})"), "colab"),
        (title(f"# Title\n\n[Colab]({notebooks.colab_link('02_other', URL)})"), "colab"),
        (lambda nb: setattr(nb.cells[1], "source", "import costlab"), "setup"),
        (lambda nb: nb.cells.pop(1), "setup"),
        (lambda nb: nb.metadata.kernelspec.update(name="mine"), "metadata"),
        (lambda nb: nb.metadata.update(widgets={}), "metadata"),
        (lambda nb: [setattr(c, "source", "x\n" * 9) for c in nb.cells[2:]], "length"),
    ],
)
def test_bad_notebook_is_found(change, rule):
    nb = good()
    change(nb)
    assert rule in broken(nb)


def test_an_error_that_is_meant_is_allowed():
    nb = good()
    nb.cells[4].outputs = [new_output("error", ename="E", evalue="e")]
    nb.cells[4].metadata.tags = ["raises-exception"]
    assert broken(nb) == []


@pytest.mark.parametrize("cell", [2, 5])
def test_a_technique_opens_and_ends_with_the_bill(cell):
    nb, name = good("05_good"), "05_good"
    assert broken(nb, name) == []
    nb.cells[cell].outputs = [text_output("no bill")]
    assert broken(nb, name) == ["bill"]
    nb.cells[0].source = good().cells[0].source
    assert broken(nb) == []  # chapter 1 is no technique


# --- what is generated


def test_stamping_writes_cell_link_and_solution():
    nb = good()
    nb.cells[0].source = f"# Title\n\n[Colab]({notebooks.COLAB}/old/place/blob/x/y.ipynb) and more"
    nb.cells[1].source = "old\nnotebook.begin()"
    question = "<!-- question: bill.1 -->\nold\n<!-- end of question -->"
    solution = "<!-- solution: bill.1 -->\nold\n<!-- end of solution -->"
    nb.cells[3].source = f"A\n\n{question}\n\n{solution}\n\nB"
    notebooks.stamp(nb, "01_good", URL)
    assert broken(nb) == []
    text = nb.cells[3].source
    assert "return 2 * parameters" in text
    assert "Write `flops_per_token(parameters)`" in text
    assert "old" not in text
    assert (text[:2], text[-2:]) == ("A\n", "\nB")
    again = copy.deepcopy(nb)
    notebooks.stamp(again, "01_good", URL)
    assert again == nb


def test_stamping_adds_what_is_missing_and_overwrites_no_cell():
    nb = good()
    nb.cells.pop(1)
    nb.cells[0].source = "# Title"
    kept = [cell.source for cell in nb.cells[1:]]
    notebooks.stamp(nb, "01_good", URL)
    assert [cell.source for cell in nb.cells[2:]] == kept
    assert set(broken(nb)) == {"order"}  # the new cell has not run yet
    with pytest.raises(SystemExit, match="title"):
        notebooks.stamp(new_notebook(), "01_good", URL)


def test_a_marker_of_no_exercise_is_named():
    with pytest.raises(SystemExit, match=r"nope\.1"):
        notebooks.with_exercises("<!-- solution: nope.1 -->\n<!-- end of solution -->")


def test_normalizing_is_stable_and_ids_are_unique():
    nb = good()
    nb.cells += copy.deepcopy(nb.cells[-1:])
    nb.cells[-1].metadata = {"execution": {"x": 1}, "tags": ["kept"]}
    notebooks.normalize(nb)
    assert nb.cells[-1].metadata == {"tags": ["kept"]}
    assert len({cell.id for cell in nb.cells}) == len(nb.cells)
    again = copy.deepcopy(nb)
    notebooks.normalize(again)
    assert again == nb


def test_saving_replaces_the_whole_file_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "x.ipynb"
    path.write_text("before")

    def full(*arguments):
        raise OSError("No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        notebooks.save(good(), path)
    assert path.read_text() == "before"


@pytest.fixture
def first_cell_run(monkeypatch):
    """Run the first cell with some modules missing; return what pip was asked for."""

    def run(missing):
        import importlib.util

        calls = []
        real = importlib.util.find_spec
        monkeypatch.setattr(
            importlib.util, "find_spec", lambda n: None if n in missing else real(n)
        )
        monkeypatch.setattr(subprocess, "check_call", calls.append)
        monkeypatch.setattr("costlab.notebook.begin", lambda seed: None)
        exec(notebooks.first_cell(URL), {})
        return calls

    return run


def test_the_first_cell_installs_nothing_where_costlab_is(first_cell_run):
    assert first_cell_run(missing=()) == []


def test_the_first_cell_installs_only_what_is_missing(first_cell_run):
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps"]
    assert first_cell_run(missing=("costlab",)) == [[*pip, f"costlab @ git+{URL}"]]
    both = first_cell_run(missing=("costlab", "tqdm"))
    assert both == [[*pip, f"costlab @ git+{URL}", "tqdm"]]


# --- the one sanitizing rule

PATTERNS = get_sanitize_patterns(notebooks.SANITIZE.read_text(encoding="utf-8"))


def sanitize(text):
    for regex, replacement in PATTERNS:
        text = re.sub(regex, replacement, text)
    return text


def test_there_is_one_rule():
    assert len(PATTERNS) == 1


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("[measured] 2.1 ms", "[measured] 3.4 ms and more"),
        ("a\n[measured] 2.1 ms\nb 1.43\n", "a\n[measured] 9\nb 1.43\n"),
        ('<div class="line measured">1</div>', '<div class="line measured">2</div>'),
        ('<span class="measured">1</span>', '<span class="measured">2</span>'),
        ('<td class="measured">1</td>', '<td class="measured">2\n</td>'),
        ('<td  id="x" class="a measured b">1</td>', '<td  id="y" class="a measured b">2</td>'),
        ('<div class="measured"><b>1</b></div>', '<div class="measured"><b>2</b><i>3</i></div>'),
        ('<g class="measured"><path d="M1"/></g>', '<g class="measured"><path d="M2"/></g>'),
        ('<p>a</p><p class="measured">1</p><p>c</p>', '<p>a</p><p class="measured">2</p><p>c</p>'),
    ],
)
def test_measured_parts_are_forgiven(one, other):
    assert sanitize(one) == sanitize(other)


@pytest.mark.parametrize(
    "text",
    [
        "bits per byte 1.432",
        "latency 2.1 ms [measured]",
        " [measured] indented",
        "'[measured] a repr'",
        "measured 2.1 ms",
        "[Measured] 2.1 ms",
        '<div class="unmeasured">1</div>',
        '<div class="measured-not">1</div>',
        '<div data-class="measured">1</div>',
        '<div id="measured">1</div>',
        '<div title="class=" data="measured">1</div>',
        '<div class="line">measured 1</div>',
        '<div class="measured">never closed',
        '<img class="measured"/>1<img/></img>',
        '<div class="measured">1<div>bits per byte 1.43</div></div>',
        '{"class": "measured", "value": 1}',
    ],
)
def test_everything_else_is_compared(text):
    assert sanitize(text) == text


def test_the_rule_ends_where_the_element_ends():
    html = '<td class="measured">1</td><td>1.432</td><td class="measured">2</td><td>7</td>'
    assert sanitize(html) == "[measured]<td>1.432</td>[measured]<td>7</td>"


RECEIPT = """<div class="receipt"><div class="line measured">latency 2.1 ms</div>
<div class="line">bits per byte <b>1.432</b></div><span class="measured">$ 0.12</span></div>"""


# --- nbval's own comparison


@pytest.fixture
def compare(request, tmp_path):
    """Compare a notebook with the outputs of a run as nbval does; return the cells that differ."""

    def differing(stored, run):
        path = tmp_path / "stored.ipynb"
        nbformat.write(stored, path)
        file = IPyNbFile.from_parent(request.session, path=path)
        file.sanitize_patterns.update(PATTERNS)
        ran = [cell for cell in copy.deepcopy(run).cells if cell.cell_type == "code"]
        checked = [cell for cell in file.collect() if cell.options["check"]]
        return [
            cell.cell_num
            for cell in checked
            if not cell.compare_outputs(
                coalesce_streams(ran[cell.cell_num].outputs), coalesce_streams(cell.cell.outputs)
            )
        ]

    return differing


def other_digits(text, positions):
    letters = list(text)
    for position in positions:
        letters[position] = str((int(letters[position]) + 1) % 10)
    return "".join(letters)


def slots(nb):
    """Every text that nbval compares: (cell index, where it lies, key, text)."""
    for index, cell in enumerate(nb.cells):
        for output in cell.get("outputs", []):
            if "text" in output:
                yield index, output, "text", output.text
            for kind, text in output.get("data", {}).items():
                if isinstance(text, str) and kind not in ("image/png", "image/jpeg"):
                    yield index, output.data, kind, text


def digits(text):
    """Last digits of numbers: those compared, those of them that say a quality, those measured."""
    measured = {
        i for regex, _ in PATTERNS for m in re.finditer(regex, text) for i in range(*m.span())
    }
    seen = re.sub(r"<style.*?</style>|<[^>]*>", lambda m: " " * len(m[0]), text, flags=re.S)
    numbers = list(re.finditer(r"(?<![#\w.])\d+(?:\.\d+)?", seen))
    every = {number.end() - 1 for number in numbers}
    words = list(notebook_rules.QUALITY.finditer(seen))
    near = {
        number.end() - 1
        for number in numbers
        for word in words
        if 0 <= number.start() - word.end() < 200 or 0 <= word.start() - number.end() < 3
    }
    return every - measured, near - measured, every & measured


def altered(nb, choose):
    """Copies of a notebook, each with the digits of one output altered that `choose` picks."""
    for number, (_, _, _, text) in enumerate(slots(nb)):
        if positions := choose(text):
            copied = copy.deepcopy(nb)
            index, place, key, _ = list(slots(copied))[number]
            place[key] = other_digits(text, positions)
            code = [i for i, cell in enumerate(nb.cells) if cell.cell_type == "code"]
            yield code.index(index), copied


def one_quality_digit(text):
    return sorted(digits(text)[1])[:1]


def one_digit(text):
    return sorted(digits(text)[0])[:1]


def measured_digits(text):
    return digits(text)[2]


def run_of(path, stored):
    """The run kept by `tools/notebooks.py --check`; without one, a copy of the stored outputs."""
    folder = os.environ.get("COSTLAB_RUN_OUTPUTS")
    if not folder:
        return copy.deepcopy(stored)
    run = nbformat.read(Path(folder) / path.name, as_version=4)
    same = [a.source for a in run.cells] == [b.source for b in stored.cells]
    assert same, f"{path.name} changed after its run: run tools/notebooks.py --check again"
    return run


@each_notebook
def test_stored_digits_are_compared(path, compare):
    stored = nbformat.read(path, as_version=4)
    run = run_of(path, stored)
    assert compare(stored, run) == []
    quality = list(altered(stored, one_quality_digit))
    wrong = quality or list(altered(stored, one_digit))
    assert wrong, "the notebook shows no digit that nbval compares"
    for cell, notebook in wrong:
        assert compare(notebook, run) == [cell]
    for _, notebook in altered(stored, measured_digits):
        assert compare(notebook, run) == []


def receipts(html, text="bits per byte 1.432\n[measured] 2.1 ms\n"):
    nb = good()
    nb.cells[2].outputs = [html_output(html), text_output(text)]
    return nb


def test_receipts_that_differ_in_measured_elements_are_equal(compare):
    other = RECEIPT.replace("2.1", "77.25").replace("0.12", "3")
    assert other != RECEIPT
    assert compare(receipts(RECEIPT), receipts(other)) == []
    assert (
        compare(receipts(RECEIPT), receipts(RECEIPT, "bits per byte 1.432\n[measured] 9\n")) == []
    )


def test_receipts_that_differ_in_quality_are_not(compare):
    assert compare(receipts(RECEIPT), receipts(RECEIPT.replace("1.432", "1.433"))) == [1]
    text = "bits per byte 1.433\n[measured] 2.1 ms\n"
    assert compare(receipts(RECEIPT), receipts(RECEIPT, text)) == [1]


def test_digits_are_told_apart():
    stored = receipts(RECEIPT)
    assert len(list(altered(stored, one_quality_digit))) == 3  # two receipts and a line of text
    assert len(list(altered(stored, measured_digits))) == 2
    wrong = [
        nb.cells[2].outputs[0].data["text/html"] for _, nb in altered(stored, one_quality_digit)
    ]
    assert wrong[:2] == [RECEIPT.replace("1.432", "1.433"), RECEIPT]
    assert [cell for cell, _ in altered(receipts("no digit", "7"), one_digit)] == [1, 3]


# --- the answers of worked problems


def test_what_an_answer_prints_is_written_below_it():
    folded = "<summary>Answer</summary>\n\n```python\nprint(6 * 7)\n```\n\n```text\n{}```\n\nSo."
    assert answers.with_answers(folded.format("41\n")) == folded.format("42\n")
    assert answers.with_answers(folded.format("")) == folded.format("42\n")


# --- the commands, on notebooks of two cells


def small(folder, name, *sources):
    nb = new_notebook(cells=[new_code_cell(source) for source in sources])
    nbformat.write(nb, folder / f"{name}.ipynb")


def command(folder, *words, **environment):
    return subprocess.run(
        [sys.executable, str(ROOT / "tools" / "notebooks.py"), *words, "--folder", str(folder)],
        capture_output=True,
        text=True,
        env={**os.environ, **environment},
        check=False,
    )


def test_check_passes_fails_and_keeps_the_run(tmp_path):
    random_line = "import random; print('[measured]', random.random())"
    look = "import os\nprint(os.listdir(), os.environ.get('TQDM_DISABLE'))"
    for name, digit in (("01_right", "1.43"), ("02_wrong", "1.53")):
        small(tmp_path, name, random_line, f"print('bits per byte {digit}')", look)
        nb = nbformat.read(tmp_path / f"{name}.ipynb", as_version=4)
        for cell, text in zip(
            nb.cells, ("[measured] 0\n", "bits per byte 1.43\n", ""), strict=True
        ):
            cell.outputs, cell.execution_count = [text_output(text)], 1
        nb.cells[2].outputs = [text_output(f"['{name}.ipynb'] 1\n")]
        nbformat.write(nb, tmp_path / f"{name}.ipynb")
    kept = {"COSTLAB_RUN_OUTPUTS": str(tmp_path / "kept")}
    before = (tmp_path / "02_wrong.ipynb").read_bytes()
    result = command(tmp_path, "--check", "--python", sys.executable, **kept)
    assert result.returncode == 1
    assert "3 passed" in result.stdout
    assert "1 failed, 2 passed" in result.stdout
    run = nbformat.read(tmp_path / "kept" / "02_wrong.ipynb", as_version=4)
    assert run.cells[1].outputs[0].text == "bits per byte 1.53\n"
    assert (tmp_path / "02_wrong.ipynb").read_bytes() == before
    lax = command(tmp_path, "--check", "02_wrong", "--lax", "--python", sys.executable, **kept)
    assert lax.returncode == 0, lax.stdout


def test_only_a_noisy_claim_that_fails_is_tried_again(tmp_path):
    mark = tmp_path / "been here"
    once = f"from pathlib import Path; p = Path({str(mark)!r}); slow = p.exists(); p.touch()"
    use = "from costlab import claim"
    small(tmp_path, "01_unlucky", use, f"{once}\nclaim('Quicker', 1.0 + slow, '>', 1.5, noise=0.1)")
    small(tmp_path, "02_false", use, "claim('Always the same', 1.0, '>', 1.5)")
    kept = {"COSTLAB_RUN_OUTPUTS": str(tmp_path / "kept")}
    result = command(tmp_path, "--check", "--lax", "--python", sys.executable, **kept)
    assert result.returncode == 1
    assert result.stdout.count("once more") == 1
    assert "01_unlucky.ipynb\n.." in result.stdout.split("once more")[1]


@pytest.mark.parametrize(
    ("failures", "again"),
    [
        (["claim does not hold: Quick [1 &gt; 2 (noise 0.1)]"], True),
        (["claim does not hold: Quick [1 &gt; 2]"], False),
        (["claim does not hold: Quick [1 &gt; 2 (noise 0.1)]", "ZeroDivisionError"], False),
        ([], False),
    ],
)
def test_all_failures_must_be_noisy_claims(tmp_path, failures, again):
    cases = "".join(f"<testcase><failure>{text}</failure></testcase>" for text in failures)
    report = tmp_path / "report.xml"
    report.write_text(f"<testsuites><testsuite>{cases}<testcase/></testsuite></testsuites>")
    assert notebooks.only_noisy_claims(report) is again


def test_execute_saves_outputs_and_leaves_a_failing_notebook_alone(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    look = "import os\nprint(os.listdir())\n6 * 7"
    for name, source in (("01_works", look), ("02_fails", "1 / 0")):
        nb = good(name)
        nb.cells[2:] = [new_code_cell(source)]
        nbformat.write(nb, folder / f"{name}.ipynb")
    before = (folder / "02_fails.ipynb").read_text()
    result = command(folder, "--execute", PYTHONPATH=str(ROOT))
    assert result.returncode == 1
    assert "ZeroDivisionError" in result.stderr
    assert (folder / "02_fails.ipynb").read_text() == before
    works = nbformat.read(folder / "01_works.ipynb", as_version=4)
    assert [o.get("text", o.get("data")) for o in works.cells[2].outputs] == [
        "[]\n",
        {"text/plain": "42"},
    ]
    assert [c.execution_count for c in works.cells[1:]] == [1, 2]
    assert sorted(p.name for p in folder.iterdir()) == ["01_works.ipynb", "02_fails.ipynb"]


def test_unknown_notebooks_offer_the_nearest(tmp_path):
    small(tmp_path, "01_the_bill", "1")
    result = command(tmp_path, "--rules", "01_teh_bill")
    assert result.returncode == 1
    assert "nearest: 01_the_bill" in result.stderr


def test_begin_seeds_and_says_the_machine(capsys, monkeypatch):
    monkeypatch.setenv("TQDM_DISABLE", "")
    import torch

    from costlab import notebook

    draws = []
    for _ in range(2):
        notebook.begin(seed=3)
        draws.append((random.random(), torch.rand(1).item()))
    assert draws[0] == draws[1]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    assert lines[0].startswith("[measured] machine: ")
    assert os.environ["TQDM_DISABLE"] == "1"


@pytest.mark.parametrize("bad", [{"seed": -1}, {"seed": "0"}, {"seed": True}, {"threads": 0}])
def test_begin_names_a_bad_argument(bad):
    from costlab import notebook

    with pytest.raises(ValueError, match=next(iter(bad))):
        notebook.begin(**bad)


def test_executing_keeps_the_description_of_the_page():
    nb = new_notebook(metadata={"myst": {"html_meta": {"description": "d"}}, "x": 1})
    notebooks.normalize(nb)
    assert nb.metadata["myst"] == {"html_meta": {"description": "d"}}
    assert "x" not in nb.metadata
