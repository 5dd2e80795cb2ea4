"""Run one function in several processes that form a process group, and bring back what it returns.

Processes start afresh ("spawn"), so that they work from a notebook and beside a GPU, and they never
run the caller's script again: the function they run must stand in a module. Taught in notebook 07.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import wait

import torch
import torch.distributed as dist

from costlab.parallel.processes import GRACE, ByValue, Plan, Worker, form_group, no_helper_left


class ParallelError(RuntimeError):
    """A rank failed, ended, or did not return in time; `rank` says which was first."""

    def __init__(self, text: str, rank: int) -> None:
        super().__init__(text)
        self.rank = rank


def launch(
    fn: Callable, *args: object, world_size: int = 2, timeout: float = 300,
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
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, no_helper_left():
        workers, patience = [], 0.0
        try:
            for rank in range(world_size):
                plan = Plan(rank, world_size, backend, deadline, timeout, folder, path)
                workers.append(Worker(plan))
            for worker in workers:
                worker.tell(message)
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
    lines = [f"rank {w.rank}, most recent call first:\n{w.place()}" for w in silent]
    ranks = ", ".join(str(worker.rank) for worker in silent)
    return ParallelError(
        f"rank {ranks} of {world_size} had not returned after {silent[0].plan.timeout:g} s\n"
        + "\n".join(lines),
        silent[0].rank,
    )


def _run_as_one_of_many(fn: Callable, args: tuple, timeout: float, backend: str | None) -> list:
    """Join the group of the processes that torchrun started, call, and gather the results."""
    local = int(os.environ.get("LOCAL_WORLD_SIZE", os.environ["WORLD_SIZE"]))
    try:
        form_group(_check_world(local, backend), timeout)
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
