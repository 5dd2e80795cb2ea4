"""The repository's address, everywhere it is written.

    .venv/bin/python tools/repo.py                                  print it
    .venv/bin/python tools/repo.py https://github.com/you/your-fork  rewrite it

`repository.url` in _config.yml is the setting; badges, buttons, package metadata and the first
cells of the notebooks follow it (a test compares them), so that a fork's buttons point at the fork.
"""

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PLACES = [
    "_config.yml",
    "pyproject.toml",
    "CITATION.cff",
    "*.md",
    "book/**/*.md",
    "book/_templates/**/*",
    "costlab/**/*.py",
    "notebooks/*.ipynb",
]
NAME = r"[A-Za-z0-9][A-Za-z0-9._-]*"


def address() -> str:
    """The setting: `repository.url` in _config.yml."""
    text = (ROOT / "_config.yml").read_text(encoding="utf-8")
    return re.search(r"^repository:\n(?:\s.*\n)*?\s+url:\s*(\S+)", text, re.M)[1]


def owner_and_name(url: str) -> tuple[str, str]:
    """Take a GitHub address apart; stop with one sentence where it is none."""
    match = re.fullmatch(rf"https://github\.com/({NAME})/({NAME}?)(?:\.git)?/?", url)
    if not match:
        sys.exit(f"{url!r} is not an address such as https://github.com/owner/name.")
    return match[1], match[2]


def forms(url: str) -> list[str]:
    """The ways in which the address is written: GitHub, Colab, raw files, Binder, Pages."""
    owner, name = owner_and_name(url)
    hosts = ["github.com/", "/github/", "raw.githubusercontent.com/", "mybinder.org/v2/gh/"]
    return [f"{host}{owner}/{name}" for host in hosts] + [f"{owner}.github.io/{name}"]


def files() -> list[Path]:
    """The text files in which the address may be written."""
    found = {path for pattern in PLACES for path in ROOT.glob(pattern) if path.is_file()}
    return sorted(path for path in found if "__pycache__" not in path.parts)


def rewrite(text: str, old: str, new: str) -> str:
    """Replace every form of the old address, and no longer name that begins like it."""
    for before, after in zip(forms(old), forms(new), strict=True):
        text = re.sub(rf"{re.escape(before)}(?![A-Za-z0-9_-])", after, text)
    return text


def main() -> None:
    """Print the address, or rewrite it in every file."""
    old = address()
    if len(sys.argv) < 2:
        print(old)
        return
    new = "https://github.com/{}/{}".format(*owner_and_name(sys.argv[1]))
    for path in files():
        before = path.read_text(encoding="utf-8")
        after = rewrite(before, old, new)
        if after != before:
            draft = path.with_name(path.name + ".tmp")
            draft.write_text(after, encoding="utf-8", newline="\n")
            os.replace(draft, path)
            print(f"{path.relative_to(ROOT)} now says {new}")


if __name__ == "__main__":
    main()
