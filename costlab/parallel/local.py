"""Low-communication training: many steps alone, then one meeting. Taught in notebook 07."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import nn

from costlab.parallel.data import start_alike
from costlab.parallel.processes import require_group


class LocalSGD:
    """Lets every rank train its own copy for `every` steps, then makes the copies one again.

        meeting = LocalSGD(model, every=16)
        for inputs, targets in shares:
            criterion(model(inputs), targets).backward()
            optimizer.step()                           # this rank alone, no traffic
            optimizer.zero_grad()
            meeting.step()                             # every 16th call sends the weights once

    The way all ranks have gone since the last meeting, averaged, is taken as a gradient by an outer
    SGD with Nesterov momentum: DiLoCo (arXiv:2311.08105), whose settings are the defaults. With
    outer_lr=1 and outer_momentum=0 the weights are simply averaged: local SGD (arXiv:1805.09767).
    The optimizer of the inner steps keeps its state, on every rank its own. Each meeting sends
    2 Ψ(N-1)/N bytes per rank, so that a step sends that divided by `every`.

    Raises TypeError or ValueError with one sentence. Taught in: notebooks/07_data_parallel.ipynb.
    """

    def __init__(
        self, model: nn.Module, *, every: int, outer_lr: float = 0.7, outer_momentum: float = 0.9
    ) -> None:
        _check(model, every, outer_lr, outer_momentum)
        start_alike(model)
        self.every, self.steps = every, 0
        self.local = [p for p in model.parameters() if p.requires_grad]
        self.common = [p.detach().clone() for p in self.local]  # where the last meeting ended
        self.outer = torch.optim.SGD(
            self.common, lr=outer_lr, momentum=outer_momentum, nesterov=outer_momentum > 0
        )

    def step(self) -> bool:
        """Count one inner step; returns whether it was followed by a meeting."""
        self.steps += 1
        if self.steps % self.every:
            return False
        self.meet()
        return True

    def meet(self) -> None:
        """Average the way gone since the last meeting, step along it, and start from there."""
        for common, local in zip(self.common, self.local):
            common.grad = (common - local.detach()) / dist.get_world_size()
            dist.all_reduce(common.grad)
        self.outer.step()
        self.outer.zero_grad()
        for common, local in zip(self.common, self.local):
            local.detach().copy_(common)


def _check(model: nn.Module, every: int, outer_lr: float, outer_momentum: float) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if isinstance(every, bool) or not isinstance(every, int) or every < 1:
        raise ValueError(f"every must be a whole number of steps, at least 1, got {every!r}")
    if not 0 < outer_lr < float("inf"):
        raise ValueError(f"outer_lr must be a positive number, got {outer_lr!r}")
    if not 0 <= outer_momentum < 1:
        raise ValueError(f"outer_momentum must be at least 0 and below 1, got {outer_momentum!r}")
    require_group("LocalSGD")
