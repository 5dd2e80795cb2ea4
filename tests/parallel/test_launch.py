"""Launch: results in order, one error for whatever goes wrong, and nobody left behind."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from launch_workers import introduce, misbehave, rank_and_world

from costlab.parallel import ParallelError, launch

HERE = Path(__file__).parent
SCRIPT = """
import sys
sys.path.insert(0, {here!r})
from costlab.parallel import launch
from launch_workers import misbehave, rank_and_world
"""


def alive(pid: int) -> bool:
    """Whether a process of this number still runs."""
    try:
        os.kill(pid, 0)
    except OSError:
        return False
    return (
        Path(f"/proc/{pid}/stat").exists() is False
        or "Z" not in (Path(f"/proc/{pid}/stat").read_text().split()[2])
    )


def children() -> set[str]:
    """The processes that this one has started and that are still there (on Linux)."""
    tasks = Path("/proc/self/task").glob("*/children")
    return {pid for task in tasks for pid in task.read_text().split()}


def gone(folder: Path) -> bool:
    """Whether every process that left its number in `folder` has ended, waiting a little."""
    pids = [int(path.read_text()) for path in folder.glob("*.pid")]
    for _ in range(50):
        if not any(alive(pid) for pid in pids):
            return len(pids) > 0
        time.sleep(0.1)
    return False


def test_results_come_in_the_order_of_ranks_and_arguments_are_copied():
    model = torch.nn.Linear(2, 2)
    before, family = model.weight.detach().clone(), children()
    first, second = launch(introduce, model, world_size=2, backend="gloo")
    assert (first["rank"], second["rank"]) == (0, 1)
    assert first["pid"] != second["pid"] != os.getpid()
    assert not alive(first["pid"])
    assert not alive(second["pid"])
    assert children() <= family
    for found in (first, second):
        assert found["sum"].tolist() == [3, 3, 3]
        assert found["threads"] == 1
        assert found["device"] == "cpu"
        assert "in a process group already" in found["nested"]
        assert torch.equal(found["weight"], before + 10 * (found["rank"] + 1))
    assert torch.equal(model.weight, before)


@pytest.mark.parametrize(
    ("how", "timeout", "words"),
    [
        ("raises", 120, ["rank 1 of 2 failed", "launch_workers.py", "KeyError", "lost on the way"]),
        ("is killed", 120, ["rank 1 of 2 failed", "killed by signal 9"]),
        ("returns a function", 120, ["rank 1 of 2 failed", "fn must return what can be copied"]),
        ("hangs", 20, ["rank 0, 1 of 2 had not returned after 20 s", "in misbehave"]),
    ],
)
def test_what_goes_wrong_is_one_error_and_leaves_nobody(tmp_path, how, timeout, words):
    start = time.perf_counter()
    with pytest.raises(ParallelError) as raised:
        launch(misbehave, str(tmp_path), how, timeout=timeout, backend="gloo")
    assert time.perf_counter() - start < timeout + 30, "processes that hang are ended soon"
    for word in words:
        assert word in str(raised.value)
    assert raised.value.rank == (0 if how == "hangs" else 1)
    ours = "processes.py" in str(raised.value)  # frames of ours say nothing to the reader
    assert ours == (how == "returns a function")
    assert gone(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no signals")
def test_ranks_end_with_a_parent_that_is_killed_and_scripts_need_no_guard(tmp_path):
    script = tmp_path / "script.py"
    call = f"launch(misbehave, {str(tmp_path)!r}, 'hangs', backend='gloo')"
    script.write_text(SCRIPT.format(here=str(HERE)) + call)
    parent = subprocess.Popen([sys.executable, str(script)])
    for _ in range(600):
        if len(list(tmp_path.glob("*.pid"))) == 2:
            break
        time.sleep(0.1)
    time.sleep(0.2)
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert gone(tmp_path)


def test_the_same_call_runs_under_torchrun(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(
        SCRIPT.format(here=str(HERE))
        + "import os, pathlib\n"
        + "found = launch(rank_and_world, world_size=7, backend='gloo')\n"
        + f"path = pathlib.Path({str(tmp_path)!r}, os.environ['RANK'] + '.txt')\n"
        + "path.write_text(str(found))\n"
    )
    run = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    subprocess.run([*run, str(script)], check=True, capture_output=True, timeout=120)
    for rank in range(2):
        assert (tmp_path / f"{rank}.txt").read_text() == "[(0, 2), (1, 2)]"


def test_a_port_in_use_is_one_sentence(monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        place = {"RANK": 0, "WORLD_SIZE": 2, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        for name, value in place.items():
            monkeypatch.setenv(name, str(value))
        with pytest.raises(ValueError, match=f"MASTER_PORT must be a free port, got {port}"):
            launch(rank_and_world, timeout=5, backend="gloo")


def test_a_function_that_processes_cannot_import_is_refused(monkeypatch):
    def inner():
        return 1

    with pytest.raises(ValueError, match=r"'.*inner' is defined inside another function"):
        launch(inner)
    with pytest.raises(ValueError, match="defined inside another function"):
        launch(lambda: 1)
    monkeypatch.setattr(introduce, "__module__", "__main__")
    with pytest.raises(ValueError, match="'introduce' is defined in a notebook or script: write"):
        launch(introduce)
    with pytest.raises(TypeError, match="fn must be a function, got int"):
        launch(3)


@pytest.mark.parametrize(
    ("knobs", "words"),
    [
        ({"world_size": 0}, "world_size must be a whole number from 1 to"),
        ({"world_size": 1000}, "world_size must be a whole number from 1 to"),
        ({"world_size": 2.0}, "world_size must be a whole number"),
        ({"world_size": True}, "world_size must be a whole number"),
        ({"timeout": 0}, "timeout must be a positive number of seconds"),
        ({"timeout": float("inf")}, "timeout must be a positive number of seconds"),
        ({"backend": "mpi"}, "backend must be 'gloo', 'nccl' or None"),
        ({"backend": "nccl", "world_size": 8}, "backend must be 'gloo' or None here"),
    ],
)
def test_bad_knobs_are_refused_before_any_process_starts(knobs, words, monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(ValueError, match=words):
        launch(rank_and_world, **knobs)
