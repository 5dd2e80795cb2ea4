"""What the processes of notebook 09 do: started processes can import only what stands in a module.

Each function runs in all ranks. `text` is a piece of the corpus, bytes as int64. What takes seconds
to import is imported by the functions that need it: every rank of every start pays for it.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import load_model
from costlab.lm.trainer import loss_on
from costlab.parallel.compression import TopK
from costlab.parallel.counting import count_collectives
from costlab.parallel.gradient import held_bytes, shard_gradients

BATCH, CONTEXT, LR = 4, 32, 1e-4
SMALL = Config(width=64, layers=2, heads=4, kv_heads=2, head_dim=16, ffn=128, context=CONTEXT)


def windows(text: Tensor, step: int, *, seed: int = 0, batch: int = BATCH) -> Tensor:
    """This rank's part of a step's windows (batch, positions + 1); all of them without a group."""
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    whole = corpus.batch(text, batch=batch, context=CONTEXT, seed=seed, step=step)
    return whole.chunk(ranks)[rank]


def adamw(model: nn.Module) -> torch.optim.AdamW:
    """The optimizer of this chapter."""
    return torch.optim.AdamW(model.parameters(), lr=LR)


def learner(dtype: torch.dtype = torch.float64) -> LanguageModel:
    """The book's model, to be trained; in float64, so that the order of additions is not seen."""
    return load_model().to(dtype).train()


def alone(
    text: Tensor, steps: int, *, dtype: torch.dtype = torch.float64, parts: int = 1
) -> Tensor:
    """All weights of the book's model, end to end, after training in one process.

    parts: into which each batch is split, whose gradients add up to the same but for rounding.
    """
    model = learner(dtype)
    optimizer = adamw(model)
    for step in range(steps):
        for part in windows(text, step).chunk(parts):
            (loss_on(model, part) / parts).backward()
        optimizer.step()
        optimizer.zero_grad()
    return parameters_to_vector(model.parameters()).detach()


def in_slices(text: Tensor, steps: int, reduced: bool = True) -> Tensor:
    """The same from scratch: each rank updates its slice. Not `reduced` is a mistake to look at."""
    model = learner()
    rank, ranks = dist.get_rank(), dist.get_world_size()
    weights = parameters_to_vector(model.parameters()).detach()
    mine = nn.Parameter(weights.chunk(ranks)[rank].clone())
    optimizer = torch.optim.AdamW([mine], lr=LR)  # states for the slice alone
    for step in range(steps):
        loss_on(model, windows(text, step)).backward()
        gradient = torch.cat([p.grad.flatten() for p in model.parameters()]) / ranks
        mine.grad = torch.empty_like(mine)
        if reduced:
            dist.reduce_scatter(mine.grad, list(gradient.chunk(ranks)))
        else:
            mine.grad.copy_(gradient.chunk(ranks)[rank] * ranks)
        optimizer.step()
        dist.all_gather(list(weights.chunk(ranks)), mine.detach())
        vector_to_parameters(weights, model.parameters())
        model.zero_grad()
    return weights


def right_and_wrong(text: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """The weights of `in_slices` as it should be, and with the mistake."""
    return in_slices(text, steps), in_slices(text, steps, reduced=False)


@dataclass(frozen=True)
class Run:
    """How a scheme did: farthest weight from the expected, bytes held and sent, seconds a step."""

    apart: float
    held: dict[str, int]
    sent: float
    seconds: float


def compare_schemes(
    text: Tensor, names: list[str], steps: int, expected: Tensor
) -> tuple[dict[str, Run], float]:
    """Train with each scheme, and do what `optimizer_first` does, in one start of the processes.

    names: 'ddp', 'zero', 'fsdp2', or a partition and stage, 'flat 2'.
    """
    return {name: _run(text, name, steps, expected) for name in names}, optimizer_first(text)


def _run(text: Tensor, name: str, steps: int, expected: Tensor) -> Run:
    net, optimizer, held, whole = _scheme(name, learner())
    times = []
    for step in range(steps):
        start = time.perf_counter()
        with count_collectives() as traffic:
            loss_on(net, windows(text, step)).backward()
            before = held()
            optimizer.step()
            optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    apart = (whole() - expected).abs().max().item()
    return Run(apart, before, traffic.sent, min(times))


def _scheme(name: str, model: nn.Module) -> tuple[nn.Module, object, Callable, Callable]:
    """A model to call, what to step, what it holds, and how to see all of its weights."""
    if name.split()[0] in ("flat", "greedy"):
        partition, stage = name.split()
        ours = shard_gradients(model, adamw(model), stage=int(stage), partition=partition)
        return ours, ours, ours.held, lambda: _all_of(ours)
    if name == "fsdp2":
        from torch.distributed.fsdp import fully_shard

        for block in model.model.layers:
            fully_shard(block)
        net = fully_shard(model)
        optimizer = inner = adamw(net)  # after sharding: before, it would hold the old tensors
    else:
        net = DistributedDataParallel(model)
        optimizer = inner = adamw(model)
    if name == "zero":
        from torch.distributed.optim import ZeroRedundancyOptimizer

        optimizer = ZeroRedundancyOptimizer(model.parameters(), torch.optim.AdamW, lr=LR)
        inner = optimizer.optim
    return net, optimizer, lambda: _held(model, inner), lambda: _vector(model)


def _held(model: nn.Module, optimizer: torch.optim.Optimizer) -> dict[str, int]:
    found = list(model.parameters())
    states = [t for s in optimizer.state.values() for t in s.values() if t.ndim]
    kinds = {"parameters": found, "gradients": [p.grad for p in found], "states": states}
    return {kind: held_bytes(map(_local, tensors)) for kind, tensors in kinds.items()}


def _local(tensor: Tensor | None) -> Tensor | None:
    return tensor.to_local() if hasattr(tensor, "to_local") else tensor


def _vector(model: nn.Module) -> Tensor:
    parts = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in model.parameters()]
    return parameters_to_vector(parts).detach()


def _all_of(ours: nn.Module) -> Tensor:
    with ours.gathered() as model:
        return _vector(model)


def optimizer_first(text: Tensor) -> float:
    """How far the weights move when the optimizer was made before FSDP2 cut the model."""
    from torch.distributed.fsdp import fully_shard

    model = LanguageModel(SMALL)
    optimizer = adamw(model)
    fully_shard(model)
    before = _vector(model)
    loss_on(model, windows(text, 0)).backward()
    optimizer.step()
    return (_vector(model) - before).abs().max().item()


def compare_compression(
    text: Tensor, held_out: Tensor, ways: dict[str, tuple], seeds: int, steps: int
) -> dict[str, list[tuple[float, float]]]:
    """For each way and seed: nats on held-out windows after training, bytes sent in a step.

    ways: name -> (share of the gradient that travels, feedback or not); a share of None sends all
    of it, in an all-reduce.
    """
    return {
        name: [_compressed(text, held_out, *way, seed, steps) for seed in range(seeds)]
        for name, way in ways.items()
    }


def _compressed(
    text: Tensor, held_out: Tensor, share: float | None, feedback: bool, seed: int, steps: int
) -> tuple[float, float]:
    torch.manual_seed(seed)
    model = LanguageModel(SMALL)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    compress = TopK(share, feedback=feedback) if share else None
    for step in range(steps):
        loss_on(model, windows(text, step, seed=seed, batch=16)).backward()
        with count_collectives() as traffic:
            if compress:
                compress.average_(model.parameters())
            else:
                for p in model.parameters():
                    dist.all_reduce(p.grad.div_(dist.get_world_size()))
        optimizer.step()
        optimizer.zero_grad()
    with torch.no_grad():
        return loss_on(model, held_out).item(), traffic.sent


@dataclass(frozen=True)
class Start:
    """A start of a training: its first step, median seconds of a step and a checkpoint, weights."""

    first: int
    step_seconds: float
    save_seconds: float
    weights: Tensor


def train_with_checkpoints(
    text: Tensor, folder: str, steps: int, every: int, dies_at: int | None = None
) -> Start:
    """Train the book's model at stage 2 from the last checkpoint on, and save every few steps.

    dies_at: the step in which rank 1 is killed, if this training has not been killed there before.
    """
    from costlab.parallel.checkpoints import load_checkpoint, save_checkpoint

    model = learner(torch.float32)
    ours = shard_gradients(model, adamw(model), stage=2)
    first, killed, times, saves = load_checkpoint(ours, folder), Path(folder) / "killed", [], []
    for step in range(first, steps):
        start = time.perf_counter()
        loss_on(ours, windows(text, step)).backward()
        if step == dies_at and dist.get_rank() == 1 and not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        ours.step()
        ours.zero_grad()
        times.append(time.perf_counter() - start)
        if (step + 1) % every == 0:
            start = time.perf_counter()
            save_checkpoint(ours, folder, step=step + 1)
            saves.append(time.perf_counter() - start)
    # a start right after the last checkpoint has nothing left to do
    return Start(first, *(median(seconds or [0.0]) for seconds in (times, saves)), _all_of(ours))


def killed_and_calm(
    text: Tensor, folder: str, steps: int, every: int, dies_at: int
) -> tuple[Start, Start]:
    """`train_with_checkpoints` with a kill, then without, in one start of the processes."""
    job = (steps, every)
    killed = train_with_checkpoints(text, f"{folder}/killed", *job, dies_at)
    return killed, train_with_checkpoints(text, f"{folder}/calm", *job)
