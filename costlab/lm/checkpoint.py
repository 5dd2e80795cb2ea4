"""Checkpoints of the trainer: weights, optimizer state and step in one file. Taught in 01."""

from __future__ import annotations

import json
from pathlib import Path

import torch
from torch import nn

from costlab.lm.pretrained import read_whole, write_whole


def save_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, step: int, run: dict
) -> None:
    """Write weights, optimizer state and step as one file, whole or not at all."""
    names = {p: n for n, p in model.named_parameters()}
    tensors = {f"model.{n}": t for n, t in model.state_dict().items()}
    for p, state in optimizer.state.items():
        tensors |= {f"optimizer.{names[p]}|{k}": v for k, v in state.items()}
    write_whole(tensors, path, {"step": str(step), "run": json.dumps(run)})


def load_checkpoint(
    path: Path, model: nn.Module, optimizer: torch.optim.Optimizer, run: dict
) -> int:
    """Restore a checkpoint in place; returns the number of steps done."""
    tensors, metadata = read_whole(path)
    if not {"run", "step"} <= set(metadata):
        raise ValueError(f"{path} is not a checkpoint of this trainer; use another --out")
    before, step = json.loads(metadata["run"]), int(metadata["step"])
    refuse_another_run(path, before, run, step)
    model.load_state_dict({n[6:]: t for n, t in tensors.items() if n.startswith("model.")})
    parameters = dict(model.named_parameters())
    for name, tensor in tensors.items():
        if name.startswith("optimizer."):
            owner, key = name[len("optimizer.") :].split("|")
            parameter = parameters[owner]
            # a copy: what was read is a view of the file, which Windows then would not replace
            device = parameter.device if tensor.ndim else "cpu"
            optimizer.state[parameter][key] = tensor.to(device, copy=True)
    return step


def refuse_another_run(path: Path, before: dict, run: dict, step: int) -> None:
    """Raise ValueError where a checkpoint after `step` steps is of another shape or recipe."""
    # steps and decay may change between runs: before the decay both runs are the same run
    changed = {k: before.get(k) for k in run if before.get(k) != run[k]}
    decayed = any(step - 1 > r["steps"] - r["decay"] for r in (before, run))
    different = {k: v for k, v in changed.items() if k not in ("steps", "decay") or decayed}
    if different:
        raise ValueError(
            f"checkpoint {path} is of another run: there {different}; use another --out"
        )
