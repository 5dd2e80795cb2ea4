"""What the book's own Sphinx extension does to a page's HTML."""

import importlib.util
import re
import struct
import sys
from pathlib import Path

import pytest

pytest.importorskip("sphinx")
ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def extension():
    path = ROOT / "book/_ext/costlab_book.py"
    spec = importlib.util.spec_from_file_location("costlab_book", path)
    module = importlib.util.module_from_spec(spec)
    sys.path.insert(0, str(path.parent))  # as Sphinx does: it imports a neighbor
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def png(tmp_path):
    path = tmp_path / "figure.png"
    size = struct.pack(">II", 1280, 720)
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + b"\x00\x00\x00\rIHDR" + size)
    return path


def test_pictures_get_half_their_pixels_and_all_but_the_first_wait(extension, png):
    body = '<img alt="a" src="../_images/figure.png" /><img alt="b" src="../_images/figure.png" />'
    first, second = re.findall("<img[^>]*>", extension.dress_pictures(body, {"figure.png": png}))
    for tag in (first, second):
        assert 'width="640" height="360"' in tag
    assert "lazy" not in first
    assert 'loading="lazy"' in second


def test_a_picture_with_a_size_of_its_own_keeps_it(extension, png):
    body = '<img alt="a" src="figure.png" width="10" />'
    dressed = extension.dress_pictures(body, {"figure.png": png})
    assert dressed.count("width=") == 1
    assert "height=" not in dressed


def test_what_is_no_png_gets_no_size(extension, tmp_path):
    drawing = tmp_path / "drawing.svg"
    drawing.write_text("<svg/>")
    assert extension.picture_size(drawing) is None


def test_tables_stand_in_a_frame(extension):
    framed = extension.frame_tables("<p>a</p><table class='x'><tr></tr></table><p>b</p>")
    assert framed == (
        "<p>a</p><div class=\"table-frame\"><table class='x'><tr></tr></table></div><p>b</p>"
    )


@pytest.mark.parametrize(
    ("repository", "site"),
    [
        ("https://github.com/you/fork", "https://you.github.io/fork/"),
        ("https://example.org/you/fork", ""),
        ("", ""),
    ],
)
def test_a_forks_site_is_the_forks(extension, repository, site):
    assert extension.site_address(repository) == site


def test_colab_opens_the_notebook_of_the_repository(extension):
    address = extension.colab_address("https://github.com/you/fork", "main", "notebooks/a.ipynb")
    assert address == (
        "https://colab.research.google.com/github/you/fork/blob/main/notebooks/a.ipynb"
    )


def test_pages_load_what_they_use_and_nothing_of_the_theme(extension):
    math = '<span class="math">'
    assert extension.is_wanted("_static/costlab.css", "")
    assert extension.is_wanted("_static/mathjax/tex-chtml.js", math)
    assert not extension.is_wanted("_static/mathjax/tex-chtml.js", "<p>no formula</p>")
    assert not extension.is_wanted("_static/scripts/fontawesome.js", math)
