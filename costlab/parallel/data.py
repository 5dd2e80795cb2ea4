"""Data parallel: every process holds the model and a share of the batch; gradients are averaged.

Taught in notebook 07.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.autograd import Variable

from costlab.parallel.processes import require_group

Batch = Tensor | tuple | dict


def data_parallel(model: nn.Module, *, bucket_mb: float = 25) -> DataParallel:
    """A module around `model`: after `backward()` each `p.grad` is the average over all processes.

    Gradients travel in buckets of `bucket_mb` MiB while the backward pass is still running, as in
    torch's own DistributedDataParallel (arXiv:2006.15704), which is what to use at work. Each step
    sends 2 Ψ(N-1)/N bytes per process, for Ψ bytes of gradients on N processes.

    Parameters and buffers start as those of rank 0. Buffers are not averaged afterwards: each
    process keeps its own. A parameter that some processes did not use counts there as a gradient of
    zero; one that no process used keeps the gradient it had, or none.

    Call it in every process of a group, with the same model; raises TypeError or ValueError with
    one sentence otherwise. Taught in: notebooks/07_data_parallel.ipynb.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    number = isinstance(bucket_mb, int | float) and not isinstance(bucket_mb, bool)
    if not number or not 0 < bucket_mb < float("inf"):
        raise ValueError(f"bucket_mb must be a positive number of MiB, got {bucket_mb!r}")
    require_group("data_parallel")
    if not any(p.requires_grad for p in model.parameters()):
        raise ValueError("model must have parameters that are trained, and all are frozen")
    _check_alike(model)
    start_alike(model)
    return DataParallel(model, buckets(model, bucket_mb))


class DataParallel(nn.Module):
    """`module`, and hooks that average its gradients: from `data_parallel`."""

    def __init__(self, module: nn.Module, buckets: list[list[nn.Parameter]]) -> None:
        super().__init__()
        self.module, self.buckets = module, buckets
        self._place = {p: i for i, bucket in enumerate(buckets) for p in bucket}
        self._synchronize = True
        self._missing: list[set] | None = None  # by bucket; None between two backward passes
        self._sent: list[tuple[Tensor, dist.Work]] = []
        for parameter in self._place:
            parameter.register_post_accumulate_grad_hook(self._arrived)

    def forward(self, *args: object, **kwargs: object) -> object:
        """What `module` returns."""
        self._missing = None  # a backward pass that raised leaves nothing behind
        return self.module(*args, **kwargs)

    @contextmanager
    def no_sync(self) -> Iterator[None]:
        """Within it, gradients add up in `p.grad` and nothing is sent: for accumulation."""
        self._synchronize, before = False, self._synchronize
        try:
            yield
        finally:
            self._synchronize = before

    def _arrived(self, parameter: nn.Parameter) -> None:
        """After a gradient is complete: send every bucket that is, in one order on all ranks."""
        if not self._synchronize:
            return
        if self._missing is None:
            self._missing, self._sent = [set(bucket) for bucket in self.buckets], []
            Variable._execution_engine.queue_callback(self._finish)  # runs before backward returns
        self._missing[self._place[parameter]].discard(parameter)
        while len(self._sent) < len(self.buckets) and not self._missing[len(self._sent)]:
            self._send_next()

    def _send_next(self) -> None:
        flat = pack(self.buckets[len(self._sent)])
        self._sent.append((flat, dist.all_reduce(flat, async_op=True)))

    def _finish(self) -> None:
        """Send buckets that unused parameters held up, wait for all, and put the averages back."""
        while len(self._sent) < len(self.buckets):
            self._send_next()
        for bucket, (flat, work) in zip(self.buckets, self._sent):
            work.wait()
            unpack(flat, bucket)
        self._missing, self._sent = None, []

    def state_dict(self, *args: object, **kwargs: object) -> dict:
        """The state of `module`, under its own names."""
        return self.module.state_dict(*args, **kwargs)

    def load_state_dict(self, *args: object, **kwargs: object) -> object:
        """Load a state of `module`; every rank must do so."""
        return self.module.load_state_dict(*args, **kwargs)


def buckets(model: nn.Module, bucket_mb: float) -> list[list[nn.Parameter]]:
    """Trained parameters in lists of up to `bucket_mb` MiB, last ones first, as gradients come.

    A bucket holds one type on one device; a shared parameter stands in it once.
    """
    found: list[list[nn.Parameter]] = []
    filled, limit = {}, bucket_mb * 2**20  # kind -> (bucket that is being filled, its bytes)
    for p in reversed([p for p in model.parameters() if p.requires_grad and p.numel()]):
        kind, size = (p.dtype, p.device), p.numel() * p.element_size()
        bucket, held = filled.get(kind, (None, limit))
        if held + size > limit:
            bucket, held = [], 0
            found.append(bucket)
        bucket.append(p)
        filled[kind] = bucket, held + size
    return found


# A parameter that no rank used must stay without gradient, or AdamW would still decay it. Ranks
# tell each other at no cost: the first number of an unused gradient is sent as -0.0, and a sum is
# -0.0 only if every part of it is.


def pack(bucket: list[nn.Parameter], group: dist.ProcessGroup | None = None) -> Tensor:
    """This rank's part of the average of a bucket's gradients, as one flat tensor."""
    gradients = [torch.zeros_like(p) if p.grad is None else p.grad.detach() for p in bucket]
    flat = torch.cat([g.reshape(-1) for g in gradients]).div_(dist.get_world_size(group))
    firsts = starts(bucket)
    flat[firsts] += 0.0  # turns a -0.0 of a used gradient into 0.0
    for start, parameter in zip(firsts, bucket):
        if parameter.grad is None:
            flat[start] = -0.0
    return flat


@torch.no_grad()
def unpack(flat: Tensor, bucket: list[nn.Parameter]) -> None:
    """Put averaged gradients where `backward()` left this rank's own."""
    parts = flat.split([p.numel() for p in bucket])
    for part, parameter in zip(parts, bucket):
        if parameter.grad is not None:
            parameter.grad.copy_(part.view_as(parameter))
        elif part[0] != 0 or not part[0].signbit():  # another rank used it
            parameter.grad = part.view_as(parameter).clone()


def starts(bucket: list[nn.Parameter]) -> list[int]:
    """Where each parameter begins in the flat tensor of its bucket."""
    sizes = [p.numel() for p in bucket]
    return [sum(sizes[:i]) for i in range(len(sizes))]


def start_alike(model: nn.Module) -> None:
    """Give parameters and buffers the values of rank 0, bit by bit, whatever their type."""
    for tensor in [*model.parameters(), *model.buffers()]:
        if tensor.numel():
            data = tensor.detach().contiguous()
            dist.broadcast(data.reshape(-1).view(torch.uint8), src=0)
            if data.data_ptr() != tensor.data_ptr():
                tensor.detach().copy_(data)


def _check_alike(model: nn.Module) -> None:
    """Refuse models of different shapes, whose collectives would wait for each other."""
    mine = [(n, tuple(p.shape), str(p.dtype), p.requires_grad) for n, p in model.named_parameters()]
    all_: list = [None] * dist.get_world_size()
    dist.all_gather_object(all_, mine)
    for rank, theirs in enumerate(all_):
        if theirs != all_[0]:
            differ = [pair for pair in zip(all_[0], theirs) if pair[0] != pair[1]]
            what = f"{differ[0][0]} and {differ[0][1]}" if differ else "their numbers of parameters"
            raise ValueError(f"model must be the same on all ranks; 0 and {rank} differ in {what}")


def clip_(gradients: list[Tensor], square: Tensor, most: float, group: object = None) -> Tensor:
    """Scale gradients by one factor so that the norm over a group is `most` at most; the norm.

    square: of the norm of this rank's part, which has to be added up over the group.
    """
    dist.all_reduce(square, group=group)
    norm = square.sqrt()
    for gradient in gradients:
        gradient.mul_((most / (norm + 1e-6)).clamp(max=1.0))
    return norm


def disagreement(model: nn.Module) -> float:
    """The largest difference between two ranks in any parameter: 0 as long as all is well.

    Two all-reduces of the weights, so not in every step; the check that finds every fault of
    averaging. Taught in: notebooks/07_data_parallel.ipynb.
    """
    most = 0.0
    for parameter in model.parameters():
        high, low = parameter.detach().clone(), parameter.detach().clone()
        dist.all_reduce(high, dist.ReduceOp.MAX)
        dist.all_reduce(low, dist.ReduceOp.MIN)
        most = max(most, (high - low).max().item() if high.numel() else 0.0)
    return most


def share(batch: Batch, group: dist.ProcessGroup | None = None) -> Batch:
    """This rank's rows of a batch: a tensor, a tuple or a dict of tensors with equal first sizes.

    group: among whom [all processes]. Raises ValueError for a batch that does not divide: an
    average of unequal shares would not be the batch's. Taught in: notebooks/07_data_parallel.ipynb.
    """
    if isinstance(batch, dict):
        return {name: share(part, group) for name, part in batch.items()}
    if isinstance(batch, tuple):
        return tuple(share(part, group) for part in batch)
    if not isinstance(batch, Tensor) or batch.ndim == 0:
        raise TypeError(f"batch must be a tensor with rows, or a tuple or dict, got {batch!r:.60}")
    ranks = dist.get_world_size(group)
    if len(batch) % ranks or not len(batch):
        raise ValueError(
            f"batch must divide into {ranks} equal shares, one for each process, got "
            f"{len(batch)} rows: take a multiple of {ranks}"
        )
    return batch.chunk(ranks)[dist.get_rank(group)]
