"""Gradient parallel: every rank updates its slice of the weights (ZeRO, arXiv:1910.02054).

Taught in: notebooks/09_gradient_parallel.ipynb.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn, optim
from torch.utils._pytree import tree_leaves

from costlab.parallel.data import clip_, start_alike
from costlab.parallel.partition import Unit, units_of
from costlab.parallel.processes import require_group

PARTITIONS = ("flat", "greedy")
# They update each weight by itself: a slice of the weights is updated as the whole would be.
ELEMENTWISE = (
    optim.SGD, optim.Adam, optim.AdamW, optim.NAdam, optim.RAdam, optim.Adamax, optim.Adagrad,
    optim.Adadelta, optim.RMSprop,
)  # fmt: skip


def shard_gradients(
    model: nn.Module, optimizer: optim.Optimizer, *, stage: int = 2, partition: str = "flat"
) -> ShardedModel:
    """A module that trains `model` with everything cut into one slice for each process (ZeRO).

        sharded = shard_gradients(model, torch.optim.AdamW(model.parameters()), stage=2)
        loss = criterion(sharded(inputs), targets)    # this process's part of the batch
        loss.backward()
        sharded.step()
        sharded.zero_grad()

    optimizer: one of torch's that update each weight by itself, over all parameters of `model` that
    are trained, before its first step. Its class and options are used for a new one over this
    process's slice, `sharded.optimizer`, with the same groups; the given one no longer steps.
    stage: 1 cuts the optimizer's states, 2 the gradients too, which are averaged while the backward
    pass runs, 3 the parameters too, which are gathered block by block when they are used.
    partition: 'flat' lays a block's tensors end to end and cuts them into equal slices, the last
    ones padded; 'greedy' gives whole tensors to ranks, largest first, as ZeroRedundancyOptimizer.

    `model` trains in place, from the weights of rank 0; at stage 3 it is whole only inside
    `sharded.gathered()`. A parameter that gets no gradient is updated as if it were zero. Where the
    weights have 16 bits, the optimizer updates a copy of the slice in 32. Frozen parameters stay
    whole. Per step and rank, for Ψ parameters on N ranks, stages 1 and 2 send 2 Ψ(N-1)/N
    elements, stage 3 sends 3 Ψ(N-1)/N; more than one backward pass adds Ψ(N-1)/N each at stage 2.

    Raises TypeError or ValueError with one sentence before any work starts.
    Taught in: notebooks/09_gradient_parallel.ipynb.
    """
    _check(model, optimizer, stage, partition)
    start_alike(model)
    groups = [group["params"] for group in optimizer.param_groups]
    units = units_of(model, groups, partition=partition)
    new = [{**group, "params": []} for group in optimizer.param_groups]
    for unit, (_, group) in units.items():
        if stage == 3:
            unit.keep_shard_alone()
        new[group]["params"].append(unit.weight)
    optimizer.register_step_pre_hook(_refuse)
    return ShardedModel(model, units, type(optimizer)(new), stage)


class ShardedModel(nn.Module):
    """A model, its units, and the optimizer of this rank's slice: from `shard_gradients`.

    Attributes:
        module: the model that was given.
        optimizer: torch's, over this rank's slice; learning rates are set in its `param_groups`.
        units: what is reduced and gathered at a time.
    """

    def __init__(
        self, module: nn.Module, units: dict[Unit, tuple[nn.Module, int]],
        optimizer: optim.Optimizer, stage: int,
    ) -> None:  # fmt: skip
        super().__init__()
        self.module, self.units, self.optimizer, self.stage = module, list(units), optimizer, stage
        self._missing: dict[Unit, set] = {}  # what a backward pass still owes, last unit first
        self._reduced = False
        if stage >= 2:
            for unit in units:
                for p in unit.parameters.values():
                    p.register_post_accumulate_grad_hook(lambda p, u=unit: self._arrived(u, p))
        if stage == 3:
            for block in dict.fromkeys(block for block, _ in units.values()):
                _gather_around(block, [u for u, (b, _) in units.items() if b is block])
            for unit in units:
                unit.free()

    def forward(self, *args: object, **kwargs: object) -> object:
        """Whatever the model returns."""
        self._missing = {}  # a backward pass that raised leaves nothing behind
        for unit in self.units:
            unit.busy = False
        return self.module(*args, **kwargs)

    def step(self) -> None:
        """Update this rank's slice by the averaged gradients, then bring the weights together."""
        self._reduce_whole()
        for unit in self.units:
            if unit.gradient is not None:
                unit.weight.grad = unit.gradient[: unit.real].to(unit.weight.dtype)
        self.optimizer.step()
        with torch.no_grad():
            for unit in self.units:
                unit.weight.grad = None
                unit.publish()
                unit.free() if self.stage == 3 else unit.gather()

    def zero_grad(self, set_to_none: bool = True) -> None:
        """Forget the gradients, the model's and those of the slice."""
        super().zero_grad(set_to_none=True)
        self._reduced = False
        for unit in self.units:
            unit.gradient = None

    @torch.no_grad()
    def clip_grad_norm_(self, most: float) -> Tensor:
        """Scale the gradients so that their norm over all ranks is `most` at most; gives the norm.

        torch's own `clip_grad_norm_` would see this rank's part alone.
        """
        self._reduce_whole()
        held = [unit.gradient for unit in self.units if unit.gradient is not None]
        device = self.units[0].shard.device
        total = sum((g.float().square().sum() for g in held), torch.zeros((), device=device))
        return clip_(held, total, most)

    @contextmanager
    def gathered(self) -> Iterator[nn.Module]:
        """Inside, the model holds all its weights, on every rank; changes to them are lost."""
        for unit in self.units:
            unit.gather()
        try:
            yield self.module
        finally:
            for unit in self.units:
                if self.stage == 3:
                    unit.free()

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the whole model's, on every rank; all ranks call it."""
        with self.gathered() as module:
            return {name: tensor.clone() for name, tensor in module.state_dict().items()}

    def load_state_dict(self, *_: object, **__: object) -> None:
        """Refused: the slices would not follow."""
        raise RuntimeError("load weights into the model before shard_gradients, not afterwards")

    def _apply(self, *_: object, **__: object) -> None:
        raise RuntimeError("move or convert the model before shard_gradients, not afterwards")

    def held(self) -> dict[str, int]:
        """Bytes of the tensors that this rank holds now: parameters, gradients, states.

        The copy of 16-bit weights in 32 counts as a state; the count of steps that the optimizer
        keeps, four bytes a unit, does not.
        """
        states = [t for s in self.optimizer.state.values() for t in s.values()]
        gradients = [p.grad for p in self.module.parameters()] + [u.gradient for u in self.units]
        return {
            "parameters": held_bytes(
                [*self.module.parameters(), *(t for u in self.units for t in (u.flat, u.shard))]
            ),
            "gradients": held_bytes(gradients),
            "states": held_bytes([*(t for t in states if t.ndim), *(u.master for u in self.units)]),
        }

    def _reduce_whole(self) -> None:
        """At stage 1 the gradients stay whole until they are used."""
        if self.stage == 1 and not self._reduced:
            self._reduced = True
            for unit in reversed(self.units):
                unit.reduce()

    def _arrived(self, unit: Unit, parameter: nn.Parameter) -> None:
        """Reduce what is complete as soon as it is, in one order on all ranks."""
        if not self._missing:
            self._missing = {u: set(u.parameters.values()) for u in reversed(self.units)}
            torch.autograd.Variable._execution_engine.queue_callback(self._finish)
        self._missing.get(unit, set()).discard(parameter)
        while self._missing and not self._missing[first := next(iter(self._missing))]:
            self._reduce(first)

    def _finish(self) -> None:
        """At the end of a backward pass reduce what still waits, for want of a gradient."""
        while self._missing:
            self._reduce(next(iter(self._missing)))

    def _reduce(self, unit: Unit) -> None:
        del self._missing[unit]
        unit.reduce()
        unit.busy = False
        if self.stage == 3:
            unit.free()


def held_bytes(tensors: Iterable[Tensor | None]) -> int:
    """Bytes of the storages behind these tensors, each counted once; None counts nothing."""
    storages = [t.untyped_storage() for t in tensors if t is not None]
    return sum({s._cdata: s.nbytes() for s in storages}.values())


def _gather_around(block: nn.Module, units: list[Unit]) -> None:
    """Have a block's weights there in its forward and in its backward pass, and only then."""

    def before(*_: object) -> None:
        for unit in units:
            if not unit.whole:
                unit.gather()

    def backward(_: Tensor) -> None:
        before()
        for unit in units:
            unit.busy = True

    def after(_: nn.Module, __: tuple, output: object) -> None:
        for unit in units:
            if not unit.busy:  # in its backward pass a checkpointed block runs forward again
                unit.free()
        for tensor in tree_leaves(output):
            if isinstance(tensor, Tensor) and tensor.requires_grad:
                tensor.register_hook(backward)  # called first when the backward pass gets here

    block.register_forward_pre_hook(before)
    block.register_forward_hook(after)


def _refuse(*_: object) -> None:
    raise RuntimeError(
        "this optimizer was handed to shard_gradients, which made another over this rank's slice: "
        "call step() of what it returned"
    )


def _check(model: nn.Module, optimizer: optim.Optimizer, stage: int, partition: str) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if stage not in (1, 2, 3) or isinstance(stage, bool | float):
        raise ValueError(f"stage must be 1, 2 or 3, got {stage!r}")
    if partition not in PARTITIONS:
        raise ValueError(f"partition must be one of {', '.join(PARTITIONS)}, got {partition!r}")
    if type(optimizer) not in ELEMENTWISE:
        names = ", ".join(kind.__name__ for kind in ELEMENTWISE)
        raise TypeError(
            f"optimizer must update each weight by itself, as torch's {names} do, so that a slice "
            f"of the weights is enough, got {type(optimizer).__name__}"
        )
    if optimizer.state:
        raise ValueError("optimizer must be new, without states, and this one has stepped before")
    given = {p for group in optimizer.param_groups for p in group["params"]}
    trained = {p for p in model.parameters() if p.requires_grad}
    if given != trained or not trained:
        raise ValueError(
            f"optimizer must hold the parameters of model that require gradients, all "
            f"{len(trained)} and no other, got {len(given & trained)} of them and "
            f"{len(given - trained)} others"
        )
    require_group("shard_gradients")
    ranks, most = dist.get_world_size(), sum(p.numel() for p in trained)
    if ranks > most:
        raise ValueError(
            f"world size must be at most the number of parameters, {most}, got {ranks}"
        )
