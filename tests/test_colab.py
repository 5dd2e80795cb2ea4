"""The notebooks in Colab: our ranges against a dated record of its packages; what its T4 lacks.

The record is `tests/colab_packages.txt`. Colab changes every few weeks: the weekly workflow runs
the notebooks with what it publishes then, and this test says at once when a range leaves the
record behind.
"""

import ast
import datetime
import re
import sys
from importlib.metadata import requires
from pathlib import Path

import nbformat
import pytest
import torch
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import colab
from costlab import catalog
from costlab.compress import kernels

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
RECORD = (ROOT / "tests" / "colab_packages.txt").read_text(encoding="utf-8")
HELD = dict(re.findall(r"^([\w-]+)==(\S+)$", RECORD, re.M))
EXTRAS = PROJECT["optional-dependencies"]
# What a notebook may need; the extras for editors, tests and the book are for other machines.
NEEDED = [
    Requirement(text) for text in [*PROJECT["dependencies"], *EXTRAS["figures"], *EXTRAS["peers"]]
]
LATER = {"article", "costlab"}  # a file that chapter 15 writes; what the first cell installs
# Whoever holds transformers holds what it cannot be installed without, such as tokenizers.
BROUGHT = {
    Requirement(text).name for text in requires("transformers") if Requirement(text).marker is None
}


def outside(requirements, held):
    """The requirements that what is held does not meet."""
    return [str(r) for r in requirements if not r.specifier.contains(held.get(r.name, "0"))]


def imported(nb):
    """The names of the libraries that a notebook's cells import."""
    for cell in nb.cells:
        if cell.cell_type != "code" or "raises-exception" in cell.metadata.get("tags", []):
            continue
        code = re.sub(r"^%%writefile .*", "", cell.source)
        for node in ast.walk(ast.parse(code)):
            if isinstance(node, ast.Import):
                yield from (alias.name.split(".")[0] for alias in node.names)
            elif isinstance(node, ast.ImportFrom) and node.module:
                yield node.module.split(".")[0]


def test_the_record_is_dated():
    date = re.search(r"^# Date: (\S+)$", RECORD, re.M)[1]
    assert datetime.date(2025, 1, 1) < datetime.date.fromisoformat(date)


def test_colab_meets_our_ranges():
    assert outside(NEEDED, HELD) == []
    assert SpecifierSet(PROJECT["requires-python"]).contains(HELD["python"])


def test_the_record_is_taken_from_what_colab_publishes():
    freeze = "".join(f"{name}==1.{i}+cu128\n" for i, name in enumerate(colab.NEEDED))
    found = colab.held("absl-py==1.4\n" + freeze)
    assert found == {name: f"1.{i}" for i, name in enumerate(colab.NEEDED)}
    assert colab.python_version("Ubuntu 22.04.5 LTS\nPython 3.13.15\nR version 4.6\n") == "3.13.15"
    assert set(colab.NEEDED) | {"python"} == HELD.keys()
    with pytest.raises(SystemExit, match="Colab's list lacks torch"):
        colab.held(freeze.replace("torch==", "touch=="))


def test_a_range_beyond_the_record_is_found():
    beyond = [Requirement("torch>=99"), Requirement("unheard-of>=1"), Requirement("numpy<2")]
    assert outside(beyond, HELD) == ["torch>=99", "unheard-of>=1", "numpy<2"]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda path: path.stem
)
def test_a_notebook_imports_only_what_colab_holds(path):
    names = {name.lower() for name in imported(nbformat.read(path, as_version=4))}
    assert names - set(sys.stdlib_module_names) - LATER - BROUGHT - HELD.keys() == set()


def test_what_a_t4_lacks_is_in_the_catalog():
    t4 = catalog.accelerator("t4")
    assert t4.bf16_tflops is None
    assert t4.int8_tops > t4.fp16_tflops


@pytest.mark.parametrize(("name", "inputs"), [("int8", torch.int8), ("bf16", torch.bfloat16)])
def test_a_t4_takes_its_own_way_to_a_product(monkeypatch, name, inputs):
    """Compute capability 7.5: integers on tensor cores, in padded shapes; bf16 only as floats."""
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    expected = {"int8": "int8 padded", "bf16": "float"}[name]
    assert kernels.kernel_for(torch.device("cuda"), inputs) == expected


def test_an_older_gpu_multiplies_integers_as_floats(monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert kernels.kernel_for(torch.device("cuda")) == "float"


@pytest.mark.parametrize("rows", [1, 17, 40])
def test_padded_as_for_a_t4_the_product_is_exact(monkeypatch, rows):
    """The padding that CUDA's product needs, run on the CPU, where the same call exists."""
    monkeypatch.setattr(kernels, "kernel_for", lambda *_: "int8 padded")
    x = torch.randint(-128, 128, (rows, 64), dtype=torch.int8)
    codes = torch.randint(-128, 128, (24, 64), dtype=torch.int8)
    assert torch.equal(kernels.integer_matmul(x, codes).long(), x.long() @ codes.long().t())
