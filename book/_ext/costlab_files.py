"""Files to take away, beside the pages: the notebooks, the catalog, the ledger, `llms.txt`."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from pathlib import Path

import costlab_ledger
import costlab_reference as reference
from sphinx.application import Sphinx

NOTEBOOKS, CATALOG, LLMS = "costlab-notebooks.zip", "catalog.json", "llms.txt"
LEDGER = "ledger.json"
LICENSES = ("LICENSE", "LICENSE-text")
TABLES = ("accelerators", "machines", "memory_peaks", "models", "prices", "published_runs",
          "quality_results", "serving_ledgers", "serving_results", "training_results",
          "training_steps")  # fmt: skip
ABOUT = """\
Measured numbers are those of the machine on which a chapter was last run. Prices and chips are in
{catalog}, each row with its source and date."""


def catalog_json() -> str:
    """Every table of the catalog, its rows with their sources and dates."""
    from costlab import catalog

    found = {name: catalog.as_rows(getattr(catalog, name)()) for name in TABLES}
    return json.dumps(found, indent=1, ensure_ascii=False) + "\n"


def pack(root: Path, target: Path) -> None:
    """Zip the notebooks of the book and the licenses; the same files give the same bytes."""
    paths = [root / "notebooks" / f"{name}.ipynb" for name in reference.chapters(root)]
    with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
        for path in [*paths, *(root / name for name in LICENSES)]:
            entry = zipfile.ZipInfo(f"costlab-notebooks/{path.name}")
            entry.compress_type, entry.external_attr = zipfile.ZIP_DEFLATED, 0o644 << 16
            archive.writestr(entry, path.read_bytes())


def about(root: Path, name: str) -> tuple[str, str]:
    """Title and description of a page, from its source."""
    path = root / f"{name}.md"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        title = re.search(r"^# (.+)$", text, re.M)[1]
        return title, re.search(r'^ +description: "(.+)"$', text, re.M)[1]
    nb = json.loads((root / f"{name}.ipynb").read_text(encoding="utf-8"))
    title = "".join(nb["cells"][0]["source"]).split("\n")[0].lstrip("# ")
    return title, nb["metadata"]["myst"]["html_meta"]["description"]


def llms_txt(root: Path, base: str) -> str:
    """The contents for a language model: every page with its address and a sentence.

    Args:
        root: the folder that holds `_toc.yml`.
        base: address of the site, with a slash at its end; empty for relative addresses.
    """
    toc = (root / "_toc.yml").read_text(encoding="utf-8")
    home = re.search(r"^root: (\S+)", toc, re.M)[1]
    title, description = about(root, home)
    parts = [f"# {title}", "", f"> {description}", "", ABOUT.format(catalog=base + CATALOG)]
    for caption, page in re.findall(r"caption: (.+)|file: (\S+)", toc):
        if caption:
            parts += ["", f"## {caption}", ""]
        else:
            title, description = about(root, page)
            parts.append(f"- [{title}]({base}{page}.html): {description}")
    parts += ["", "## Files", ""]
    parts.append(f"- [All notebooks]({base}{NOTEBOOKS}): the chapters with their outputs, zipped")
    parts.append(f"- [Catalog]({base}{CATALOG}): chips, prices, models, published results as JSON")
    parts.append(f"- [Ledger]({base}{LEDGER}): all combinations of serving steps as JSON")
    return "\n".join(parts) + "\n"


def write_files(app: Sphinx, error: Exception | None) -> None:
    """Write all of them into the built site."""
    if error or app.builder.name != "html":
        return
    root, out = Path(app.srcdir), Path(app.outdir)
    pack(root, out / NOTEBOOKS)
    (out / CATALOG).write_text(catalog_json(), encoding="utf-8")
    shutil.copyfile(root / costlab_ledger.LEDGER, out / LEDGER)
    (out / LLMS).write_text(llms_txt(root, app.config.html_baseurl), encoding="utf-8")


def setup(app: Sphinx) -> dict:
    """Write the files after the pages."""
    app.connect("build-finished", write_files)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
