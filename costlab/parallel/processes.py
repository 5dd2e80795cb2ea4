"""A process of a group: how it starts, hears its function, and reports. Taught in notebook 07."""

from __future__ import annotations

import contextlib
import faulthandler
import io
import multiprocessing
import os
import platform
import signal
import sys
import threading
import time
import traceback
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from unittest import mock

import torch
import torch.distributed as dist

GRACE = 1.0  # seconds that the other ranks have, after one failed, to say what they saw
LOOPBACK = {"Linux": "lo", "Darwin": "lo0"}


class ByValue(ForkingPickler):
    """Pickles tensors with their contents.

    torch's own way between processes shares their memory: ranks that train "their" model would
    then train one and the same.
    """

    _extra_reducers: dict = {}  # noqa: RUF012 (the name that ForkingPickler reads)


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

    def __init__(self, plan: Plan) -> None:
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

    def tell(self, message: memoryview) -> None:
        """Send what to call; returns when the process has read it."""
        with contextlib.suppress(OSError):  # it has ended: `hear` will say so
            self.pipe.send_bytes(message)

    def hear(self) -> tuple[bool, object, float] | None:
        """(whether it returned, result or traceback, when); None as long as it is silent."""
        try:
            if self.pipe.poll():
                return ForkingPickler.loads(self.pipe.recv_bytes())
        except (EOFError, OSError):
            self.process.join(GRACE)
        if self.process.is_alive():
            return None
        code = self.process.exitcode
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        return False, f"the process {how}, without a word\n", 0.0

    def place(self) -> str:
        """Where the process was when its time was up, as lines of a traceback."""
        path = self.plan.stack
        stack = path.read_text(errors="replace") if path.exists() else ""
        inner = stack.split("most recent call first):\n")[-1].split(f'  File "{__file__}"')[0]
        return inner.rstrip() or "  still starting"

    def end(self, patience: float) -> None:
        """Give the process so many seconds to end by itself, then stop it."""
        self.pipe.close()
        self.process.join(patience)
        self.process.kill()
        self.process.join()
        self.process.close()


@contextlib.contextmanager
def no_helper_left() -> Iterator[None]:
    """End the process that Python starts to watch over spawned ones, unless it was there before."""
    tracker = None if os.name == "nt" else import_module("multiprocessing.resource_tracker")
    begun = tracker and tracker._resource_tracker._fd is not None
    try:
        yield
    finally:
        if tracker and not begun:
            tracker._resource_tracker._stop()


def _work(plan: Plan, pipe: Connection) -> None:
    """What a started process does: hear the function, join the group, call, report."""
    threading.Thread(target=_end_with_parent, daemon=True).start()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # who interrupts the parent hears from it alone
    with open(plan.stack, "w") as stack:
        left = max(0.1, plan.deadline - time.time() - GRACE / 2)
        faulthandler.dump_traceback_later(left, file=stack)
        sys.path[:] = plan.path
        try:
            fn, args = ForkingPickler.loads(pipe.recv_bytes())
            place = {"RANK": plan.rank, "WORLD_SIZE": plan.world_size, "LOCAL_RANK": plan.rank}
            os.environ |= {name: str(value) for name, value in place.items()}
            store = dist.FileStore(str(Path(plan.folder) / "store"), plan.world_size)
            form_group(plan.backend, plan.timeout, store=store, rank=plan.rank,
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


def require_group(name: str) -> None:
    """Raise ValueError where `name`, a function, is called outside of a process group."""
    if not (dist.is_available() and dist.is_initialized()):
        raise ValueError(
            f"{name} needs a process group: call it in a function that costlab.parallel.launch runs"
        )


def form_group(backend: str, timeout: float, **how: object) -> None:
    """Join the process group, with one thread; how: what init_process_group needs besides."""
    torch.set_num_threads(1)
    if backend == "nccl":
        torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", 0)))
    elif "store" in how and platform.system() in LOOPBACK:
        # One machine talks to itself: names and firewalls of its network must not matter.
        os.environ.setdefault("GLOO_SOCKET_IFNAME", LOOPBACK[platform.system()])
    dist.init_process_group(backend, timeout=timedelta(seconds=timeout), **how)
