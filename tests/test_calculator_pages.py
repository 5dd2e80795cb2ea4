"""What the pages of the calculators carry: the package's figures, one palette, no loose scripts."""

import importlib.util
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from costlab import catalog
from costlab.estimate.formulas import export

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[1]
SCRIPTS = sorted((ROOT / "book/_static").glob("calc-*.js"))
STYLE = (ROOT / "book/_static/calc.css").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def extension():
    path = ROOT / "book/_ext/costlab_calculators.py"
    spec = importlib.util.spec_from_file_location("costlab_calculators", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_carries_the_expressions_themselves(extension):
    carried = json.loads(extension.data())
    assert carried["formulas"] == export()["formulas"]
    assert carried["coefficients"] == export()["coefficients"]
    assert set(carried["models"]) == {row.id for row in catalog.models()}
    assert set(carried["chips"]) == {row.id for row in catalog.accelerators()}
    assert carried["chips"]["h100-sxm"]["price"]["median"] == catalog.price("h100-sxm").median
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", carried["chips"]["h100-sxm"]["price"]["newest"])


def test_nothing_in_the_data_ends_their_script(extension):
    assert "<" not in extension.data()
    assert len(extension.data()) < 200_000


def test_every_calculator_has_examples(extension):
    for name in extension.EXAMPLES:
        table = extension.table(name)
        HTMLParser().feed(table)
        rows = table.count("<tr>")
        assert rows > 3
        assert table.count("<td>") == (rows - 1) * table.count("<th ")
        assert "nan" not in table.lower()


def test_figures_of_examples_are_escaped_and_short(extension):
    assert extension._figure(None) == "unknown"
    assert extension._figure(123456.7) == "123,457"
    assert extension._figure(0.12345) == "0.123"


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_scripts_run_no_text_and_ask_nobody(path):
    text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
    banned = r"\beval\b|\bFunction\(|innerHTML|outerHTML|insertAdjacent|document\.write|https?:"
    banned += r"|\bfetch\(|XMLHttpRequest|WebSocket|sendBeacon|\bimport\("
    assert not re.search(banned, text)


def test_the_style_has_the_books_colors_alone():
    assert not re.search(r"#[0-9A-Fa-f]{3,8}\b|rgb\(|hsl\(|url\(|@import", STYLE)
    known = (ROOT / "book/_static/costlab.css").read_text(encoding="utf-8")
    for name in set(re.findall(r"var\((--[a-z-]+)\)", STYLE)):
        assert f"{name}:" in known
