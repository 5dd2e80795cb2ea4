"""The book as one PDF: every equation, picture and heading of the pages, and nothing missing."""

import os
import re
import sys
from pathlib import Path

import pytest

pytest.importorskip("bs4")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tools"))
import book  # noqa: E402
import pdf  # noqa: E402

PAGES = ["book/one", "notebooks/two"]
ONE = """<html><head><script>window.MathJax = {"options": {}}</script></head><body><nav>x</nav>
<article><h1 id="top">One</h1><a href="#top">a</a><a href="../notebooks/two.html#end">b</a>
<a href="../zip.zip">c</a><a href="https://example.org/x.html">d</a>
<img src="../_images/x.png" loading="lazy"/><span class="math notranslate">\\(x\\)</span></article>
</body></html>"""
TWO = """<html><body><article><h1 id="top">Two</h1><h2 id="end">End</h2>
<details><summary>Solution</summary><p>forty-two</p></details>
<details><summary><p class="collapsed">Show code</p></summary><pre>code</pre></details>
<details><pre>notebook . begin(seed=0)</pre></details>
<div class="calculator"><noscript><table></table></noscript></div></article></body></html>"""


@pytest.fixture
def page(tmp_path):
    for name, text in zip(PAGES, (ONE, TWO)):
        path = tmp_path / f"{name}.html"
        path.parent.mkdir()
        path.write_text(text)
    return pdf.single_page(tmp_path, PAGES)


def test_links_and_names_are_those_of_the_single_page(page):
    for name in ("book/one", "book/one:top", "notebooks/two:top", "notebooks/two:end"):
        assert page.count(f'id="{name}"') == 1
    links = re.findall(r'<a href="([^"]+)"', page)
    assert links == [
        "#book/one:top",
        "#notebooks/two:end",
        "../html/zip.zip",
        "https://example.org/x.html",
    ]
    assert '<img src="../html/_images/x.png"/>' in page
    assert pdf.equations(page) == 1


def test_what_is_folded_is_open_and_the_first_cell_gone(page):
    for gone in ("<details", "<summary", "<noscript", "<nav", "Show code", "begin", "lazy"):
        assert gone not in page
    for kept in ("Solution", "forty-two", "<pre>code</pre>", "<table>"):
        assert kept in page


def missing(sentence):
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)


@pytest.fixture
def browser():
    return pdf.find_browser() or missing("No Chromium or Chrome was found: install one.")


@pytest.mark.soak
def test_a_request_that_fails_is_reported(browser, tmp_path):
    path = tmp_path / "pdf" / "index.html"
    path.parent.mkdir()
    path.write_text('<link rel="icon" href="data:,"><h1>x</h1><img src="gone.png">')
    assert pdf.print_page(browser, path, tmp_path / "x.pdf") == (["/pdf/gone.png"], 0)


@pytest.mark.soak
def test_the_whole_book_is_printed(browser):
    if book.missing():
        missing("There is no built book in _build/html: run `make book`.")
    built = [(pdf.HTML / f"{name}.html").read_text(encoding="utf-8") for name in book.pages()]
    texts = [re.search(r"<article\b.*</article>", text, re.S)[0] for text in built]
    pdf.main()  # ends with a sentence where a request failed or an equation was not drawn
    page = pdf.PAGE.read_text(encoding="utf-8")
    for mark in ('class="math', "<img", "<h1", "<h2", "<h3"):
        assert page.count(mark) == sum(text.count(mark) for text in texts) > 20
    titles = len(re.findall(rb"/Title ", pdf.PDF.read_bytes()))
    assert titles - 1 == len(re.findall(r"<h[1-6]\b", page))  # one is the document's own
