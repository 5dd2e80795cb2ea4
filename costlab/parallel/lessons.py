"""What the processes of notebook 07 do: other processes import functions, a notebook has none.

Taught in notebook 07.
"""

from __future__ import annotations

import time
from copy import deepcopy
from functools import partial
from inspect import signature
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.trainer import bits_per_byte, loss_on
from costlab.parallel.counting import count_collectives
from costlab.parallel.data import data_parallel, disagreement, share
from costlab.parallel.local import LocalSGD
from costlab.parallel.ring import ring_all_reduce_

SMALL = Config(width=96, layers=2, heads=3, kv_heads=1, head_dim=32, ffn=256, context=64)


def add_up(numbers: list[float]) -> tuple[int, list[float]]:
    """This rank, and `numbers` times (rank + 1), added up over all ranks."""
    mine = (dist.get_rank() + 1) * torch.tensor(numbers)
    dist.all_reduce(mine)
    return dist.get_rank(), mine.tolist()


def gradient_of(model: nn.Module, windows: Tensor) -> Tensor:
    """All gradients of the mean loss on `windows` as one vector; the model's own stay as they are.

    Taught in: notebooks/07_data_parallel.ipynb.
    """
    gradients = torch.autograd.grad(loss_on(model, windows), list(model.parameters()))
    return torch.cat([g.reshape(-1) for g in gradients])


def ring_against_torch(numbers: int) -> dict[str, float]:
    """How far our ring's sums are from torch's, and the bytes that this rank sent for them."""
    generator = torch.Generator().manual_seed(dist.get_rank())
    ours = torch.randn(numbers, dtype=torch.float64, generator=generator)
    theirs = ours.clone()
    dist.all_reduce(theirs)
    with count_collectives() as traffic:
        ring_all_reduce_(ours)
    return {"apart": (ours - theirs).abs().max().item(), "sent": traffic.sent}


def average_parameters(model: nn.Module) -> nn.Module:
    """Broken, as found in published code: the hook is handed the parameter, not its gradient."""

    def hook(given: nn.Parameter) -> None:
        dist.all_reduce(given.detach().div_(dist.get_world_size()))

    for parameter in model.parameters():
        parameter.register_post_accumulate_grad_hook(hook)
    return model


def average_after_backward(model: nn.Module) -> None:
    """Average each gradient with the ring of this book, when the backward pass is over."""
    for parameter in model.parameters():
        ring_all_reduce_(parameter.grad.div_(dist.get_world_size()))


# By default it also sends every buffer of rank 0 before each forward pass; ours have no news. The
# option has a new name since torch 2.13.
_OPTIONS = signature(DistributedDataParallel).parameters
_SYNC = next(n for n in ("forward_sync_buffers", "broadcast_buffers") if n in _OPTIONS)
torchs = partial(DistributedDataParallel, **{_SYNC: False})

WRAPS = {
    "ours": data_parallel,
    "torch's DDP": torchs,
    "ring by hand": lambda model: model,
    "broken hook": average_parameters,
}


def five_steps(model: nn.Module, batches: list[Tensor], scheme: str) -> dict:
    """Train `model` in place, one step of AdamW for each batch; this rank takes its share of it.

    Returns the last loss of this rank, the weights (of rank 0 alone, to send less), and how far
    those of the ranks lie apart.
    """
    wrapped = WRAPS[scheme](model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    for windows in batches:
        loss = loss_on(wrapped, share(windows))
        loss.backward()
        if scheme == "ring by hand":
            average_after_backward(model)
        optimizer.step()
        optimizer.zero_grad()
    weights = nn.utils.parameters_to_vector(model.parameters()).detach()
    kept = weights if dist.get_rank() == 0 else None
    return {"loss": loss.item(), "weights": kept, "apart": disagreement(model)}


def every_scheme(model: nn.Module, batches: list[Tensor]) -> dict[str, dict]:
    """`five_steps` under each scheme, from the same weights, in 64 bits.

    AdamW divides a gradient by its own size: in 32 bits, where one is nothing but rounding error,
    that makes whole steps of it, and not the same ones in another order of summation.
    """
    return {name: five_steps(deepcopy(model).double(), batches, name) for name in WRAPS}


def race(model: nn.Module, windows: Tensor, rounds: int) -> dict[str, tuple[float, float]]:
    """Median seconds of a step, and bytes sent in it, by scheme; timed in turn.

    "one bucket" holds all gradients, so that nothing can be sent before the last is there.
    """
    wraps = {
        "nothing sent": lambda net: net,
        "ours": partial(data_parallel, bucket_mb=4),
        "one bucket": partial(data_parallel, bucket_mb=1e6),
        "torch's DDP": torchs,
    }
    models = {name: wrap(deepcopy(model)) for name, wrap in wraps.items()}
    seconds, sent = {name: [] for name in models}, {}
    for name, wrapped in models.items():  # also warms up
        with count_collectives() as traffic:
            loss_on(wrapped, share(windows)).backward()
        sent[name] = traffic.sent
    for _ in range(rounds):
        for name, wrapped in models.items():
            dist.barrier()
            start = time.perf_counter()
            loss_on(wrapped, share(windows)).backward()
            dist.barrier()
            seconds[name].append(time.perf_counter() - start)
            wrapped.zero_grad()
    return {name: (median(seconds[name]), sent[name]) for name in models}


def schemes_and_race(model: nn.Module, batches: list[Tensor], rounds: int) -> tuple[dict, dict]:
    """`every_scheme`, then `race`, in one start of the processes."""
    return every_scheme(model, batches), race(model, batches[0], rounds)


def low_communication(text: Tensor, steps: int, every: int, seed: int) -> dict[str, float]:
    """Train a small model from nothing for `steps`, meeting at each `every`th; 0 is data parallel.

    Returns bits per byte on a slice of the validation text and bytes sent per step by this rank.
    """
    torch.manual_seed(seed)
    model = LanguageModel(SMALL)
    wrapped = model if every else data_parallel(model)
    meeting = LocalSGD(model, every=every) if every else None
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    with count_collectives() as traffic:
        for step in range(steps):
            windows = corpus.batch(text, batch=8, context=64, seed=seed, step=step)
            loss_on(wrapped, share(windows)).backward()
            optimizer.step()
            optimizer.zero_grad()
            if meeting:
                meeting.step()
    batches = corpus.validation_batches(context=64, batch=64, limit=4096)
    return {"bits per byte": bits_per_byte(model, batches), "bytes": traffic.sent / steps}


def low_communications(
    text: Tensor, steps: int, every: tuple[int, ...], seeds: tuple[int, ...]
) -> dict[int, list[dict[str, float]]]:
    """`low_communication` for each interval and seed."""
    return {h: [low_communication(text, steps, h, seed) for seed in seeds] for h in every}


def gradient_sums(model: nn.Module, windows: Tensor) -> tuple[Tensor, float]:
    """The sum of the gradients of single windows, and the mean of their squared lengths."""
    total, square = 0.0, 0.0
    for window in windows.split(1):
        gradient = gradient_of(model, window)
        total = total + gradient
        square += gradient.square().sum().item() / len(windows)
    return total, square


def noise_scale(total: Tensor, square: float, count: int) -> tuple[float, float]:
    """(|G|², tr Σ): the squared length of the true gradient, and the noise of a single window's.

    From `gradient_sums` over `count` windows, both without bias. Their ratio tr Σ / |G|² is the
    simple noise scale, a critical batch size in windows (arXiv:1812.06162, appendix A.1), and
    |G|² / (|G|² + tr Σ) is the share of a single window's gradient that is not noise. Data parallel
    training has both squares at hand: before the all-reduce, and after it.
    """
    if count < 2:
        raise ValueError(f"count must be at least 2 windows, got {count}")
    averaged = (total / count).square().sum().item()
    noise = (square - averaged) / (1 - 1 / count)
    return square - noise, noise
