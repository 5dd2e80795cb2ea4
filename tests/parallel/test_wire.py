"""Bytes on the wire against theory: the counters of an interface over which nothing else goes.

Needs Linux, iproute2 and the right to make a network namespace (root, or sudo without a password).
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from wire_workers import NUMBERS

HERE = Path(__file__).parent


def excuse() -> str | None:
    """Why this machine cannot run the test, or None."""
    if sys.platform != "linux":
        return "network namespaces are Linux's"
    for tool in ("unshare", "ip"):
        if not shutil.which(tool):
            return f"the program {tool} is missing (util-linux, iproute2)"
    refused = subprocess.run([*inside(), "true"], capture_output=True, text=True, check=False)
    return (
        f"no network namespace may be made here: {refused.stderr}" if refused.returncode else None
    )


def inside() -> list[str]:
    """The words before a command that run it in a network namespace of its own."""
    return [*([] if os.geteuid() == 0 else ["sudo", "-n"]), "unshare", "--net"]


@pytest.fixture(scope="module")
def wire():
    """Bytes of all ranks, by number of ranks and scheme."""
    reason = excuse()
    if reason and sys.platform == "linux" and os.environ.get("CI") == "true":
        pytest.fail(f"in CI this test must run, and {reason}")
    if reason:
        pytest.skip(reason)
    command = [*inside(), "env", "OMP_NUM_THREADS=1", "PYTHONDONTWRITEBYTECODE=1", sys.executable]
    script = [*command, str(HERE / "wire_workers.py")]
    done = subprocess.run(script, capture_output=True, text=True, check=False, timeout=250)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("ranks", [2, 4])
@pytest.mark.parametrize(
    ("scheme", "rounds"),
    [("all_reduce", 2), ("ring", 2), ("data parallel", 2), ("all_gather", 1)],
)
def test_bytes_on_the_wire_are_within_five_percent_of_theory(wire, scheme, rounds, ranks):
    each = rounds * 4 * NUMBERS * (ranks - 1) / ranks
    assert wire[str(ranks)][scheme] == pytest.approx(ranks * each, rel=0.05)


def test_gloo_s_reduce_scatter_sends_twice_what_theory_says_to_two_ranks(wire):
    """As much as an all-reduce of the same tensor: what is counted as payload is half of it."""
    assert wire["2"]["reduce_scatter"] == pytest.approx(wire["2"]["all_reduce"], rel=0.05)
