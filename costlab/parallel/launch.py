"""Run one function in several processes that form a process group, and bring back what it returns.

Processes start afresh ("spawn"), so that they work from a notebook and beside a GPU, and they never
run the caller's script again: the function they run must stand in a module. Taught in notebook 07.
"""

from __future__ import annotations

import contextlib
import faulthandler
import io
import multiprocessing
import os
import platform
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

GRACE = 1.0  # seconds that the other ranks have, after one failed, to say what they saw
LOOPBACK = {"Linux": "lo", "Darwin": "lo0"}


class ParallelError(RuntimeError):
    """A rank failed, ended, or did not return in time; `rank` says which was first."""

    def __init__(self, text: str, rank: int) -> None:
        super().__init__(text)
        self.rank = rank


class ByValue(ForkingPickler):
    """Pickles tensors with their contents.

    torch's own way between processes shares their memory: ranks that train "their" model would
    then train one and the same.
    """

    _extra_reducers: dict = {}  # noqa: RUF012 (the name that ForkingPickler reads)


def launch(
    fn: Callable, *args: object, world_size: int = 2, timeout: float = 120,
    backend: str | None = None,
) -> list:  # fmt: skip
    """Call `fn(*args)` in `world_size` processes; returns their results in the order of ranks.

    Inside, `torch.distributed` is ready: backend "nccl" where there is a GPU for every process,
    else "gloo" on the CPU with one thread per process; `device()` says where to put a model.
    Arguments and results are copied. timeout: seconds for everything, starting included.

    Under `torchrun` (RANK and WORLD_SIZE are set) no process is started: `fn` runs in this one, as
    one of those that torchrun started, and `world_size` is theirs.

    Raises ParallelError with the traceback of the rank that failed first, or with the places where
    ranks were when the time was up; no process is left behind. ValueError for a function that
    processes cannot import. Taught in: notebooks/07_data_parallel.ipynb.
    """
    if dist.is_initialized():
        raise ValueError(
            "launch starts processes, and this one is in a process group already: call it from a "
            "notebook or script, not from a function that it runs"
        )
    _check_timeout(timeout)
    if {"RANK", "WORLD_SIZE"} <= set(os.environ):
        return _run_as_one_of_many(fn, args, timeout, backend)
    _check_function(fn)
    backend = _check_world(world_size, backend)
    deadline = time.time() + timeout
    path = tuple(os.path.abspath(entry) for entry in sys.path)
    message = ByValue.dumps((fn, args))
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        workers, patience = [], 0.0
        try:
            for rank in range(world_size):
                plan = Plan(rank, world_size, backend, deadline, timeout, folder, path)
                workers.append(Worker(plan, message))
            results = _collect(workers, deadline)
            patience = GRACE
            return results
        finally:
            for worker in workers:
                worker.end(patience)


def device() -> torch.device:
    """Where this rank computes: its own GPU under NCCL, else the CPU."""
    if dist.is_initialized() and dist.get_backend() == "nccl":
        return torch.device("cuda", torch.cuda.current_device())
    return torch.device("cpu")


def _check_timeout(timeout: float) -> None:
    number = isinstance(timeout, int | float) and not isinstance(timeout, bool)
    if not number or not 0 < timeout < float("inf"):
        raise ValueError(f"timeout must be a positive number of seconds, got {timeout!r}")


def _check_function(fn: Callable) -> None:
    """Refuse what another process could not import."""
    name, module = getattr(fn, "__qualname__", None), getattr(fn, "__module__", None)
    if not callable(fn) or name is None:
        raise TypeError(f"fn must be a function, got {type(fn).__name__}")
    if module == "__main__" or "<" in name:
        where = "in a notebook or script" if module == "__main__" else "inside another function"
        raise ValueError(
            f"fn must be a function that other processes can import, and {name!r} is defined "
            f"{where}: write it to a file beside this one (in a notebook, begin the cell with "
            "%%writefile work.py), then import it from there"
        )


def _check_world(world_size: int, backend: str | None) -> str:
    """The backend for `world_size` processes on this machine."""
    most = max(8, 4 * (os.cpu_count() or 1))
    whole = isinstance(world_size, int) and not isinstance(world_size, bool)
    if not whole or not 1 <= world_size <= most:
        raise ValueError(
            f"world_size must be a whole number from 1 to {most} on this machine with "
            f"{os.cpu_count()} cores, got {world_size!r}"
        )
    if backend not in (None, "gloo", "nccl"):
        raise ValueError(f"backend must be 'gloo', 'nccl' or None, got {backend!r}")
    gpus = torch.cuda.device_count() if dist.is_nccl_available() else 0
    if backend == "nccl" and gpus < world_size:
        raise ValueError(
            f"backend must be 'gloo' or None here: 'nccl' needs a GPU for each of {world_size} "
            f"processes, and this torch can use {gpus}"
        )
    return backend or ("nccl" if gpus >= world_size else "gloo")


@dataclass(frozen=True)
class Plan:
    """What a process must know before it can hear its function."""

    rank: int
    world_size: int
    backend: str
    deadline: float  # on time.time()'s clock
    timeout: float
    folder: str  # where the ranks find each other, and leave word of where they hang
    path: tuple[str, ...]  # the caller's sys.path, absolute: a module beside the notebook is found

    @property
    def stack(self) -> Path:
        """The file in which this rank says where it was when the time was up."""
        return Path(self.folder) / f"stack.{self.rank}"


class Worker:
    """The parent's end of one process."""

    def __init__(self, plan: Plan, message: memoryview) -> None:
        self.plan, self.rank = plan, plan.rank
        context = multiprocessing.get_context("spawn")
        self.pipe, theirs = context.Pipe()
        self.process = context.Process(target=_work, args=(plan, theirs), name=f"rank{plan.rank}")
        # A spawned process would run the caller's script up to here; ours has no need of it.
        with mock.patch.multiple(
            sys.modules["__main__"], __file__=None, __spec__=None, create=True
        ):
            self.process.start()
        theirs.close()
        with contextlib.suppress(OSError):  # it ended at once: `hear` will say so
            self.pipe.send_bytes(message)

    def hear(self) -> tuple[bool, object, float] | None:
        """(whether it returned, result or traceback, when); None as long as it is silent."""
        try:
            if self.pipe.poll():
                return ForkingPickler.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self.process.join()
        if self.process.is_alive():
            return None
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return False, f"the process {how}, without a word\n", 0.0

    def end(self, patience: float) -> None:
        """Give the process so many seconds to end by itself, then stop it."""
        self.pipe.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        self.process.close()


def _collect(workers: list[Worker], deadline: float) -> list:
    """Results in the order of ranks; raises for the first rank that fails, or for silence."""
    results, failures = {}, {}
    while waiting := [w for w in workers if w.rank not in results | failures]:
        heard = {w.rank: found for w in waiting if (found := w.hear())}
        results |= {rank: value for rank, (fine, value, _) in heard.items() if fine}
        if not failures and any(not fine for fine, _, _ in heard.values()):
            deadline = min(deadline, time.time() + GRACE)
        failures |= {rank: (when, why) for rank, (fine, why, when) in heard.items() if not fine}
        if time.time() >= deadline:
            break
        if not heard:
            ends = [end for w in waiting for end in (w.pipe, w.process.sentinel)]
            wait(ends, max(0.0, deadline - time.time()))
    if failures:
        rank = min(failures, key=lambda rank: failures[rank][0])
        raise ParallelError(f"rank {rank} of {len(workers)} failed:\n{failures[rank][1]}", rank)
    if waiting:
        raise _hanging(waiting, len(workers))
    return [results[rank] for rank in range(len(workers))]


def _hanging(silent: list[Worker], world_size: int) -> ParallelError:
    """The error for ranks that did not return in time, with the place where each was."""
    lines = []
    for worker in silent:
        path = worker.plan.stack
        stack = path.read_text(errors="replace") if path.exists() else ""
        where = (
            stack.split("most recent call first):\n")[-1].split(f'  File "{__file__}"')[0].rstrip()
        )
        where = where or "  still starting"
        lines.append(f"rank {worker.rank}, most recent call first:\n{where}")
    ranks = ", ".join(str(worker.rank) for worker in silent)
    return ParallelError(
        f"rank {ranks} of {world_size} had not returned after {silent[0].plan.timeout:g} s\n"
        + "\n".join(lines),
        silent[0].rank,
    )


def _work(plan: Plan, pipe: Connection) -> None:
    """What a started process does: hear the function, join the group, call, report."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    with open(plan.stack, "w") as stack:
        left = max(0.1, plan.deadline - time.time() - GRACE / 2)
        faulthandler.dump_traceback_later(left, file=stack)
        sys.path[:] = plan.path
        try:
            fn, args = ForkingPickler.loads(pipe.recv_bytes())
            place = {"RANK": plan.rank, "WORLD_SIZE": plan.world_size, "LOCAL_RANK": plan.rank}
            os.environ |= {name: str(value) for name, value in place.items()}
            store = dist.FileStore(str(Path(plan.folder) / "store"), plan.world_size)
            _form_group(plan.backend, plan.timeout, store=store, rank=plan.rank,
                        world_size=plan.world_size)  # fmt: skip
            report = _pack_result(fn(*args))
        except BaseException as error:  # a rank that calls sys.exit() has failed, too
            report = ByValue.dumps((False, _traceback_of(error), time.time()))
        faulthandler.cancel_dump_traceback_later()
    pipe.send_bytes(report)
    if dist.is_initialized():
        with contextlib.suppress(Exception):  # the report is out; others may be gone
            dist.destroy_process_group()


def _pack_result(value: object) -> memoryview:
    try:
        return ByValue.dumps((True, value, time.time()))
    except Exception as error:
        raise TypeError(
            f"fn must return what can be copied to another process (tensors, numbers, lists, "
            f"dicts), got {type(value).__name__}: {error}"
        ) from None


def _traceback_of(error: BaseException) -> str:
    """The traceback without our own frame."""
    out = io.StringIO()
    inner = error.__traceback__.tb_next if error.__traceback__ else None
    traceback.print_exception(type(error), error, inner, file=out)
    return out.getvalue()


def _end_with_parent() -> None:
    """End this process when its parent has ended, however that came about."""
    multiprocessing.parent_process().join()
    os._exit(1)


def _form_group(backend: str, timeout: float, **how: object) -> None:
    torch.set_num_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    elif "store" in how and platform.system() in LOOPBACK:
        # One machine talks to itself: names and firewalls of its network must not matter.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK[platform.system()])
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout), **how)


def _run_as_one_of_many(fn: Callable, args: tuple, timeout: float, backend: str | None) -> list:
    """Join the group of the processes that torchrun started, call, and gather the results."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    try:
        _form_group(_check_world(local, backend), timeout)
    except dist.DistNetworkError as error:
        port = os.environ.get("MASTER_PORT")
        raise ValueError(
            f"MASTER_PORT must be a free port, got {port}: {str(error).splitlines()[0]}"
        ) from error
    try:
        results = [None] * dist.get_world_size()
        dist.all_gather_object(results, fn(*args))
        return results
    finally:
        dist.destroy_process_group()
