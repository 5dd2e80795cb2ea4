"""A conftest.py for nbval: keeps the outputs of the run as notebooks in COSTLAB_RUN_OUTPUTS.

`tools/notebooks.py --check` copies it beside the notebook it runs, so that a later test can compare
the stored outputs with this very run, and nothing is executed twice.
"""

import copy
import os
from pathlib import Path

import nbformat

RUNS = {}


def pytest_runtest_teardown(item):
    """Take a cell's outputs into a copy of its notebook."""
    if getattr(item, "test_outputs", None) is None:
        return
    run = RUNS.setdefault(item.path.name, copy.deepcopy(item.parent.nb))
    code = [cell for cell in run.cells if cell.cell_type == "code"]
    code[item.cell_num].outputs = nbformat.from_dict(item.test_outputs)


def pytest_sessionfinish():
    """Write the copies."""
    folder = Path(os.environ["COSTLAB_RUN_OUTPUTS"])
    folder.mkdir(parents=True, exist_ok=True)
    for name, run in RUNS.items():
        nbformat.write(run, folder / name)
