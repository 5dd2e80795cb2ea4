"""Build the book into _build/html, and check that every page of _toc.yml is there.

    .venv/bin/python tools/book.py            build, unless nothing changed since the last time
    .venv/bin/python tools/book.py --force    build in any case

Every build is a cold one: a warm one stays silent about the faults of pages that it does not read
again, and version 2 of the builder ends with success and no pages.
"""

import hashlib
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BUILD = ROOT / "_build"
STAMP = BUILD / "book.sha256"
SOURCES = [
    "_config.yml",
    "_toc.yml",
    "requirements.txt",
    "book/**/*",
    "notebooks/*",
    "costlab/**/*",
]


def fingerprint() -> str:
    """One hash over the names and bytes of everything that the book is built from."""
    digest = hashlib.sha256()
    files = {path for pattern in SOURCES for path in ROOT.glob(pattern) if path.is_file()}
    for path in sorted(files):
        if "__pycache__" not in path.parts:
            digest.update(path.relative_to(ROOT).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def pages() -> list[str]:
    """The pages that _toc.yml names, as paths without a suffix."""
    names = re.findall(r"^\s*(?:- )?(?:root|file):\s*(\S+)", (ROOT / "_toc.yml").read_text(), re.M)
    return [re.sub(r"\.(md|ipynb)$", "", name.strip("'\"")) for name in names]


def missing() -> list[str]:
    """The pages of _toc.yml that the built book lacks."""
    html = [BUILD / "html" / f"{name}.html" for name in ["index", *pages()]]
    return [
        str(path.relative_to(ROOT))
        for path in html
        if not path.is_file() or not path.stat().st_size
    ]


def build() -> None:
    """Build from nothing; warnings are errors, and every one of them is shown."""
    STAMP.unlink(missing_ok=True)
    for folder in ["html", ".doctrees", ".jupyter_cache", "jupyter_execute"]:
        shutil.rmtree(BUILD / folder, ignore_errors=True)
    builder = shutil.which("jupyter-book", path=Path(sys.executable).parent)
    if builder is None:
        sys.exit("jupyter-book is not installed beside this Python: run `make book`.")
    command = [builder, "build", ".", "-n", "-W", "--keep-going", "-q"]
    result = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if result.returncode:
        sys.exit(result.stdout + result.stderr + "The book did not build: the lines above say why.")


def main() -> None:
    """Build where needed, check the pages, say where to open the book."""
    start, now = time.monotonic(), fingerprint()
    fresh = STAMP.is_file() and STAMP.read_text() == now and not missing()
    if not fresh or "--force" in sys.argv[1:]:
        build()
        if missing():
            sys.exit(f"The builder ended with success, but these pages are missing: {missing()}.")
        STAMP.write_text(now)
        print(f"{len(pages())} pages in {time.monotonic() - start:.0f} s")
    print("The book is built: open _build/html/index.html")


if __name__ == "__main__":
    main()
