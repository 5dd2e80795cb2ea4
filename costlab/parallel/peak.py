"""The most bytes of tensors that live at once during a call. Taught in notebook 09."""

from __future__ import annotations

import weakref
from collections.abc import Callable

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


def peak_bytes(fn: Callable[[], object]) -> int:
    """Bytes that `fn()` takes at its peak, beyond what was there: every tensor torch makes in it.

    Exact and the same in every run, unlike the memory of a process; kernels' own workspaces, which
    torch does not see as tensors, are not in it. The backward pass counts, on a CPU.
    """
    with _Live() as live:
        fn()
    return live.most


class _Live(TorchDispatchMode):
    """Sees every new storage, and hears when it is freed."""

    def __init__(self) -> None:
        super().__init__()
        self.now = self.most = 0
        self.known: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        given = {t.untyped_storage()._cdata for t in _tensors((args, kwargs))}
        result = func(*args, **(kwargs or {}))
        for tensor in _tensors(result):
            storage = tensor.untyped_storage()
            if storage._cdata not in self.known | given:
                self._add(storage)
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        self.known.add(storage._cdata)
        self.now += storage.nbytes()
        self.most = max(self.most, self.now)
        weakref.finalize(storage, self._gone, storage._cdata, storage.nbytes())

    def _gone(self, key: int, size: int) -> None:
        self.known.discard(key)
        self.now -= size


def _tensors(tree: object) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(tree) if isinstance(leaf, Tensor)]
