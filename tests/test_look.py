"""The look keeps its promises: one palette, readable text, opaque figures, a contained receipt."""

import re
import subprocess
import sys
from pathlib import Path

import pytest
import tinycss2

from costlab import figures

ROOT = Path(__file__).parents[1]
BOOK_CSS = (ROOT / "book/_static/costlab.css").read_text()
RECEIPT_CSS = (ROOT / "costlab/receipt.css").read_text()
PALETTES = {"light": figures.LIGHT, "dark": figures.DARK}


def rules(css):
    """Yield (selector, body, enclosing at-rule) of every style rule."""

    def walk(nodes, inside):
        for node in nodes:
            if node.type == "qualified-rule":
                yield tinycss2.serialize(node.prelude).strip(), node.content, inside
            elif node.type == "at-rule" and node.content is not None:
                name = f"@{node.at_keyword}{tinycss2.serialize(node.prelude)}".strip()
                yield from walk(tinycss2.parse_rule_list(node.content, True, True), name)

    yield from walk(tinycss2.parse_stylesheet(css, True, True), "")


def variables(css, starts, inside=""):
    """Return the custom properties of the one rule whose selector begins as given."""
    for selector, body, where in rules(css):
        here = where.startswith(inside) if inside else not where
        if selector.startswith(starts) and here:
            found = tinycss2.parse_declaration_list(body, True, True)
            values = {
                one.name[2:]: tinycss2.serialize(one.value).strip()
                for one in found
                if one.type == "declaration" and one.name.startswith("--")
            }
            if values:
                return values
    raise AssertionError(f"no rule begins with {starts!r}")


def luminance(color):
    channels = [int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(one, other):
    high, low = sorted((luminance(one), luminance(other)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def test_contrast_agrees_with_known_values():
    assert contrast("#FFFFFF", "#000000") == pytest.approx(21)
    assert contrast("#777777", "#FFFFFF") == pytest.approx(4.48, abs=0.01)  # W3C's own example


@pytest.mark.parametrize("theme", PALETTES)
def test_the_book_and_the_figures_share_one_palette(theme):
    selector = ":root" if theme == "light" else ':root[data-theme="dark"]'
    stated = variables(BOOK_CSS, selector)
    assert {name: stated[name] for name in figures.LIGHT} == PALETTES[theme]


@pytest.mark.parametrize(
    ("starts", "inside", "theme"),
    [
        (".costlab-receipt", "", "light"),
        (".costlab-receipt:is(", "", "dark"),
        (".costlab-receipt", "@media print", "light"),
    ],
)
def test_the_receipt_uses_the_palette(starts, inside, theme):
    stated = variables(RECEIPT_CSS, starts, inside)
    for name in ("ink", "muted", "rule", "saved", "spent"):
        assert stated[f"slip-{name}"] == PALETTES[theme][name]
    if not inside:
        assert stated["slip"] == PALETTES[theme]["slip"]


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("paper", ["paper", "slip", "shade"])
@pytest.mark.parametrize("text", ["ink", "muted", "saved", "spent"])
def test_text_is_readable_on_every_paper(theme, paper, text):
    palette = PALETTES[theme]
    assert contrast(palette[text], palette[paper]) >= 4.5


@pytest.mark.parametrize("theme", PALETTES)
@pytest.mark.parametrize("name", ["code-string", "code-number"])
def test_code_is_readable(theme, name):
    selector = ":root" if theme == "light" else ':root[data-theme="dark"]'
    assert contrast(variables(BOOK_CSS, selector)[name], PALETTES[theme]["shade"]) >= 4.5


def test_every_rule_of_the_receipt_stays_inside_the_receipt():
    found = list(rules(RECEIPT_CSS))
    assert len(found) > 15
    for selector, _, inside in found:
        # A comma inside :is(…) does not begin a selector.
        outside = re.sub(r"\([^)]*\)", "", selector)
        for part in outside.split(","):
            assert part.strip().startswith(".costlab-receipt"), selector
        assert inside == "" or inside.startswith(("@media", "@supports")), inside


@pytest.mark.parametrize("css", [BOOK_CSS, RECEIPT_CSS], ids=["book", "receipt"])
def test_styles_fetch_nothing(css):
    assert not re.search(r"url\(|@import|https?:", css)


def test_figures_are_opaque_and_of_one_width():
    rc = figures.rc()
    assert rc["figure.facecolor"] == rc["savefig.facecolor"] == figures.LIGHT["paper"]
    assert rc["savefig.transparent"] is False
    assert rc["figure.figsize"][0] == 6.4
    assert rc["savefig.dpi"] == rc["figure.dpi"] == 200


def test_style_leaves_matplotlib_as_it_was():
    mpl = pytest.importorskip("matplotlib")
    before = dict(mpl.rcParams)
    with figures.style():
        assert mpl.rcParams["axes.facecolor"] == figures.PAPER
    assert dict(mpl.rcParams) == before


def test_importing_figures_does_not_import_matplotlib():
    code = "import costlab.figures, sys; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


ROWS = [
    {"name": "as it stands", "dollars": 0.12, "quality": 1.4},
    {"name": "int8", "dollars": 0.06, "quality": 1.4},
    {"name": "two machines", "dollars": 0.24, "quality": 1.4},
    {"name": "not measured", "dollars": None, "quality": 1.4},
]


@pytest.fixture
def drawn():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    yield figures.money_vs_quality(ROWS)
    plt.close("all")


def test_money_vs_quality_says_its_point_and_tells_by_shape(drawn):
    (ax,) = drawn.axes
    assert ax.get_xscale() == "log"
    assert ax.get_title(loc="left").startswith("int8 saves 50 %")
    texts = " ".join(text.get_text() for text in ax.texts)
    assert "int8  ▼ 50 %" in texts
    assert "two machines  ▲ 100 %" in texts
    assert "not measured" not in texts
    assert {line.get_marker() for line in ax.lines} == {"o", "v", "^"}


def test_money_vs_quality_is_a_sharp_opaque_png(drawn, tmp_path):
    image = pytest.importorskip("PIL.Image")
    with figures.style():
        drawn.savefig(tmp_path / "figure.png")
    picture = image.open(tmp_path / "figure.png").convert("RGBA")
    assert picture.width == 1280
    corner = "#{:02X}{:02X}{:02X}".format(*picture.getpixel((0, 0))[:3])
    assert corner == figures.PAPER
    assert picture.getextrema()[3] == (255, 255)


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([], "rows: no row has both dollars and quality"),
        ([{"name": "free", "dollars": 0, "quality": 1.0}], "rows: dollars of 'free' is 0"),
    ],
)
def test_money_vs_quality_says_what_is_wrong(rows, sentence):
    with pytest.raises(ValueError, match=sentence):
        figures.money_vs_quality(rows)


def test_label_line_stands_at_the_last_finite_point():
    plt = pytest.importorskip("matplotlib.pyplot")
    plt.switch_backend("Agg")
    _, ax = plt.subplots()
    (line,) = ax.plot([1, 2, 3], [5, 6, float("nan")])
    figures.label_line(ax, line, "int8")
    assert ax.texts[0].xy == (2, 6)
    (empty,) = ax.plot([], [])
    with pytest.raises(ValueError, match="line: 'gone' has no finite point"):
        figures.label_line(ax, empty, "gone")
    plt.close("all")
