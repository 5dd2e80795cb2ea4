"""Print the book as one PDF with bookmarks, by Chromium or Chrome without a window.

    .venv/bin/python tools/pdf.py

Sphinx's own single page would do, but its headings, and so the links to them, bear the same names
in every chapter, and its files lie where a book whose first page is in a folder does not find them.
So the single page is put together from the built ones. Both lie in _build/pdf/.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from posixpath import normpath
from urllib.parse import urlsplit

from bs4 import BeautifulSoup, Tag

sys.path.insert(0, str(Path(__file__).resolve().parent))
import book

HTML = book.BUILD / "html"
FOLDER = book.BUILD / "pdf"
PAGE, PDF = FOLDER / "index.html", FOLDER / "cost-lab.pdf"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
FLAGS = shlex.split(
    "--headless=new --no-sandbox --disable-gpu --no-first-run --disable-background-networking "
    "--no-pdf-header-footer --generate-pdf-document-outline --virtual-time-budget=120000"
)
LIMIT_S = 900
STYLE = "<style>@page { size: A4 } article { break-before: page }</style>"
# The page itself tells how many equations were drawn: an address that nobody else asks for.
DRAWN = "/drawn/"
READY = f"""
addEventListener("load", () => MathJax.startup.promise.then(() =>
  fetch("{DRAWN}" + document.querySelectorAll("mjx-container").length)));"""
HEAD = """<!doctype html>
<html lang="en" data-theme="light"><head><meta charset="utf-8"><title>The Cost Lab</title>
<link rel="icon" href="../html/_static/favicon.svg">
{files}
</head><body><main>
"""


def articles(html: Path, pages: list[str]) -> Iterator[Tag]:
    """The text of each page, with its links and pictures as one single page needs them."""
    for name in pages:
        soup = BeautifulSoup((html / f"{name}.html").read_bytes(), "html.parser")
        article = soup.find("article")
        article["id"] = name
        for tag in article.find_all(id=True):
            tag["id"] = f"{name}:{tag['id']}"
        for tag in article.find_all(["a", "img"]):
            key = "href" if tag.name == "a" else "src"
            if tag.get(key):
                tag[key] = moved(tag[key], name, pages)
            tag.attrs.pop("loading", None)
        unfold(article)
        yield article


def moved(link: str, name: str, pages: list[str]) -> str:
    """A link of the page `name`, as it is on the single page."""
    parts = urlsplit(link)
    if parts.scheme or parts.netloc:
        return link
    path = normpath(f"{name}/../{parts.path}") if parts.path else f"{name}.html"
    if (page := path.removesuffix(".html")) in pages:
        return f"#{page}:{parts.fragment}" if parts.fragment else f"#{page}"
    return f"../html/{path}"


def unfold(article: Tag) -> None:
    """Open what is folded, for paper: solutions, code. The cell that opens every chapter goes."""
    for tag in article.find_all(["button", "script"]):
        tag.decompose()
    for tag in article.find_all("noscript"):
        tag.name = "div"
    for details in article.find_all("details"):
        if "notebook.begin" in details.get_text().replace(" ", ""):
            details.decompose()
            continue
        details.name, details["class"] = "div", "unfolded"
        title = details.find("summary")
        if title and title.find("p", class_="collapsed"):
            title.decompose()
        elif title:
            title.name, title["style"] = "p", "font-weight: bold"


def mathjax_settings(html: Path, pages: list[str]) -> str:
    """The line of a built page that tells MathJax what to draw, the same on each that has some."""
    texts = ((html / f"{name}.html").read_text(encoding="utf-8") for name in pages)
    found = next(m[0] for text in texts if (m := re.search(r"window\.MathJax = \{.*\}", text)))
    return re.sub(r'"loader": \{.*?\}, ', "", found) + ";"  # on paper nothing is drawn later


def single_page(html: Path, pages: list[str]) -> str:
    """The whole book as one page, which lies in a folder beside the built ones."""
    styles = ("pygments.css", "costlab.css", "receipt.css", "calc.css")
    files = [f'<link rel="stylesheet" href="../html/_static/{name}">' for name in styles]
    files += [f'<link rel="stylesheet" href="../html/_static/{path.name}">'
              for path in html.glob("_static/sphinx-design*.css")]  # fmt: skip
    files += ["<script>" + mathjax_settings(html, pages) + READY + "</script>"]
    files += ['<script defer src="../html/_static/mathjax/tex-chtml.js"></script>']
    head = HEAD.format(files="\n".join([*files, STYLE]))
    return head + "\n".join(map(str, articles(html, pages)))


class Server(ThreadingHTTPServer):
    """Serves files on this machine, keeps what was asked for in vain and how much was drawn."""

    def __init__(self, folder: Path) -> None:
        self.failed, self.drawn = [], 0
        super().__init__(("127.0.0.1", 0), partial(Handler, directory=folder))


class Handler(SimpleHTTPRequestHandler):
    """Answers one request of `Server`."""

    def do_GET(self) -> None:
        if not self.path.startswith(DRAWN):
            return super().do_GET()
        self.server.drawn = int(self.path.removeprefix(DRAWN))
        self.send_response(204)
        self.end_headers()

    def log_request(self, code="-", size="-") -> None:
        if int(code) >= 400:
            self.server.failed.append(self.path)

    def log_error(self, *args) -> None:
        pass


def find_browser() -> str | None:
    """The browser that `CHROME` names, or one on the path."""
    found = os.environ.get("CHROME") or next(filter(None, map(shutil.which, BROWSERS)), None)
    return found or (MAC if Path(MAC).exists() else None)


def print_page(browser: str, page: Path, target: Path) -> tuple[list[str], int]:
    """Print a page that is served from the folder above its own, with whatever lies there.

    Returns:
        The requests that failed, and how many equations were drawn.
    """
    server = Server(page.parent.parent)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    address = f"http://127.0.0.1:{server.server_port}/{page.parent.name}/{page.name}"
    draft = target.with_suffix(".tmp")
    with tempfile.TemporaryDirectory() as profile:
        command = [browser, *FLAGS, f"--user-data-dir={profile}", f"--print-to-pdf={draft}"]
        result = subprocess.run(
            [*command, address], capture_output=True, text=True, timeout=LIMIT_S
        )
    server.shutdown()
    if not draft.is_file():
        sys.exit(f"{result.stderr}\n{browser} wrote no PDF: the lines above say why.")
    os.replace(draft, target)
    return server.failed, server.drawn


def equations(page: str) -> int:
    """How many equations the source of a page holds."""
    return len(re.findall(r'<(?:div|span) class="math\b', page))


def main() -> None:
    """Put the single page together, and print it."""
    browser = find_browser()
    if not browser:
        sys.exit("No Chromium or Chrome was found: install one, or name it in CHROME.")
    if book.missing():
        sys.exit("There is no built book in _build/html: run `make book`.")
    FOLDER.mkdir(parents=True, exist_ok=True)
    page = single_page(HTML, book.pages())
    PAGE.write_text(page, encoding="utf-8")
    failed, drawn = print_page(browser, PAGE, PDF)
    if failed or drawn < equations(page):
        sys.exit(f"Drawn: {drawn} of {equations(page)} equations; requests that failed: {failed}.")
    print(f"{PDF.relative_to(book.ROOT)}: {PDF.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
