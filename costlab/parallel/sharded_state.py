"""Sharded checkpoints of any cut, from which any other goes on. Taught in notebook 08.

Every process writes the parts of weights and optimizer states that it holds, under the names and
shapes of the whole model, with `torch.distributed.checkpoint`. So a run may go on with another
number of processes, or cut in another way. Whole or not at all: see `costlab.parallel.checkpoints`.
"""

from __future__ import annotations

import json
from pathlib import Path

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn

from costlab.lm.checkpoint import refuse_another_run
from costlab.parallel import checkpoints
from costlab.parallel.gradient import ShardedModel
from costlab.parallel.split import Split


def save(
    net: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, *, step: int, run: dict
) -> None:
    """Write `folder/step_…`, whole or not at all, and remove all but the last two.

    All processes call it. net: of `tensor_parallel`, `pipeline`, `data_parallel`, `fully_shard`, or
    `shard_gradients`, whose slices have names of their own. run: shape and recipe of the run.
    """
    if isinstance(net, ShardedModel):
        checkpoints.save_checkpoint(net, folder, step=step, run=run)
    else:
        checkpoints.write(_state(net, optimizer), folder, {"step": step, "run": run})


def load(net: nn.Module, optimizer: torch.optim.Optimizer, folder: Path, run: dict) -> int:
    """Restore the newest whole checkpoint in place; returns its step, 0 where there is none.

    Raises ValueError where it is of another run, or holds other tensors: those of another model, or
    of --parallel gradient.
    """
    path = checkpoints.newest(folder)
    if path is None:
        return 0
    manifest = json.loads((path / checkpoints.MANIFEST).read_text(encoding="utf-8"))
    refuse_another_run(path, manifest.get("run", run), run, manifest["step"])
    if isinstance(net, ShardedModel):
        return checkpoints.load_checkpoint(net, folder)
    for p in _named(net).values():
        averages = {key: torch.zeros_like(p) for key in ("exp_avg", "exp_avg_sq")}
        optimizer.state[p] |= {"step": torch.zeros((), device=p.device)} | averages
    state, reader = _state(net, optimizer), dcp.FileSystemReader(path)
    saved = reader.read_metadata().state_dict_metadata
    for name, tensor in state.items():
        if name not in saved or saved[name].size != tensor.shape:
            there = tuple(saved[name].size) if name in saved else "not"
            raise ValueError(f"checkpoint {path} is of another model: {name} is {there} there, and "
                             f"{tuple(tensor.shape)} here; use another --out")  # fmt: skip
    dcp.load(state, storage_reader=reader)
    return manifest["step"]


def _state(net: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, Tensor]:
    """Weights and optimizer states; what is cut, as part of the whole (a DTensor)."""
    whole = net.as_whole if isinstance(net, Split) else lambda _, tensor: tensor
    state = {}
    for name, p in _named(net).items():
        held = {"weight": p.detach()} | optimizer.state.get(p, {})
        state |= {f"{name}|{key}": whole(name, tensor) for key, tensor in held.items()}
    return state


def _named(net: nn.Module) -> dict[str, nn.Parameter]:
    """Name in the whole model -> this process's part of the parameter."""
    inner = net.module if hasattr(net, "module") else net
    return dict(inner.named_parameters())
