"""Make the workshop kit: one zip with everything for a room without a network.

    .venv/bin/python tools/kit.py

In it are the built book, the notebooks of both editions, the slides, the package as a wheel, the
leaderboard of the game and the checklist. Python and PyTorch come the day before (room.md).
"""

import os
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import editions
import slides
import wheel

ROOT = editions.ROOT
HTML = ROOT / "_build" / "html"
KIT = editions.EDITIONS / "costlab-workshop.zip"
LIMIT = 60_000_000  # bytes: it must fit a mail-sized stick and a slow copy
START = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>The Cost Lab: workshop kit</title>
<link rel="stylesheet" href="slides/assets/slides.css"></head>
<body><main class="reveal" style="padding: 2em">
<h1>The Cost Lab</h1>
<p>Everything here works without a network.</p>
<ul>
<li><a href="book/index.html">The book</a>, and in it <a href="book/book/workshop/plans.html">the
plans</a> and <a href="book/book/workshop/room.html">what to do before</a></li>
<li><a href="slides/index.html">Slides</a>: S opens the speaker notes</li>
<li><code>student/</code> and <code>instructor/</code>: the notebooks, for JupyterLab</li>
<li><code>leaderboard.py</code>: the game's, <code>python leaderboard.py entries/</code></li>
<li><code>{wheel}</code>: the package,
<code>pip install --no-index --no-deps {wheel}</code></li>
</ul></main></body></html>
"""


def members(wheel_file: Path) -> Iterator[tuple[str, Path]]:
    """Name in the kit -> file, for everything but the page to start from."""
    for folder, place in (
        ("book", HTML),
        ("slides", slides.TARGET),
        ("student", editions.EDITIONS / "student"),
        ("instructor", editions.EDITIONS / "instructor"),
    ):
        for path in sorted(place.rglob("*")):
            if path.is_file():
                yield f"{folder}/{path.relative_to(place).as_posix()}", path
    yield "leaderboard.py", ROOT / "tools" / "leaderboard.py"
    yield "CHECKLIST.md", ROOT / "book" / "workshop" / "room.md"
    for name in ("LICENSE", "LICENSE-text"):
        yield name, ROOT / name
    yield wheel_file.name, wheel_file


def pack(files: dict[str, Path], start: str, target: Path, limit: int = LIMIT) -> int:
    """Write the zip whole or not at all; returns its bytes."""
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_suffix(".tmp")
    with zipfile.ZipFile(draft, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("costlab-workshop/START.html", start)
        for name, path in files.items():
            archive.write(path, f"costlab-workshop/{name}")
    if (size := draft.stat().st_size) > limit:
        draft.unlink()
        sys.exit(f"The kit takes {size / 1e6:.0f} MB, and at most {limit / 1e6:.0f} are promised.")
    os.replace(draft, target)
    return size


def main() -> None:
    """Make the editions, the slides and the wheel, and pack them with the built book."""
    if not (HTML / "index.html").is_file():
        sys.exit("There is no built book in _build/html: run `make book`.")
    editions.make("student", editions.EDITIONS / "student")
    editions.make("instructor", editions.EDITIONS / "instructor")
    slides.make()
    built = wheel.build(editions.EDITIONS / "wheel")
    size = pack(dict(members(built)), START.format(wheel=built.name), KIT)
    print(f"{KIT.relative_to(ROOT)}: {size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
