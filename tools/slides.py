"""Make a deck of slides of every chapter, for a room without a network.

    .venv/bin/python tools/slides.py

Headings, lists, formulas, short code, figures and receipts are on the slides; the prose is in the
speaker notes (press S), with the chapter's teaching notes on the first slide. The decks lie in
_build/editions/slides/, beside the little of reveal.js and MathJax that they load, which is copied
from installed packages.
"""

import importlib.metadata
import re
import shutil
import sys
from collections.abc import Iterator
from html import escape
from pathlib import Path

import nbformat
from nbformat.v4 import new_markdown_cell

sys.path.insert(0, str(Path(__file__).resolve().parent))
import editions
import notebooks

sys.path.insert(0, str(notebooks.ROOT / "book" / "_ext"))

HERE = Path(__file__).resolve().parent / "slides"
TARGET = editions.EDITIONS / "slides"
REVEAL = ("dist/reveal.js", "dist/reveal.css", "plugin/notes/notes.js", "LICENSE")
FULL = 16  # lines of code and text that a slide holds
PICTURE = ("image/png", "image/svg+xml", "text/html")
SENTENCE = re.compile(r"(?<=[.!?:])\s+(?=[A-Z*`\"“$\[])")
DRAWN = re.compile(r"\s*([-*+] |\d+\. |\$\$|```|~~~|>|\||!\[)")


def blocks(source: str) -> Iterator[str]:
    """The blocks of a markdown text: parted by blank lines, but code and mathematics are whole."""
    text = editions.ANSWER.sub("", editions.SOLUTION.sub("", source))
    text = re.sub(r"<!--.*?-->\n*", "", text, flags=re.S)
    text = re.sub(r"^\[Open in Colab\]\([^)]*\)$", "", text, flags=re.M)
    held, closing = [], None
    for line in text.splitlines():
        fence = re.match(r"\s*(```|~~~|\$\$)", line)
        if closing is None and fence and not (fence[1] == "$$" and line.strip().count("$$") > 1):
            closing = fence[1]
        elif closing and line.strip().endswith(closing):
            closing = None
        if line.strip() or closing:
            held.append(line)
        elif held:
            yield "\n".join(held)
            held = []
    if held:
        yield "\n".join(held)


class Deck:
    """Slides in the making: cells with a `slide_type`, and the prose that waits to be spoken."""

    def __init__(self) -> None:
        self.cells, self.spoken, self.lines = [], [], 0

    def add(self, cell: nbformat.NotebookNode, kind: str, lines: int) -> None:
        """Put a cell on a new slide, a new one below it, or ('-') on the slide that is open."""
        if kind == "-" and self.lines + lines > FULL:
            kind = "subslide"
        cell.metadata["slideshow"] = {"slide_type": kind}
        self.lines = lines + (self.lines if kind == "-" else 0)
        self.cells.append(cell)

    def speak(self) -> None:
        """Write what waits to be spoken into the notes of the slide that is open."""
        if self.spoken and self.cells:
            note = new_markdown_cell("\n\n".join(self.spoken))
            note.metadata["slideshow"] = {"slide_type": "notes"}
            self.cells.append(note)
            self.spoken = []

    def text(self, source: str) -> None:
        """Lay a markdown cell out: what is drawn on slides, what is said in notes."""
        waiting, opened, asked = False, False, False
        for block in blocks(source):
            if heading := re.match(r"#{1,3} ", block):
                self.speak()
                self.add(
                    new_markdown_cell(block), "subslide" if "###" in heading[0] else "slide", 3
                )
                waiting = opened = True
                asked = block.startswith("### Exercise")
            elif DRAWN.match(block) or asked:
                self.add(new_markdown_cell(block), "-", size(block))
            else:
                lead = SENTENCE.split(block.replace("\n", " "), maxsplit=1)[0]
                if waiting:
                    self.add(new_markdown_cell(lead), "-", 2)
                if not waiting or lead != block.replace("\n", " "):
                    self.spoken.append(block)
                waiting = False
        if opened:
            self.speak()  # prose under a heading belongs to it, other prose to what it leads to

    def code(self, cell: nbformat.NotebookNode) -> None:
        """Lay a code cell out: a picture or receipt takes a slide of its own."""
        kinds = {kind for output in cell.outputs for kind in output.get("data", {})}
        shown = [o for o in cell.outputs if not only_kept(o)]
        if "notebook.begin(" in cell.source or (cell.outputs and not shown):
            return
        if "check(" in cell.source and "return ..." in cell.source:
            shown = []
        cell.outputs = [without_gutter(output) for output in shown]
        pictured = kinds & set(PICTURE)
        if pictured:
            cell.metadata["transient"] = {"remove_source": True}
            name_pictures(cell)
        lines = FULL if pictured else size(cell.source) + sum(map(size, texts(cell)))
        self.add(cell, "subslide" if pictured else "-", lines + 1)
        self.speak()


def size(text: str) -> int:
    """Lines of a text on a slide; long ones are broken."""
    return sum(1 + len(line) // 84 for line in text.splitlines())


def texts(cell: nbformat.NotebookNode) -> Iterator[str]:
    """The plain texts among a cell's outputs."""
    for output in cell.outputs:
        yield output.get("text") or output.get("data", {}).get("text/plain", "")


def only_kept(output: nbformat.NotebookNode) -> bool:
    """Whether an output is a number kept for prose pages, which shows nothing."""
    kinds = output.get("data", {})
    return bool(kinds) and all(kind.startswith("application/papermill") for kind in kinds)


def without_gutter(output: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """Take from lines of text the mark that says to the checks that they vary."""
    if "text" in output:
        output.text = output.text.replace("[measured] ", "")
    return output


def name_pictures(cell: nbformat.NotebookNode) -> None:
    """Give pictures the words that the cell has for them."""
    alt = cell.metadata.get("mystnb", {}).get("image", {}).get("alt", "")
    for output in cell.outputs:
        for kind in output.get("data", {}):
            if kind.startswith("image/") and alt:
                output.metadata.setdefault(kind, {})["alt"] = alt


def deck(nb: nbformat.NotebookNode, notes: str = "") -> nbformat.NotebookNode:
    """The notebook laid out as slides, with `notes` to speak on the first one."""
    made = Deck()
    made.spoken = [notes] if notes else []
    for cell in nbformat.from_dict(nb).cells:
        made.text(cell.source) if cell.cell_type == "markdown" else made.code(cell)
    made.speak()
    return nbformat.v4.new_notebook(cells=made.cells)


def export(nb: nbformat.NotebookNode, title: str) -> str:
    """Write a laid-out deck as one HTML page."""
    from nbconvert import SlidesExporter

    exporter = SlidesExporter(
        extra_template_basedirs=[str(HERE.parent)],
        template_name="slides",
        exclude_input_prompt=True,
        exclude_output_prompt=True,
    )
    math = any("$" in cell.source for cell in nb.cells if cell.cell_type == "markdown")
    page, _ = exporter.from_notebook_node(nb, {"deck_title": title, "has_math": math})
    page = re.sub(r"\bid=\"cell-id=\w+\"", "", page)
    return page.replace('<div class="highlight', '<div tabindex="0" class="highlight')


def copy_assets(assets: Path) -> None:
    """Copy what the decks load from the installed packages: some 2 MB."""
    from costlab_book import copy_mathjax  # imports Sphinx, which laying out a deck does not need

    spec = importlib.metadata.distribution("sphinx-revealjs")
    source = Path(spec.locate_file("sphinx_revealjs/_static/revealjs"))
    assets.mkdir(parents=True, exist_ok=True)
    for name in REVEAL:
        shutil.copyfile(source / name, assets / Path(name).name)
    (assets / "LICENSE").rename(assets / "LICENSE-reveal.js")
    shutil.copyfile(HERE / "slides.css", assets / "slides.css")
    copy_mathjax(assets)


def index(decks: dict[str, str]) -> str:
    """The page that lists the decks."""
    items = [f'<li><a href="{name}.html">{escape(title)}</a></li>' for name, title in decks.items()]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8"><title>Slides</title>\n'
        '<link rel="stylesheet" href="assets/slides.css"></head>\n'
        '<body><main class="reveal" style="padding: 2em">\n<h1>Slides</h1>\n'
        f"<p>S opens the speaker notes, O the overview, F fills the screen.</p>\n<ol>"
        f"{''.join(items)}</ol></main></body></html>\n"
    )


def make(target: Path = TARGET) -> list[Path]:
    """Write a deck for every notebook into an emptied folder."""
    shutil.rmtree(target, ignore_errors=True)
    copy_assets(target / "assets")
    titles = {}
    for path in notebooks.find([], notebooks.FOLDER):
        nb = nbformat.read(path, as_version=4)
        titles[path.stem] = re.match(r"# (.*)", nb.cells[0].source)[1]
        page = export(deck(nb, editions.teaching_notes(path.stem)), titles[path.stem])
        (target / f"{path.stem}.html").write_text(page, encoding="utf-8")
    (target / "index.html").write_text(index(titles), encoding="utf-8")
    return sorted(target.glob("*.html"))


if __name__ == "__main__":
    print(f"{len(make()) - 1} decks in {TARGET.relative_to(editions.ROOT)}/")
