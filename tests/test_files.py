"""What can be taken away: every page in llms.txt, every row of the catalog, every notebook."""

import json
import re
import sys
import zipfile
from pathlib import Path

import pytest

from costlab import catalog

pytest.importorskip("sphinx")
ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import costlab_files as files  # noqa: E402

TOC = re.findall(r"file: (\S+)", (ROOT / "_toc.yml").read_text(encoding="utf-8"))


def test_llms_txt_names_every_page_once_with_a_sentence():
    text = files.llms_txt(ROOT, "https://example.org/book/")
    head, pages = text.partition("\n## ")[::2]
    assert head.startswith("# The Cost Lab\n\n> ")
    rows = re.findall(
        r"^- \[(.+)\]\(https://example\.org/book/(\S+)\.html\): (.{30,})$", pages, re.M
    )
    assert [page for _, page, _ in rows] == TOC
    assert "(costlab-notebooks.zip)" in files.llms_txt(ROOT, "")


def test_the_catalog_is_whole_and_every_row_says_whence():
    tables = json.loads(files.catalog_json())
    lines = {
        path.stem: path.read_text(encoding="utf-8").strip().count("\n")
        for path in (ROOT / "costlab" / "catalog").glob("*.csv")
    }
    assert sum(map(len, tables.values())) == sum(lines.values())
    assert all(row["source"] and row["as_of"] for rows in tables.values() for row in rows)
    assert tables["accelerators"] == catalog.as_rows(catalog.accelerators())


def test_the_zip_holds_every_chapter_and_is_the_same_every_time(tmp_path):
    for name in ("one", "other"):
        files.pack(ROOT, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "other").read_bytes()
    with zipfile.ZipFile(tmp_path / "one") as archive:
        names = [name for name in archive.namelist() if name.endswith(".ipynb")]
        chapter = archive.read(names[0])
    assert [name.removeprefix("costlab-").removesuffix(".ipynb") for name in names] == [
        page for page in TOC if page.startswith("notebooks/")
    ]
    assert chapter == (ROOT / "notebooks" / Path(names[0]).name).read_bytes()
