"""Draw the first receipt of the first chapter as the picture of README.md.

    .venv/bin/python tools/picture.py

`tools/notebooks.py --execute` does it too, so that the picture shows the figures of the last run.
"""

import os
import textwrap
from html import escape
from pathlib import Path

import nbformat

from costlab.bill.receipt import GUTTER, WIDTH
from costlab.figures import DARK, LIGHT

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOK = ROOT / "notebooks" / "01_the_bill.ipynb"
PICTURE = ROOT / "book" / "_static" / "receipt.svg"
FONT, LEADING, LETTER, MARGIN = 13, 20, 7.83, 24  # pixels; a letter of 13 is 7.83 wide
COLORS = ".slip {{ fill: {slip}; stroke: {rule} }} text {{ fill: {ink} }} .foot {{ fill: {muted} }}"


def receipt(nb: nbformat.NotebookNode) -> list[str]:
    """The lines of the first receipt among the outputs; none where there is none."""
    for cell in nb.cells:
        for output in cell.get("outputs", []):
            shown = output.get("data", {}).get("text/plain", "")
            if "THE COST LAB" in shown:
                return [line[len(GUTTER) :] for line in shown.splitlines()]
    return []


def svg(lines: list[str]) -> str:
    """Lines of a receipt as a picture for light and dark pages; the last two are its foot."""
    foot = [part for line in lines[-2:] for part in textwrap.wrap(line, WIDTH)]
    rows = [(line, "") for line in lines[:-2]] + [(line, ' class="foot"') for line in foot]
    texts = [
        f'<text x="{MARGIN}" y="{MARGIN + LEADING * number}"{kind}>{escape(line)}</text>'
        for number, (line, kind) in enumerate(rows, 1)
        if line.strip()
    ]
    width, height = round(2 * MARGIN + WIDTH * LETTER), 2 * MARGIN + LEADING * len(rows)
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
            f' viewBox="0 0 {width} {height}" role="img" aria-label="The bill of the model">',
            "<style>",
            f"text {{ font: {FONT}px ui-monospace, Menlo, Consolas, monospace; white-space: pre }}",
            COLORS.format(**LIGHT),
            f"@media (prefers-color-scheme: dark) {{ {COLORS.format(**DARK)} }}",
            "</style>",
            f'<rect class="slip" x="0.5" y="0.5" width="{width - 1}" height="{height - 1}"/>',
            *texts,
            "</svg>\n",
        ]
    )


def draw() -> None:
    """Write the picture whole or not at all; without a receipt the old one stays."""
    if lines := receipt(nbformat.read(NOTEBOOK, as_version=4)):
        draft = PICTURE.with_suffix(".tmp")
        draft.write_text(svg(lines), encoding="utf-8", newline="\n")
        os.replace(draft, PICTURE)


if __name__ == "__main__":
    draw()
