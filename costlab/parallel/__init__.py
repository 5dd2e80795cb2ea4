"""Train on many processes: launch; data, model and gradient parallel. Taught in notebooks 07 to 09.

Names load when they are first used: a process that is started imports no more than its function.
"""

from __future__ import annotations

from importlib import import_module

from costlab.parallel.launch import ParallelError, device, launch

_HOME = {
    "count_collectives": "costlab.parallel.counting",
    "data_parallel": "costlab.parallel.data",
    "ring_all_reduce_": "costlab.parallel.ring",
    "LocalSGD": "costlab.parallel.local",
    "disagreement": "costlab.parallel.data",
    "share": "costlab.parallel.data",
    "shard_gradients": "costlab.parallel.gradient",
    "save_checkpoint": "costlab.parallel.checkpoints",
    "load_checkpoint": "costlab.parallel.checkpoints",
    "launch_until_done": "costlab.parallel.faults",
    "TopK": "costlab.parallel.compression",
    "tensor_parallel": "costlab.parallel.tensor",
    "pipeline": "costlab.parallel.pipelining",
    "expert_parallel": "costlab.parallel.experts",
}

__all__ = ["ParallelError", "device", "launch", *_HOME]


def __getattr__(name: str):
    """Import a public name on first use (PEP 562)."""
    if name not in _HOME:
        raise AttributeError(f"module 'costlab.parallel' has no attribute {name!r}")
    value = getattr(import_module(_HOME[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
