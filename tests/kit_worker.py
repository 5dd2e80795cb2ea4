"""Open an unpacked workshop kit where there is no network; prints one line for each part.

python kit_worker.py FOLDER      inside a network namespace that has a loopback alone
"""

import importlib.util
import os
import socket
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

FOLDER = Path(sys.argv[1])
KIT = FOLDER / "costlab-workshop"
HERE = Path(__file__).resolve().parent
DRAWN = "document.querySelectorAll('mjx-container').length"
DECK = "({slides: Reveal.getTotalSlides(), notes: document.querySelectorAll('aside.notes').length})"


def no_network() -> None:
    """Nothing outside answers: the test would prove nothing if it did."""
    try:
        socket.create_connection(("192.0.2.1", 80), timeout=3)
    except OSError:
        return
    raise AssertionError("there is a network")


def wheel() -> Path:
    """The kit's wheel installs from no index, beside packages installed the day before."""
    place = FOLDER / "environment"
    venv.create(place, with_pip=False)
    scheme = {"base": str(place), "platbase": str(place)}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    (site / "packages.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = place / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "-q", "--no-index"]
    [file] = KIT.glob("costlab-*.whl")
    subprocess.run([*pip, "--no-deps", "--disable-pip-version-check", str(file)], check=True)
    found = [str(python), "-c", "import costlab; print(costlab.__file__)"]
    where = subprocess.run(found, check=True, capture_output=True, text=True, cwd=FOLDER).stdout
    assert str(place) in where, where
    return python


RUN = """
import sys, nbformat
from nbclient import NotebookClient
nb = nbformat.read(sys.argv[1], as_version=4)
NotebookClient(nb, timeout=900, kernel_name="python3").execute()
assert any("claim holds" in str(cell.get("outputs")) for cell in nb.cells), "no claim"
import costlab
print(costlab.__file__)
"""


def notebook(python: Path) -> None:
    """A student's notebook, the quickest, runs from top to bottom with the package of the kit."""
    environment = os.environ | {"OMP_NUM_THREADS": "1", "TQDM_DISABLE": "1"}
    command = [str(python), "-c", RUN, str(KIT / "student" / "22_failure_lab.ipynb")]
    done = subprocess.run(
        command, env=environment, cwd=FOLDER, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert str(python.parent.parent) in done.stdout, done.stdout


def pages() -> None:
    """The book and a deck open in a browser, draw their mathematics, ask for nothing else."""
    spec = importlib.util.spec_from_file_location("test_browser", HERE / "test_browser.py")
    browsing = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(browsing)
    browser = browsing.Browser(browsing.find_browser(), FOLDER / "profile")
    for part, name in (
        ("book", "book/notebooks/12_shearing.html"),
        ("slides", "slides/12_shearing.html"),
    ):
        visit = browser.visit((KIT / name).as_uri(), "light", 1280, "")
        asked = [url for url in visit["asked"] if not url.startswith(("file:", "data:", "about:"))]
        assert not asked, asked
        assert not visit["complaints"], visit["complaints"]
        assert browser.run(f"new Promise(r => setTimeout(() => r({DRAWN}), 3000))") > 5
        if part == "slides":
            shown = browser.run(DECK)
            assert shown["slides"] > 20, shown
            assert shown["notes"] > 20, shown
        print(f"{part}: ok")
    browser.close()


def leaderboard(python: Path) -> None:
    """The game's script starts, and says what it needs."""
    entries = FOLDER / "entries"
    entries.mkdir()
    command = [str(python), str(KIT / "leaderboard.py"), str(entries)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=FOLDER, check=False)
    assert "There is no entry" in done.stderr, done.stderr


if __name__ == "__main__":
    no_network()
    print("no network: ok")
    python = wheel()
    print("wheel: ok")
    notebook(python)
    print("notebook: ok")
    pages()
    leaderboard(python)
    print("leaderboard: ok")
