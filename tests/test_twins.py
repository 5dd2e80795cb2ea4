"""Every claim of every notebook has a twin: the same sentence about something broken, which raises.

A twin returns the value that the claim would be given if the technique did nothing or were wrong.
Operator, bound and noise are read from the notebook itself. Each chapter's twins stand in a file
of `tests/twins/`: `TWINS` maps a claim's sentence to a function, `COMPUTED` to what its bound is
worth when the notebook is right, where a cell computes the bound.
"""

import ast
import runpy
from pathlib import Path

import nbformat
import pytest

from costlab.bill.claims import ClaimError, claim

HERE = Path(__file__).parent
NOTEBOOKS = sorted((HERE.parent / "notebooks").glob("*.ipynb"))
TWINS, COMPUTED = {}, {}
for file in sorted((HERE / "twins").glob("*.py")):
    found = runpy.run_path(str(file))
    TWINS |= found["TWINS"]
    COMPUTED |= found.get("COMPUTED", {})


def claims(path: Path) -> dict[str, dict]:
    """Text -> operator, bound, kind and noise of each claim(…) call in a notebook's code cells."""
    found = {}
    for cell in nbformat.read(path, 4).cells:
        if cell.cell_type != "code" or "claim(" not in cell.source:
            continue
        for node in ast.walk(ast.parse(cell.source)):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "claim":
                text, _, op, bound = node.args[:4]
                options = {k.arg: ast.literal_eval(k.value) for k in node.keywords}
                literal = {"op": ast.literal_eval(op), "bound": bound} | options
                found[ast.literal_eval(text)] = literal
    return found


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_claim_has_a_twin(path):
    missing = set(claims(path)) - set(TWINS)
    assert not missing, f"claims without a twin in tests/twins: {sorted(missing)}"


def test_every_twin_has_a_claim():
    known = set().union(*(claims(path) for path in NOTEBOOKS))
    assert not set(TWINS) - known


@pytest.mark.parametrize("text", sorted(TWINS))
def test_the_twin_raises(text):
    found = next(c[text] for c in map(claims, NOTEBOOKS) if text in c)
    bound = found.pop("bound")
    bound = COMPUTED[text] if text in COMPUTED else ast.literal_eval(bound)
    with pytest.raises(ClaimError, match="claim does not hold"):
        claim(text, float(TWINS[text]()), found.pop("op"), bound, **found)
