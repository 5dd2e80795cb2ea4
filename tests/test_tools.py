"""What `make` runs, and the files that it goes by."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib import metadata
from pathlib import Path

import nbformat
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import costlab
from costlab.bill import Bill, Machine
from costlab.bill.records import Workload

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
LINES = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
PINS = {
    canonicalize_name(name): version
    for name, _, version in (line.partition("==") for line in LINES if line[0] not in "#-")
}


def tool(name: str):
    """One of tools/*.py, as a module."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def declared() -> list[Requirement]:
    """Every dependency that pyproject.toml declares, extras included."""
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    found = [Requirement(text) for group in groups for text in group]
    return [requirement for requirement in found if requirement.name != "costlab"]


def test_requirements_are_exact():
    assert LINES[0] == "--extra-index-url https://download.pytorch.org/whl/cpu"
    assert [line for line in LINES[1:] if not re.fullmatch(r"#.*|[\w.-]+==[\w.]+", line)] == []
    assert PINS["jupyter-book"] == "1.0.4.post1"


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_declared_dependencies_are_ranges_that_the_pins_meet(requirement):
    assert {clause.operator for clause in requirement.specifier} <= {">=", "<"}
    assert requirement.specifier.contains(PINS[canonicalize_name(requirement.name)])


def test_the_package_itself_needs_little():
    assert {Requirement(text).name for text in PROJECT["dependencies"]} == {
        "torch",
        "numpy",
        "safetensors",
        "tqdm",
    }


def needed(name: str) -> set[str]:
    """What an installed package needs here, extras apart."""
    found = [Requirement(text) for text in metadata.requires(name) or []]
    here = [r for r in found if r.marker is None or r.marker.evaluate({"extra": ""})]
    return {canonicalize_name(r.name) for r in here}


def test_requirements_are_complete():
    for name, version in PINS.items():
        try:
            installed = metadata.version(name).partition("+")[0]
        except metadata.PackageNotFoundError:
            installed = None
        if installed != version:
            pytest.skip(f"not the pinned environment: {name} is {installed}, the pin {version}")
    unpinned = {name: needed(name) - PINS.keys() for name in PINS}
    assert {name: lacks for name, lacks in unpinned.items() if lacks} == {}


def test_versions_agree():
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert re.search(r"^version: (\S+)", citation, re.M)[1] == PROJECT["version"]
    assert costlab.__version__ == PROJECT["version"]


@pytest.fixture
def notebook_with_a_receipt():
    machine = Machine("a <processor>", "cpu", 2, 2, "float32", 1e11, 1e10, None, 0.1, "", True)
    bill = Bill(Workload(), machine, name="tiny", parameters=1234, tokens_per_second=476.0)
    outputs = [
        nbformat.v4.new_output("display_data", data={"text/plain": text})
        for text in ("something else", str(bill), "THE COST LAB once more")
    ]
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("bill", outputs=outputs)])


def test_the_picture_is_the_first_receipt(notebook_with_a_receipt):
    picture = tool("picture")
    lines = picture.receipt(notebook_with_a_receipt)
    drawn = ElementTree.fromstring(picture.svg(lines))
    texts = [node.text for node in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts[:2] == ["THE COST LAB".center(picture.WIDTH).rstrip(), lines[1]]
    assert any(re.fullmatch(r"tokens per second \.+ 476", text) for text in texts)
    assert not any("[measured]" in text for text in texts)
    assert " ".join(texts).endswith("a <processor>, 2 threads, $0.1 per hour (assumed)")
    assert max(map(len, texts)) <= picture.WIDTH


def test_the_picture_shows_the_figures_of_the_notebook():
    picture = tool("picture")
    lines = picture.receipt(nbformat.read(picture.NOTEBOOK, as_version=4))
    assert picture.PICTURE.read_text(encoding="utf-8") == picture.svg(lines), "run make notebooks"


@pytest.fixture
def book(tmp_path, monkeypatch):
    """tools/book.py over a book of two pages that lies in an empty folder."""
    module = tool("book")
    toc = "root: book/intro\nparts:\n  - chapters:\n      - file: notebooks/01.ipynb\n"
    (tmp_path / "_toc.yml").write_text(toc)
    monkeypatch.setattr(module, "ROOT", tmp_path)
    monkeypatch.setattr(module, "BUILD", tmp_path / "_build")
    return module


def test_every_page_of_the_contents_must_exist(book, tmp_path):
    assert book.pages() == ["book/intro", "notebooks/01"]
    for name in ["index", "book/intro"]:
        page = tmp_path / "_build" / "html" / f"{name}.html"
        page.parent.mkdir(parents=True, exist_ok=True)
        page.write_text("<html>")
    assert [Path(path).as_posix() for path in book.missing()] == ["_build/html/notebooks/01.html"]


def test_a_changed_source_changes_the_fingerprint(book, tmp_path):
    before = book.fingerprint()
    assert book.fingerprint() == before
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks" / "01.ipynb").write_text("{}")
    assert book.fingerprint() != before


ADDRESSES = [
    "https://github.com/a/b/issues",
    "https://colab.research.google.com/github/a/b/blob/main/x.ipynb",
    "https://a.github.io/b/",
    "git+https://github.com/a/b.git@main",
]


@pytest.mark.parametrize("text", ADDRESSES)
def test_a_fork_rewrites_every_form_of_the_address(text):
    rewrite = tool("repo").rewrite
    moved = rewrite(text, "https://github.com/a/b", "https://github.com/me/fork")
    assert "a/b" not in moved
    assert "a.github.io" not in moved
    assert rewrite(moved, "https://github.com/me/fork", "https://github.com/a/b") == text


def test_other_addresses_stay():
    text = "https://github.com/a/b-tools https://github.com/aa/b"
    assert tool("repo").rewrite(text, "https://github.com/a/b", "https://github.com/c/d") == text


@pytest.mark.parametrize(
    "address", ["", "github.com/a/b", "https://github.com/a", "https://x.org/a/b"]
)
def test_a_bad_address_is_refused_in_one_sentence(address):
    with pytest.raises(SystemExit, match="is not an address such as"):
        tool("repo").owner_and_name(address)


def report(tests: int, failures: int = 0, skipped: int = 0) -> str:
    """A report such as pytest writes."""
    counts = f'tests="{tests}" failures="{failures}" errors="0" skipped="{skipped}" time="1.5"'
    return f'<testsuites><testsuite name="pytest" {counts}/></testsuites>'


@pytest.fixture
def stage(tmp_path, monkeypatch):
    """tools/stage.py with its reports in an empty folder."""
    module = tool("stage")
    monkeypatch.setattr(module, "REPORTS", tmp_path)
    return module


def test_stages_are_summed_as_pytest_would(stage, tmp_path, capsys):
    (tmp_path / "unit.xml").write_text(report(10, skipped=1))
    (tmp_path / "browser.xml").write_text(report(5))
    assert stage.total() == 0
    assert " 14 passed, 1 skipped in 3.00s " in capsys.readouterr().out
    (tmp_path / "browser.xml").write_text(report(5, failures=2))
    assert stage.total() == 1
    assert " 2 failed, 12 passed, 1 skipped " in capsys.readouterr().out


def test_a_stage_without_tests_is_no_success(stage, tmp_path):
    with pytest.raises(SystemExit, match="No test ran in: any stage"):
        stage.total()
    (tmp_path / "unit.xml").write_text(report(10))
    (tmp_path / "browser.xml").write_text(report(0))
    with pytest.raises(SystemExit, match="No test ran in: browser"):
        stage.total()


@pytest.mark.parametrize("code", [0, 3])
def test_a_stage_passes_its_exit_status_on(stage, code, capfd):
    command = [sys.executable, "-c", f"print('why'); raise SystemExit({code})"]
    assert stage.run("lint", command, show=False) == code
    out = capfd.readouterr().out
    assert ("why" in out) == bool(code)
    assert ("ok" in out) == (code == 0)


def test_ci_runs_the_two_targets():
    text = (ROOT / ".ci" / "run").read_text(encoding="utf-8")
    assert re.findall(r"^make (\w+)", text, re.M) == ["test", "soak"]


def test_make_names_every_promised_target():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z-]+):", makefile, re.M))
    assert targets >= {"book", "test", "lab", "serve", "notebooks", "experiments", "soak", "clean"}


def test_installing_needs_the_pinned_python():
    """An older Python is refused before anything is created."""
    code = "import sys; sys.version_info = (3, 9, 0); sys.path.insert(0, 'tools')\nimport install\n"
    code += "install.check_python()"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert "need Python 3.11" in done.stderr


@pytest.mark.parametrize(("ci", "seen"), [("true", "1 error"), ("false", "1 skipped")])
def test_a_missing_oracle_fails_on_ci_and_skips_elsewhere(tmp_path, ci, seen):
    shutil.copy(ROOT / "tests" / "conftest.py", tmp_path)
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_peer.py").write_text("import pytest\npytest.importorskip('no_such_peer')\n")
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)]
    done = subprocess.run(run, capture_output=True, text=True, env=os.environ | {"CI": ci})
    assert seen in done.stdout
