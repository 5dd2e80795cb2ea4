"""The rules of the house, looked up in the sources; each rule is also shown to catch its breach."""

import ast
import json
import re
import statistics
import subprocess
import sys
import zipfile
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "costlab"
SOURCES = sorted(PACKAGE.rglob("*.py"))

# A part imports parts of a lower rank alone: catalog <- estimate <- advisor, and
# lm, workload <- bill <- modules <- techniques <- serve <- report, which may import the former.
RANK = {
    "catalog": 0,
    "estimate": 1,
    "figures": 3,
    "hardware": 2,
    "results": 3,
    "levers": 2,
    "advisor": 3.5,  # estimates and recorded results
    "lm": 4,
    "workload": 4,
    "bill": 5,
}
RANK |= {
    "modules": 6,
    "calibration": 6.5,
    "sparsity": 6.5,
    "compress": 7,
    "parallel": 7,
    "optimize": 7.5,
    "serve": 8,
    "report": 9,
}
RANK |= {"exercises": 10, "notebook": 10, "cli": 11}
# The one import against the direction: the trainer's command leads to the loop for many processes,
# which is built on the trainer. It stands inside the command's function.
EXCEPTION = ("costlab/lm/trainer.py", "costlab.parallel.train.train")
NO_TORCH = ["catalog", "estimate", "advisor", "workload"]


def part(path: Path) -> str:
    """The part of the package a file belongs to: `bill` for costlab/bill/measure.py."""
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(code: str) -> set[str]:
    """Full dotted names of what a source imports, at any depth."""
    names = set()
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names |= {f"{'.' * node.level}{node.module or ''}.{a.name}" for a in node.names}
    return names


def direction_faults(where: str, code: str) -> list[str]:
    """The imports of a file in part `where` that go against the direction, or hide it."""
    faults = [name for name in imported(code) if name.startswith(".")]
    for name in imported(code):
        target = re.match(r"costlab\.(\w+)", name)
        if target and target[1] != where and RANK.get(target[1], 99) >= RANK[where]:
            faults.append(name)
    return sorted(faults)


def pickle_faults(code: str) -> list[str]:
    """What in a source could run a stranger's code on reading a file."""
    modules = {"pickle", "cPickle", "dill", "cloudpickle", "joblib", "shelve", "marshal"}
    faults = [name for name in imported(code) if name.split(".")[0] in modules]
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Attribute) and ast.unparse(node) in {
            "torch.load",
            "torch.jit.load",
        }:
            faults.append(ast.unparse(node))
        if isinstance(node, ast.keyword) and node.arg in {"weights_only", "allow_pickle"}:
            faults.append(f"{node.arg}={ast.unparse(node.value)}")
    return faults


def public(tree: ast.Module) -> list[ast.AST]:
    """The public functions and classes of a module, and the public methods of those classes."""
    kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
    top = [node for node in tree.body if isinstance(node, kinds) and node.name[0] != "_"]
    inner = [sub for node in top if isinstance(node, ast.ClassDef) for sub in node.body]
    return top + [node for node in inner if isinstance(node, kinds) and node.name[0] != "_"]


def documentation_faults(code: str) -> list[str]:
    """Public names without a docstring, and public functions with an untyped argument or result."""
    faults = []
    for node in public(ast.parse(code)):
        if not ast.get_docstring(node):
            faults.append(f"{node.name}: no docstring")
        if isinstance(node, ast.ClassDef):
            continue
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        given += [extra for extra in (node.args.vararg, node.args.kwarg) if extra]
        untyped = [a.arg for a in given if a.annotation is None and a.arg not in ("self", "cls")]
        if untyped or node.returns is None:
            faults.append(f"{node.name}: untyped {', '.join(untyped) or 'result'}")
    return faults


def label(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(
    "path", [p for p in SOURCES if p.parent != PACKAGE or part(p) in RANK], ids=label
)
def test_imports_run_one_way(path):
    assert part(path) in RANK, f"{label(path)} belongs to no part that the design names"
    faults = direction_faults(part(path), path.read_text(encoding="utf-8"))
    assert [name for name in faults if (label(path), name) != EXCEPTION] == []


def test_the_exception_is_there_once_and_only_on_demand():
    path, name = EXCEPTION
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    inside = [f.name for f in tree.body if name in imported(ast.unparse(f))]
    assert inside == ["main"]


def test_breaches_of_the_direction_are_seen():
    assert direction_faults("bill", "from costlab.catalog import find\nimport costlab.lm") == []
    assert direction_faults("catalog", "def f():\n    from costlab.bill import measure")
    assert direction_faults("compress", "import costlab.optimize")
    assert direction_faults("bill", "from costlab import measure")
    assert direction_faults("bill", "from . import money")


@pytest.mark.parametrize("path", [*SOURCES, *sorted(ROOT.glob("experiments/*.py"))], ids=label)
def test_nothing_unpickles(path):
    assert pickle_faults(path.read_text(encoding="utf-8")) == []


def test_unpickling_is_seen():
    assert pickle_faults("import pickle")
    assert pickle_faults("from joblib import load")
    assert pickle_faults("import torch\ntorch.load('weights.pt')")
    assert pickle_faults("read(path, weights_only=False)")


@pytest.mark.parametrize("path", [p for p in SOURCES if "solutions" not in p.parts], ids=label)
def test_public_names_are_typed_and_documented(path):
    assert documentation_faults(path.read_text(encoding="utf-8")) == []


def test_missing_types_and_docstrings_are_seen():
    assert documentation_faults('def good(x: int) -> int:\n    "Doc."') == []
    assert documentation_faults('def bad(x) -> int:\n    "Doc."')
    assert documentation_faults('def bad(x: int):\n    "Doc."')
    assert documentation_faults("def bad(x: int) -> int: ...")
    assert documentation_faults('class C:\n    "Doc."\n    def bad(self): "Doc."')


def code_lines(code: str) -> int:
    """Lines of a source that hold code: not blank, not a comment, not a docstring."""
    written = set()
    for node in ast.walk(ast.parse(code)):
        text = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        if isinstance(node, ast.stmt) and not text:
            inner = getattr(node, "body", None)
            last = inner[0].lineno - 1 if inner else node.end_lineno
            written |= set(range(node.lineno, max(node.lineno, last) + 1))
    held = code.splitlines()
    return sum(1 for n in written if held[n - 1].strip() and held[n - 1].strip()[0] != "#")


def test_code_lines_are_those_with_code():
    assert code_lines('"""Doc."""\n\n# why\nx = 1\n') == 1
    assert code_lines('def f(a,\n      b):\n    """Doc.\n\n    More."""\n    return a\n') == 3
    assert code_lines("if x:\n    y = [\n        1,\n    ]\n") == 4


def test_files_and_functions_stay_short():
    lines = {label(path): len(path.read_text(encoding="utf-8").splitlines()) for path in SOURCES}
    assert {name: count for name, count in lines.items() if count > 300} == {}
    counted = Counter()
    for path in SOURCES:
        counted[part(path)] += code_lines(path.read_text(encoding="utf-8"))
    exercises = counted.pop("exercises")  # a few for every chapter
    assert exercises < 4000
    assert {name: n for name, n in counted.items() if n > 2500} == {}
    assert counted.total() < 12000
    trees = [ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES]
    functions = [n for tree in trees for n in ast.walk(tree) if isinstance(n, ast.FunctionDef)]
    assert statistics.median(n.end_lineno - n.lineno + 1 for n in functions) <= 12


def python(code: str) -> str:
    """What a fresh interpreter prints."""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT / "tests"
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


HELP = """
import contextlib, io, sys
sys.argv = ["costlab", "--help"]
from costlab.cli import main
with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.suppress(SystemExit):
    main()
assert "usage" in out.getvalue()
"""


@pytest.mark.parametrize("code", ["import costlab", HELP], ids=["import", "help"])
def test_starting_is_light(code):
    heavy = python(
        code + "\nimport sys; print({'torch', 'numpy', 'matplotlib'} & set(sys.modules))"
    )
    assert heavy == "set()"
    # Processor time, and the least of several: other work on the machine does not count.
    clock = "\nimport time; print(time.process_time())"
    bare, ours = (min(float(python(c + clock)) for _ in range(5)) for c in ["", code])
    assert ours - bare < 0.5


@pytest.mark.parametrize("name", [n for n in NO_TORCH if (PACKAGE / n).is_dir()])
def test_facts_estimates_and_workload_do_without_torch(name):
    code = f"""
import importlib, pkgutil, sys
import costlab.{name} as package
for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
print("torch" in sys.modules)
"""
    assert python(code) == "False"


@pytest.fixture(scope="session")
def wheel(tmp_path_factory) -> set[str]:
    """The names of the files in the built wheel."""
    pytest.importorskip("hatchling")
    folder = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return set(archive.namelist())


def test_wheel_holds_the_package_and_its_data_and_nothing_else(wheel):
    ours = {p.relative_to(ROOT).as_posix() for p in PACKAGE.rglob("*") if p.is_file()}
    ours = {name for name in ours if "__pycache__" not in name and not name.endswith(".tmp")}
    assert {name for name in wheel if ".dist-info/" not in name} == ours
    for suffix in [".safetensors", ".csv", ".csv.gz", ".css"]:
        assert any(name.endswith(suffix) for name in wheel), f"no {suffix} in the wheel"
    assert any(name.endswith("/LICENSE") for name in wheel)


def test_notebooks_follow_the_setting_of_the_address():
    address = subprocess.run(
        [sys.executable, "tools/repo.py"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.strip()
    assert address.startswith("https://github.com/")
    for path in ROOT.glob("notebooks/*.ipynb"):
        first = next(
            c
            for c in json.loads(path.read_text(encoding="utf-8"))["cells"]
            if c["cell_type"] == "code"
        )
        assert address in "".join(first["source"]), f"{label(path)} installs from elsewhere"
    for name in ["README.md", "pyproject.toml", "CITATION.cff"]:
        assert address in (ROOT / name).read_text(encoding="utf-8"), (
            f"{name} names another repository"
        )
