"""Count what collectives move, from outside: no technique has to report on itself.

Taught in notebook 07.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
import torch.distributed as dist
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

# How often the best algorithms send a payload of all ranks together, in units of (N - 1) / N:
# an all-reduce is a reduce-scatter and then an all-gather (Patarasuk and Yuan, 2009).
ROUNDS = {
    "all_reduce": 2, "reduce_scatter": 1, "all_gather": 1, "broadcast": 1, "reduce": 1,
    "gather": 1, "scatter": 1, "all_to_all": 1,
}  # fmt: skip
KINDS = {name.replace("_", ""): name for name in (*ROUNDS, "send")} | {"isend": "send"}


@dataclass(frozen=True)
class Call:
    """One collective: its kind, the bytes of the whole payload, the ranks that took part.

    payload: what an all-reduce or broadcast hands every rank, what a reduce-scatter takes from
    each, what an all-gather gives to each; for a send, what is sent.
    """

    kind: str
    payload: int
    ranks: int

    @property
    def sent(self) -> float:
        """Bytes that a rank sends under the best algorithm (a send: exactly its own)."""
        if self.kind == "send":
            return float(self.payload)
        return ROUNDS[self.kind] * self.payload * (self.ranks - 1) / self.ranks


@dataclass
class Traffic:
    """The collectives of one rank, in order."""

    calls: list[Call] = field(default_factory=list)

    @property
    def sent(self) -> float:
        """Bytes this rank sends, all calls together."""
        return sum(call.sent for call in self.calls)

    @property
    def payload(self) -> dict[str, int]:
        """Bytes of payload by kind of collective."""
        return {k: sum(c.payload for c in self.calls if c.kind == k) for k in self.count}

    @property
    def count(self) -> dict[str, int]:
        """Number of calls by kind, in the order of first use."""
        kinds = [call.kind for call in self.calls]
        return {kind: kinds.count(kind) for kind in kinds}


@contextmanager
def count_collectives() -> Iterator[Traffic]:
    """Count every collective and send of this rank in a `with` block: ours, DDP's, FSDP's.

    Receives and barriers move no payload of their own and are left out.
    Taught in: notebooks/07_data_parallel.ipynb.
    """
    traffic = Traffic()
    with _Mode(traffic):
        yield traffic


class _Mode(TorchDispatchMode):
    """Sees each call on its way to the backend."""

    def __init__(self, traffic: Traffic) -> None:
        super().__init__()
        self.traffic = traffic

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        result = func(*args, **(kwargs or {}))
        if func.namespace in ("c10d", "_c10d_functional"):
            kind = _kind(func._schema.name.split("::")[1])
            if kind:
                # The outputs of c10d's calls are among their arguments.
                returned = result if func.namespace != "c10d" else ()
                parts = [*args, *(kwargs or {}).values(), returned]
                self.traffic.calls.append(_call(kind, parts))
        return result


def _kind(name: str) -> str | None:
    """The kind of collective behind an operator such as `_allgather_base_`."""
    plain = name.replace("_", "")
    found = [key for key in KINDS if plain.startswith(key)]
    return KINDS[max(found, key=len)] if found else None


def _call(kind: str, parts: list) -> Call:
    sizes, ranks = [size for part in parts if (size := _bytes(part))], _ranks(parts)
    if kind in ("gather", "scatter"):  # one rank alone holds the whole
        return Call(kind, min(sizes, default=0) * ranks, ranks)
    return Call(kind, max(sizes, default=0), ranks)


def _bytes(part: object) -> int:
    """Bytes of all tensors in one argument, however nested."""
    tensors = [leaf for leaf in tree_leaves(part) if isinstance(leaf, Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def _ranks(args: list) -> int:
    """The size of the process group among the arguments: an object of c10d's, or a group's name."""
    for value in args:
        if isinstance(value, torch.ScriptObject) and "ProcessGroup" in str(value._type()):
            return dist.ProcessGroup.unbox(value).size()
        if isinstance(value, dist.ProcessGroup):
            return value.size()
    names = [value for value in args if isinstance(value, str)]  # the group's comes last
    group = dist.distributed_c10d._resolve_process_group(names[-1]) if names else dist.group.WORLD
    return group.size()
