"""The house rules of the notebooks, so that each reads well in the book, Colab and JupyterLab.

`problems` names every breach in a sentence; `tools/notebooks.py --rules` prints them and
tests/test_notebooks.py proves on small bad notebooks that each rule can fail.
"""

import re
import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
from nbval.plugin import get_sanitize_patterns

SANITIZE = Path(__file__).resolve().parent.parent / "tests" / "nbval_sanitize.cfg"
[(MEASURED, _)] = get_sanitize_patterns(SANITIZE.read_text(encoding="utf-8"))
TECHNIQUES = range(4, 14)  # the notebooks that open and end with the bill
MEDIAN_LINES, MOST_LINES = 6, 40
# Not "parses": a completion is drawn byte by byte, and follows the last digit of a float.
QUALITY = re.compile(r"bits per byte|divergence|flips|flipped|perplexity", re.I)
PICTURE = ("image/png", "image/jpeg", "image/svg+xml")
RECEIPT = re.compile(r'class="[^"]*\b(receipt|ledger)\b')

NOT_COMMONMARK = {
    "a directive": re.compile(r"^\s*(:::|(```|~~~)+\s*\{)", re.M),
    "a role, citation or glue": re.compile(r"\{[A-Za-z][\w:.+-]*\}`"),
    "a label": re.compile(r"^\([\w:.-]+\)=\s*$", re.M),
    "a substitution": re.compile(r"\{\{.*?\}\}"),
    "a table": re.compile(r"^\s*\|?\s*:?-{2,}:?\s*\|", re.M),
    "a footnote or citation in brackets": re.compile(r"\[(\^|@)[\w:.-]+"),
    "struck-out text": re.compile(r"~~\w.*?\w~~"),
    "an attribute": re.compile(r"[\])`]\{[.#\w][^}`\n]*\}(?!`)"),
    "a myst comment or block break": re.compile(r"^(%\s|\+\+\+)", re.M),
}
NUMBER = r"(?<![\w.])\d[\d,]*(?:\.\d+)?"
SCALE = r"(?:\s*(?:thousand|million|billion|trillion))?"
MEASUREMENTS = {
    "a time": rf"{NUMBER}[\s-]*(?:[nµμum]s|milliseconds?|microseconds?|seconds?|secs?)\b"
    rf"|(?!(?:19|20)\d0s){NUMBER}\s?s\b",
    "a rate": rf"{NUMBER}{SCALE}\s*[\w-]*(?:\s+\w+)?(?:\s*/\s*(?:s|h)\b|\s+(?:per|a|each|every)"
    r"\s+(?:second|minute|hour)\b)"
    rf"|{NUMBER}\s*[kKMGTPE]?(?:FLOPS|[OT]OPS)\b",
    "dollars": rf"\\?[$€£]\s?\d[\d,.]*|{NUMBER}{SCALE}\s+(?:dollars?|cents?|euros?|USD|EUR)\b",
    "bits per byte": r"\d\.\d+\s*(?:bits?\s*(?:per|/)\s*byte|bpb)",
    "a ratio": rf"{NUMBER}\s*(?:×|x|times|%|percent)\s+(?:as|less|more|fewer|fast|slow|cheap|small"
    r"|larg|bigg|short|long)\w*",
    "a percentage": r"\d\.\d+\s?(?:%|percent)",
}
MEASUREMENTS = {what: re.compile(pattern) for what, pattern in MEASUREMENTS.items()}
MACHINE_PATH = re.compile(
    r"(?<![\w./:-])/(?:root|home|work|tmp|private|Users|var/folders|content|mnt)/\S"
    r"|\b[A-Za-z]:\\+Users\\"
)
ADDRESS = re.compile(r"\bat 0x[0-9a-fA-F]{6,}")


@dataclass(frozen=True)
class Problem:
    """One breach: which rule, in which cell (counted from 1 as a reader counts), in words."""

    rule: str
    cell: int | None
    text: str

    def __str__(self) -> str:
        return f"{f'cell {self.cell}: ' if self.cell else ''}{self.text} [{self.rule}]"


def problems(nb: nbformat.NotebookNode, name: str, setup: str, link: str) -> list[Problem]:
    """Name every breach of the house rules.

    Args:
        nb: the notebook.
        name: its file name without the ending; the number in it says what must be in it.
        setup: the source its first code cell must have.
        link: the Colab address its title cell must hold.
    """
    found = [*opening(nb, setup, link), *runs(nb), *lengths(nb), *metadata(nb)]
    for number, cell in enumerate(nb.cells, 1):
        check = markdown if cell.cell_type == "markdown" else code
        found += [Problem(rule, number, text) for rule, text in check(cell, number)]
    number = re.match(r"\d+", name)
    if number and int(number[0]) in TECHNIQUES:
        found += bills(nb)
    return found


def prose(source: str) -> str:
    """Markdown without its code, mathematics, comments and link targets."""
    text = re.sub(r"^(`{3,}|~{3,}).*?^\1[`~]*\s*$", "", source, flags=re.M | re.S)
    text = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text, flags=re.S)
    text = re.sub(r"<!--.*?-->", "", text, flags=re.S)
    text = re.sub(r"\]\([^)]*\)|<https?:[^>]*>", "]", text)
    text = re.sub(r"\$\$.*?\$\$", "", text, flags=re.S)
    # A dollar opens mathematics only before ink and closes it only after ink and before no digit.
    return re.sub(r"(?<![\\$])\$(?!\s)[^$]*?[^\s\\$]\$(?!\d)", "", text)


def measured_numbers(text: str) -> Iterator[str]:
    """Find what looks like a measured number written by hand."""
    for what, pattern in MEASUREMENTS.items():
        for match in pattern.finditer(text):
            yield f"{match[0].strip()!r} looks like {what} typed by hand: let an output say it"


def markdown(cell: nbformat.NotebookNode, number: int) -> Iterator[tuple[str, str]]:
    """Rules for text: CommonMark and $math$, no measured number, pictures with alt text."""
    fenced = re.sub(
        r"^(`{3,}|~{3,})(?![`~]|\s*\{).*?^\1[`~]*\s*$", "", cell.source, flags=re.M | re.S
    )
    spans = re.sub(r"(?<!\})(`+)(?!`|\s*\{)[^`]*?\1(?!`)", "``", fenced)
    for what, pattern in NOT_COMMONMARK.items():
        text = fenced if what in ("a directive", "a role, citation or glue") else spans
        if match := pattern.search(text):
            yield "commonmark", f"{match[0].strip()!r} is {what}; write CommonMark and $math$"
    for sentence in measured_numbers(prose(cell.source)):
        yield "measured", sentence
    for alt, target in re.findall(r"!\[([^\]]*)\]\(([^)\s]*)", cell.source):
        if not alt.strip():
            yield "alt", f"the picture {target} has no alt text"
        if target.startswith("http"):
            yield "offline", f"the picture {target} needs the network"
    if number > 1 and re.search(
        r"^# ", re.sub(r"^```.*?^```", "", fenced, flags=re.M | re.S), re.M
    ):
        yield "title", "a page has one title, in its first cell"
    if MACHINE_PATH.search(cell.source):
        yield "path", f"{MACHINE_PATH.search(cell.source)[0]}… is a path of one machine"


def code(cell: nbformat.NotebookNode, number: int) -> Iterator[tuple[str, str]]:
    """Rules for code and what it printed."""
    for line in cell.source.splitlines():
        if line.rstrip().endswith(";"):
            yield "semicolon", f"{line.strip()!r} ends with a semicolon, which nbval does not honor"
        if re.match(r"\s*(!|%+\s*(pip|conda|mamba|uv|sx|system|bash)\b)", line):
            yield "shell", f"{line.strip()!r} runs a shell or an installer"
    if not cell.source.strip():
        yield "empty", "the cell is empty"
    allowed = "raises-exception" in cell.metadata.get("tags", [])
    for output in cell.outputs:
        if output.output_type == "error" and not allowed:
            yield "error", f"raised {output.ename}; tag it raises-exception if it is meant"
        if output.get("name") == "stderr":
            yield "stderr", f"printed to stderr: {output.text.strip()[:60]!r}"
    for text in texts(cell):
        if match := MACHINE_PATH.search(text):
            yield "path", f"{match[0]}… is a path of one machine"
        if match := ADDRESS.search(text):
            yield "address", f"{match[0]!r} differs in every run"
        for match in re.finditer(MEASURED, text):
            if hidden := QUALITY.search(match[0]):
                yield "hidden", f"{hidden[0]!r} stands where nbval does not compare"
    yield from pictures(cell)


def pictures(cell: nbformat.NotebookNode) -> Iterator[tuple[str, str]]:
    """Rules for pictures: alt text in the metadata, without numbers; no date inside an SVG."""
    data = [output.get("data", {}) for output in cell.outputs]
    if not any(kind in each for each in data for kind in PICTURE):
        return
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    if len(alt.split()) < 3:
        yield "alt", "a picture needs alt text in the cell's metadata, mystnb.image.alt"
    for sentence in measured_numbers(alt):
        yield "measured", f"alt text: {sentence}"
    if any("<dc:date>" in str(each.get("image/svg+xml")) for each in data):
        yield "address", "the SVG holds the date of its drawing"


def texts(cell: nbformat.NotebookNode) -> Iterator[str]:
    """Every text among the outputs of a cell."""
    for output in cell.outputs:
        values = [output.get("text"), output.get("evalue"), *output.get("traceback", [])]
        values += [v for kind, v in output.get("data", {}).items() if kind not in PICTURE[:2]]
        # without the codes that color a traceback: a path must not hide behind one
        yield from (re.sub(r"\x1b\[[\d;]*m", "", str(value)) for value in values if value)


def opening(nb: nbformat.NotebookNode, setup: str, link: str) -> Iterator[Problem]:
    """A notebook opens with its title and Colab link, then the first cell of the template."""
    title, *rest = nb.cells or [nbformat.v4.new_markdown_cell()]
    if title.cell_type != "markdown" or not title.source.startswith("# "):
        yield Problem("title", 1, "the first cell is markdown and starts with the title, '# …'")
    links = re.findall(r"https://colab\.research\.google\.com[^\s)\"]*", title.source)
    if links != [link]:
        yield Problem("colab", 1, f"the first cell links to {link}, got {links or 'no link'}")
    if not rest or rest[0].cell_type != "code" or rest[0].source != setup:
        yield Problem("setup", 2, "not the first cell of tools/first_cell.py: run --stamp")


def runs(nb: nbformat.NotebookNode) -> Iterator[Problem]:
    """Every code cell was run, once, from top to bottom."""
    counts = [cell.execution_count for cell in nb.cells if cell.cell_type == "code"]
    if counts != list(range(1, len(counts) + 1)):
        yield Problem("order", None, f"not run from top to bottom: the cells are numbered {counts}")


def lengths(nb: nbformat.NotebookNode) -> Iterator[Problem]:
    """Code cells are short; longer code lives in the package."""
    lines = {
        number: len(cell.source.splitlines())
        for number, cell in enumerate(nb.cells, 1)
        if cell.cell_type == "code"
    }
    for number, count in lines.items():
        if count > MOST_LINES:
            yield Problem("length", number, f"{count} lines, at most {MOST_LINES}")
    if lines and (median := statistics.median(lines.values())) > MEDIAN_LINES:
        text = f"code cells have {median:g} lines in the median, at most {MEDIAN_LINES}"
        yield Problem("length", None, text)


def metadata(nb: nbformat.NotebookNode) -> Iterator[Problem]:
    """No trace of when and where a notebook was run."""
    kernel = nb.metadata.get("kernelspec", {}).get("name")
    if kernel != "python3" or set(nb.metadata) - {"kernelspec", "language_info", "myst"}:
        yield Problem("metadata", None, "metadata of one machine: run --execute")
    for number, cell in enumerate(nb.cells, 1):
        if {"execution", "ExecuteTime", "colab"} & set(cell.metadata):
            yield Problem("metadata", number, "the cell says when it was run: run --execute")


def bills(nb: nbformat.NotebookNode) -> Iterator[Problem]:
    """A technique's first output after the setup is a bill, and so is its last."""
    cells = [cell for cell in nb.cells[2:] if cell.cell_type == "code" and cell.outputs]
    for where, few in (("opens", cells[:1]), ("ends", cells[-1:])):
        if not any(RECEIPT.search(text) for cell in few for text in texts(cell)):
            yield Problem("bill", None, f"a technique's notebook {where} with the bill")
