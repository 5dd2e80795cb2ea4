"""The built book in a real browser: offline, silent, open to everyone, light and dark, on a phone.

Needs `make book` and a Chromium or Chrome; `CHROME` names one that is not on the path. Without
them the tests are skipped with a sentence, but on CI (`CI=true`) they fail. The browser is driven
through its own protocol, so no driver has to be installed.
"""

import gzip
import http.server
import importlib.util
import itertools
import json
import os
import re
import shlex
import shutil
import subprocess
import threading
import time
import urllib.request
from functools import cache, partial
from html import unescape
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

import pytest

# All pages are visited before the first test: half an hour is for a slow, shared machine.
pytestmark = [pytest.mark.browser, pytest.mark.timeout(1800)]

ROOT = Path(__file__).parents[1]
HTML = ROOT / "_build" / "html"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
MAC = "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome"
VIEWS = (("light", 1280), ("dark", 390))
FLAGS = shlex.split(
    "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run --disable-sync "
    "--disable-background-networking --disable-component-update --remote-debugging-port=0"
)
NO_NETWORK = "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"
# A page that breaks each promise once, to show that each check can fail.
FAULTY = """<!doctype html><html lang="en"><head><title>Faulty</title></head><body>
<main><h1>Faulty</h1><img src="picture.png"><img src="http://elsewhere.invalid/x.png" alt="x">
<input type="search" aria-label="one"><input type="search" aria-label="two">
<p style="width: 3000px; color: #bbb; background: #fff">Too wide, too pale.</p>
<script>console.error("a fault")</script></main></body></html>"""
LOOK = (ROOT / "tests/look.js").read_text(encoding="utf8")


def missing(sentence):
    """Skip with a sentence on a reader's machine, fail on CI."""
    (pytest.fail if os.environ.get("CI") == "true" else pytest.skip)(sentence)


def find_browser():
    named = os.environ.get("CHROME")
    found = named or next(filter(None, map(shutil.which, BROWSERS)), None)
    found = found or (MAC if Path(MAC).exists() else None)
    if not found:
        missing("No Chromium or Chrome was found: install one, or name it in CHROME.")
    return found


def axe_source():
    """Return the accessibility checker's source, from the installed package axe-core-python."""
    spec = importlib.util.find_spec("axe_core_python")
    if spec is None:
        missing("axe-core-python is not installed: `make install` brings it.")
    return Path(spec.origin).with_name("axe.min.js").read_text(encoding="utf8")


class Browser:
    """One tab of a headless browser, driven through the DevTools protocol."""

    def __init__(self, program, profile):
        websocket = pytest.importorskip("websocket")
        self.process = subprocess.Popen(
            [program, *FLAGS, NO_NETWORK, f"--user-data-dir={profile}", "about:blank"],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        tab = self._new_tab(Path(profile, "DevToolsActivePort"))
        self.socket = websocket.create_connection(
            tab["webSocketDebuggerUrl"], timeout=180, suppress_origin=True
        )
        self.ids, self.events = itertools.count(1), []
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def _new_tab(self, port_file):
        for _ in range(200):
            if port_file.exists() and "\n" in (text := port_file.read_text()):
                address = f"http://127.0.0.1:{text.split()[0]}/json/new?about:blank"
                request = urllib.request.Request(address, method="PUT")
                with urllib.request.urlopen(request, timeout=10) as answer:
                    return json.load(answer)
            time.sleep(0.1)
        pytest.fail("The browser did not start within 20 seconds.")

    def call(self, method, **params):
        number = next(self.ids)
        self.socket.send(json.dumps({"id": number, "method": method, "params": params}))
        while True:
            message = json.loads(self.socket.recv())
            if message.get("id") == number:
                assert "error" not in message, message
                return message["result"]
            self.events.append(message)

    def run(self, expression):
        result = self.call(
            "Runtime.evaluate", expression=expression, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in result, result["exceptionDetails"]
        return result["result"].get("value")

    def visit(self, address, theme, width, axe):
        """Open a page and return what there is to judge about it."""
        feature = {"name": "prefers-color-scheme", "value": theme}
        size = {"width": width, "height": 850, "deviceScaleFactor": 1, "mobile": width < 500}
        self.call("Page.navigate", url="about:blank")
        self.call("Emulation.setEmulatedMedia", media="screen", features=[feature])
        self.call("Emulation.setDeviceMetricsOverride", **size)
        self.events.clear()
        self.call("Page.navigate", url=address)
        while not any(event["method"] == "Page.loadEventFired" for event in self.events):
            self.events.append(json.loads(self.socket.recv()))
        self.run(axe)
        return {"address": address, **self.run(LOOK), **self._heard()}

    def _heard(self):
        """Return the requests and the complaints since the last visit began."""
        asked, complaints = [], []
        for event in self.events:
            method, params = event["method"], event["params"]
            if method == "Network.requestWillBeSent":
                asked.append(params["request"]["url"])
            elif method == "Runtime.exceptionThrown":
                complaints.append(params["exceptionDetails"]["text"])
            elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "warning"):
                complaints.append(str(params["args"]))
            elif method == "Log.entryAdded" and params["entry"]["level"] in ("error", "warning"):
                complaints.append(params["entry"]["text"])
        return {"asked": asked, "complaints": complaints}

    def close(self):
        self.socket.close()
        self.process.terminate()
        self.process.wait(timeout=10)


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


def serve(folder):
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=folder))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server, f"http://127.0.0.1:{server.server_port}/"


def built_pages():
    pages = sorted(path for part in ("book", "notebooks") for path in (HTML / part).glob("*.html"))
    if not pages:
        missing("There is no built book in _build/html: run `make book`.")
    return [path.relative_to(HTML).as_posix() for path in pages] + ["search.html?q=weights"]


def foreign(visit):
    """Return the requests of a visit that left the page's own host."""
    home = urlsplit(visit["address"]).netloc
    return [
        url
        for url in visit["asked"]
        if not url.startswith("data:") and urlsplit(url).netloc != home
    ]


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    found = find_browser()
    started = Browser(found, tmp_path_factory.mktemp("profile"))
    yield started
    started.close()


@pytest.fixture(scope="module")
def visits(browser):
    """Every page, once light and wide and once dark on a phone."""
    pages, axe = built_pages(), axe_source()
    server, home = serve(HTML)
    yield [browser.visit(home + page, *view, axe) for page in pages for view in VIEWS]
    server.shutdown()


def wrong(visits, fault):
    """Return the address of each visit in which `fault` finds something, with what it found."""
    return [(visit["address"], found) for visit in visits if (found := fault(visit))]


def test_no_page_asks_another_host(visits):
    assert not wrong(visits, foreign)


def test_no_page_complains_in_the_console(visits):
    assert not wrong(visits, lambda visit: visit["complaints"])


def test_no_page_scrolls_sideways(visits):
    assert not wrong(visits, lambda visit: visit["width"] > visit["view"])


def test_every_page_shows_one_search_field(visits):
    assert not wrong(visits, lambda visit: visit["searches"] != 1 and visit["searches"] + 1)


def test_no_page_shuts_anyone_out(visits):
    assert not wrong(visits, lambda visit: visit["faults"])


def test_pictures_have_words_and_measures(visits):
    def lacking(picture):
        return not all(picture) or "/" in picture[1] or picture[1].endswith(".png")

    assert not wrong(visits, lambda visit: [one for one in visit["images"] if lacking(one)])


def test_mathematics_is_drawn_offline(visits):
    assert any(visit["math"] for visit in visits), "no page holds mathematics: nothing was tested"
    assert not wrong(visits, lambda visit: visit["math"] and not visit["drawn"] >= visit["math"])


def test_dark_is_dark_and_the_column_is_narrow(visits):
    for visit, (theme, width) in zip(visits, itertools.cycle(VIEWS)):
        assert visit["theme"] == theme
        assert visit["paper"] == ("rgb(251, 249, 244)" if theme == "light" else "rgb(23, 22, 20)")
        assert visit["column"] <= min(width, 640)


def test_every_page_is_light_on_the_wire(visits):
    """Compressed as a server would, with every picture, under 1 MB."""

    def weight(visit):
        paths = {HTML / unquote(urlsplit(url).path.strip("/")) for url in visit["asked"]}
        ready = (".png", ".woff", ".jpg")
        return sum(
            path.stat().st_size
            if path.suffix in ready
            else len(gzip.compress(path.read_bytes(), mtime=0))
            for path in paths
            if path.is_file()
        )

    assert all(weight(visit) > 5_000 for visit in visits)
    assert not wrong(visits, lambda visit: weight(visit) if weight(visit) > 1_000_000 else 0)


# What a reader may type, and a page that must be among the first dozen found.
SEARCHES = {
    "int8": "Quantization",
    "KV cache": "Glossary",
    "LoRA": "Adapters",
    "FSDP": "Gradient parallel",
    "prune": "Pruning",
    "speculative decoding": "Serving",
    "mixture of experts": "Model parallel",
    "roofline": "Compute",
    "checkpoint interval": "Gradient parallel",
    "temperature": "Distillation",
    "gradient clipping": "Clipping",
    "break-even API": "Serving",
    "llama 70b memory": "Trends",
    "量化": "中文导览",
}


def test_searching_finds_what_a_reader_types(browser):
    built_pages()
    server, home = serve(HTML)
    titles = "[...document.querySelectorAll('#search-results li > a')].map((a) => a.textContent)"
    wrong = {}
    for words, title in SEARCHES.items():
        browser.visit(f"{home}search.html?q={quote(words)}", "light", 1280, "")
        for _ in range(50):
            found = browser.run(titles)[:12]
            if any(one.startswith(title) for one in found):
                break
            time.sleep(0.1)
        else:
            wrong[words] = found
    server.shutdown()
    assert not wrong


def test_every_page_describes_itself():
    found = re.compile(r'<meta (?=[^>]*name="description")[^>]*content="[^"]{40,300}"')
    pages = [HTML / page.split("?")[0] for page in [*built_pages()[:-1], "index.html"]]
    assert not [page.name for page in pages if not found.search(page.read_text(encoding="utf8"))]


def test_no_built_file_names_another_host_to_load():
    built_pages()
    loads = re.compile(
        r"""<(?:script|img|iframe|source|video|audio)\b[^>]*\bsrc=["'](https?:)?//"""
        r"""|<link\b(?![^>]*rel=["']canonical)[^>]*\bhref=["'](https?:)?//"""
        r"""|@import|url\(["']?(https?:)?//"""
    )
    assert loads.search('<script defer src="https://cdn.example/x.js">')
    assert not loads.search('<link rel="canonical" href="https://us.example/">')
    files = [path for kind in ("html", "css") for path in HTML.rglob(f"*.{kind}")]
    named = {
        path.name: found.group() for path in files if (found := loads.search(path.read_text()))
    }
    assert not named


def dead_links(folder):
    """Return (page, link) for links between the files of a site that lead to nothing."""

    @cache
    def anchors(path):
        return set(re.findall(r'\b(?:id|name)="([^"]+)"', path.read_text(encoding="utf8")))

    dead = []
    for page in folder.rglob("*.html"):
        for link in re.findall(r'\b(?:href|src)="([^"]+)"', page.read_text(encoding="utf8")):
            parts = urlsplit(unescape(link))
            target = (page.parent / unquote(parts.path)).resolve() if parts.path else page
            lost = not target.exists()
            if parts.fragment and target.suffix == ".html" and not lost:
                lost = unquote(parts.fragment) not in anchors(target)
            if lost and not parts.scheme and not parts.netloc:
                dead.append((page.name, link))
    return dead


def test_every_link_inside_the_book_leads_somewhere():
    built_pages()
    assert not dead_links(HTML)


def test_a_dead_link_is_found_out(tmp_path):
    links = ("#here", "#gone", "page.html#here", "gone.zip", "https://example.org/gone")
    text = "".join(f'<a href="{link}">x</a>' for link in links)
    (tmp_path / "page.html").write_text(f'<h1 id="here">x</h1>{text}')
    assert dead_links(tmp_path) == [("page.html", "#gone"), ("page.html", "gone.zip")]


def test_a_faulty_page_is_found_out(browser, tmp_path):
    (tmp_path / "index.html").write_text(FAULTY)
    server, home = serve(tmp_path)
    visit = browser.visit(home, "light", 1280, axe_source())
    server.shutdown()
    assert foreign(visit) == ["http://elsewhere.invalid/x.png"]
    assert any("a fault" in complaint for complaint in visit["complaints"])
    assert visit["width"] > visit["view"]
    assert visit["searches"] == 2
    assert visit["images"][0][1:4] == ["", None, None]
    assert {"image-alt", "color-contrast"} <= {fault.split(":")[0] for fault in visit["faults"]}
