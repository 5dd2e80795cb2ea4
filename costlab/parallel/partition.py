"""Who holds what: parameters laid end to end in flat units, of which each rank owns a slice.

Taught in: notebooks/09_gradient_parallel.ipynb.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
import torch.distributed as dist
from torch import Tensor, nn

LISTS = (nn.ModuleList, nn.ModuleDict)
# torch 2.13 renamed these two; the older names warn there
_reduce_scatter = getattr(dist, "reduce_scatter_single", None) or dist.reduce_scatter_tensor
_all_gather = getattr(dist, "all_gather_single", None) or dist.all_gather_into_tensor


class Unit:
    """Parameters of one block and one optimizer group, laid end to end in one flat tensor.

    Rank r owns the elements `slots[r]` = (start, stop) of `flat`. With the flat partition all slots
    have one length, the last ones padded; with the greedy one each holds whole tensors.

    Attributes:
        parameters: name -> parameter, in the order of `flat`.
        cut: whether slices cut through tensors (the flat partition).
        flat: all values, of which the parameters are views; its storage may be emptied.
        shard: this rank's values: a view of `flat`, or a copy once `keep_shard_alone` was called.
        weight: what the optimizer updates: the shard without its padding. Where the model is in
            16 bits it is a copy in 32, as in mixed-precision training.
        gradient: this rank's slice of the averaged gradient, None before the first.
    """

    def __init__(
        self, name: str, parameters: dict[str, nn.Parameter], slots: list[tuple[int, int]], *,
        cut: bool,
    ) -> None:  # fmt: skip
        self.name, self.parameters, self.slots, self.cut = name, parameters, slots, cut
        self.rank, self.length = dist.get_rank(), sum(p.numel() for p in parameters.values())
        self.even = len({stop - start for start, stop in slots}) == 1
        first = next(iter(parameters.values()))
        self.flat = torch.zeros(slots[-1][1], dtype=first.dtype, device=first.device)
        offset = 0
        for p in parameters.values():
            place = self.flat[offset : offset + p.numel()].view_as(p)
            place.copy_(p.detach())
            p.data = place
            offset += p.numel()
        self.start, stop = slots[self.rank]
        self.shard = self.flat[self.start : stop]
        self.real = max(0, min(stop, self.length) - self.start)  # without the padding
        low = self.flat.dtype in (torch.bfloat16, torch.float16)
        self.master = self.shard[: self.real].float() if low else None
        self.weight = nn.Parameter(self.master if low else self.shard[: self.real])
        self.gradient: Tensor | None = None
        self.busy = False  # between the start of its backward pass and its reduction

    def keep_shard_alone(self) -> None:
        """Own the slice apart from `flat`, so that `flat` can be freed (stage 3)."""
        self.shard = self.shard.clone()
        if self.master is None:
            self.weight.data = self.shard[: self.real]

    def reduce(self) -> None:
        """Average the parameters' gradients over ranks, add this rank's slice, free the rest."""
        bucket, offset = torch.zeros_like(self.flat), 0
        for p in self.parameters.values():
            if p.grad is not None:
                bucket[offset : offset + p.numel()] = p.grad.flatten()
            p.grad = None
            offset += p.numel()
        own = self._scatter(bucket.div_(len(self.slots)))
        self.gradient = own if self.gradient is None else self.gradient.add_(own)

    def _scatter(self, bucket: Tensor) -> Tensor:
        if self.even:
            own = torch.empty_like(self.shard)
            _reduce_scatter(own, bucket)
            return own
        for rank, (start, stop) in enumerate(self.slots):
            if stop > start:
                dist.reduce(bucket[start:stop], dst=rank)
        return bucket[slice(*self.slots[self.rank])].clone()

    def publish(self) -> None:
        """Put updated values into the shard, where the optimizer works on a copy of it."""
        if self.master is not None:
            self.shard[: self.real] = self.weight.detach()

    def gather(self) -> None:
        """Fill `flat` with every rank's slice; does nothing to storage that is already there."""
        size = self.flat.numel() * self.flat.element_size()
        if self.flat.untyped_storage().size() != size:
            self.flat.untyped_storage().resize_(size)
        if self.even:
            _all_gather(self.flat, self.shard)
            return
        self.flat[slice(*self.slots[self.rank])] = self.shard
        for rank, (start, stop) in enumerate(self.slots):
            if stop > start:
                dist.broadcast(self.flat[start:stop], src=rank)

    def by_name(self, shard: Tensor) -> dict[str, Tensor]:
        """Parameter of this rank's slice -> its part of `shard`; only where nothing is cut."""
        found, offset, (start, stop) = {}, 0, self.slots[self.rank]
        for name, p in self.parameters.items():
            if start <= offset < stop:
                found[name] = shard[offset - start : offset - start + p.numel()]
            offset += p.numel()
        return found

    def free(self) -> None:
        """Give the memory of `flat` back; the slice is elsewhere."""
        self.flat.untyped_storage().resize_(0)

    @property
    def whole(self) -> bool:
        """Whether `flat` holds all values at the moment."""
        return self.flat.untyped_storage().size() > 0


def even_slots(length: int, ranks: int) -> list[tuple[int, int]]:
    """Slices of one length for `ranks`, the last ones padded: exactly 1/N where N divides."""
    size = -(-length // ranks)
    return [(rank * size, (rank + 1) * size) for rank in range(ranks)]


def greedy_owners(groups: Iterable[list[nn.Parameter]], ranks: int) -> dict[nn.Parameter, int]:
    """Parameter -> rank: largest tensor first, each to the rank that holds least so far.

    The rule of torch's ZeroRedundancyOptimizer, which sorts within each group of the optimizer.
    """
    held, owners = [0] * ranks, {}
    for group in groups:
        for p in sorted(group, key=lambda p: p.numel(), reverse=True):
            owners[p] = held.index(min(held))
            held[owners[p]] += p.numel()
    return owners


def blocks(module: nn.Module) -> Iterator[nn.Module]:
    """The outermost members of a model's lists and sequences, in order: what one gathers at a time.

    Not those that are lists themselves: nobody calls these, so that no hook of theirs would run.
    """
    for child in module.children():
        if isinstance(module, (nn.Sequential, *LISTS)) and not isinstance(child, LISTS):
            yield child
        else:
            yield from blocks(child)


def homes(model: nn.Module) -> dict[nn.Parameter, nn.Module]:
    """Parameter that is trained -> the block it is used in; the model itself where no one has it.

    A parameter that several blocks share is at home in the model, which is there throughout.
    """
    found: dict[nn.Parameter, nn.Module] = {}
    for block in blocks(model):
        for p in block.parameters():
            found[p] = model if found.get(p, block) is not block else block
    inside = {id(p) for block in blocks(model) for p in block.parameters()}
    for module in model.modules():
        for p in module.parameters(recurse=False):
            if id(p) not in inside:
                found[p] = model
    return {p: found[p] for p in model.parameters() if p.requires_grad}


def units_of(
    model: nn.Module, groups: list[list[nn.Parameter]], *, partition: str
) -> dict[Unit, tuple[nn.Module, int]]:
    """Every unit of a model -> its block and its optimizer group, in the model's order."""
    ranks, modules = dist.get_world_size(), {m: n for n, m in model.named_modules()}
    names = {p: name for name, p in model.named_parameters()}
    index = {p: number for number, group in enumerate(groups) for p in group}
    owners = greedy_owners(groups, ranks) if partition == "greedy" else None
    members: dict[tuple, list[nn.Parameter]] = {}
    for p, block in homes(model).items():
        members.setdefault((block, index[p], p.dtype), []).append(p)
    found = {}
    for (block, group, dtype), held in members.items():
        name = f"{modules[block] or 'model'}|{group}|{str(dtype).removeprefix('torch.')}"
        slots = even_slots(sum(p.numel() for p in held), ranks)
        if owners:
            held.sort(key=owners.get)
            slots = _whole_slots(held, owners, ranks)
        unit = Unit(name, {names[p]: p for p in held}, slots, cut=owners is None)
        found[unit] = block, group
    return found


def _whole_slots(
    held: list[nn.Parameter], owners: dict[nn.Parameter, int], ranks: int
) -> list[tuple[int, int]]:
    """Slices that hold whole tensors, sorted by their owners; some may be empty."""
    slots, start = [], 0
    for rank in range(ranks):
        stop = start + sum(p.numel() for p in held if owners[p] == rank)
        slots.append((start, stop))
        start = stop
    return slots
