"""What the processes of notebook 08 do: started processes can import only what stands in a module.

Each function runs in all ranks. `text` is a piece of the corpus, bytes.
Taught in: notebooks/08_model_parallel.ipynb.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from unittest import mock

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.pipelining import PipelineStage, Schedule1F1B
from torch.distributed.tensor import Replicate
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    PrepareModuleInput,
    RowwiseParallel,
    parallelize_module,
)
from torch.nn import functional as F

from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import load_model
from costlab.parallel.counting import Traffic, count_collectives
from costlab.parallel.experts import Experts, expert_parallel
from costlab.parallel.lessons_gradient import learner
from costlab.parallel.peak import peak_bytes
from costlab.parallel.pipelining import pipeline
from costlab.parallel.schedules import Span
from costlab.parallel.split import full
from costlab.parallel.stages import Stage
from costlab.parallel.tensor import GATHERED, Enter, tensor_parallel

BATCH, CONTEXT, LR = 4, 32, 1e-4
SMALL = Config(width=64, layers=2, heads=2, kv_heads=1, head_dim=32, ffn=128, context=64)


def windows(text: Tensor, step: int, *, batch: int = BATCH, context: int = CONTEXT) -> Tensor:
    """The windows of a step (batch, context + 1), the same in all processes."""
    return corpus.batch(text, batch=batch, context=context, seed=0, step=step)


def nats(net: nn.Module, given: Tensor) -> Tensor:
    """Mean loss of each next byte, in the precision of the model."""
    return F.cross_entropy(net(given[:, :-1]).flatten(0, 1), given[:, 1:].flatten())


def steps_of(
    net: nn.Module, text: Tensor, steps: int, backward: Callable[[Tensor], object]
) -> Traffic:
    """Take steps of AdamW after `backward(windows)`; returns the traffic of the last one."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR)
    for step in range(steps):
        with count_collectives() as traffic:
            backward(windows(text, step))
        optimizer.step()
        optimizer.zero_grad()
    return traffic


def alone(text: Tensor, steps: int) -> dict[str, Tensor]:
    """Weights of the book's model after some steps in one process."""
    net = learner()
    steps_of(net, text, steps, lambda given: nats(net, given).backward())
    return {name: tensor.detach() for name, tensor in net.state_dict().items()}


@dataclass(frozen=True)
class Run:
    """How a scheme did: farthest weight from the expected, calls by kind, bytes sent in a step."""

    apart: float
    calls: dict[str, int]
    sent: float


def tensor_runs(text: Tensor, steps: int, expected: dict) -> tuple[dict[str, Run], dict | None]:
    """Each way to cut the matrices, and the weights after "pairs" (of rank 0 alone)."""
    mesh = init_device_mesh("cpu", (dist.get_world_size(),))
    ways = {
        "pairs": tensor_parallel,
        "gathered": lambda net: tensor_parallel(net, partition=GATHERED),
        "torch's": lambda net: torch_plan(net, mesh),
        "torch's, by matrix": lambda net: torch_plan(net, mesh, once=False),
        "f forgotten": tensor_parallel,
    }
    runs, kept = {}, None
    for name, cut in ways.items():
        net = cut(learner())
        with forget_f() if name == "f forgotten" else nullcontext():
            traffic = steps_of(net, text, steps, lambda given, net=net: nats(net, given).backward())
        found = {n: full(tensor) for n, tensor in net.state_dict().items()}
        runs[name] = Run(_apart(found, expected), traffic.count, traffic.sent)
        kept = found if name == "pairs" and dist.get_rank() == 0 else kept
    return runs, kept


def forget_f() -> AbstractContextManager:
    """A mistake to look at: within it, nobody adds the gradients up in the backward pass."""
    return mock.patch.object(
        Enter, "backward", staticmethod(lambda ctx, gradient: (gradient, None))
    )


def torch_plan(model: LanguageModel, mesh: DeviceMesh, *, once: bool = True) -> LanguageModel:
    """torch's own tensor parallel over the same matrices, in place.

    once: declare the input of attention and MLP as replicated there, so that the gradients of their
    matrices are added up before they are sent; else each matrix sends its own.
    """
    plan = {}
    for block in ("self_attn", "mlp"):
        names = ("q_proj", "k_proj", "v_proj") if block == "self_attn" else ("gate_proj", "up_proj")
        plan |= {f"model.layers.*.{block}.{name}": ColwiseParallel() for name in names}
        if once:
            count = 4 if block == "self_attn" else 1  # of its positional inputs
            layouts = (Replicate(), *[None] * (count - 1))
            plan[f"model.layers.*.{block}"] = PrepareModuleInput(
                input_layouts=layouts, desired_input_layouts=layouts
            )
    plan |= {
        f"model.layers.*.{n}": RowwiseParallel() for n in ("self_attn.o_proj", "mlp.down_proj")
    }
    return parallelize_module(model, mesh, plan)


def pipeline_runs(text: Tensor, steps: int, expected: dict) -> dict[str, Run]:
    """Both schedules, four micro-batches: where they end, and what a stage sends."""
    runs = {}
    for schedule in ("gpipe", "1f1b"):
        stage = pipeline(learner(), microbatches=4, schedule=schedule)
        traffic = steps_of(stage, text, steps, stage.loss_and_gradients)
        runs[schedule] = Run(_apart(stage.state_dict(), expected), traffic.count, traffic.sent)
    runs["torch's"] = Run(torchs_pipeline(windows(text, 0)), {}, 0.0)
    return runs


def torchs_pipeline(given: Tensor) -> float:
    """Farthest that gradients of torch's 1F1B are from ours, over the same stages."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    ours = pipeline(learner(), microbatches=4)
    ours.loss_and_gradients(given)
    module = Stage(learner(), ours.sizes, rank)
    engine = Schedule1F1B(
        PipelineStage(module, rank, ranks, torch.device("cpu")),
        4,
        loss_fn=lambda out, target: F.cross_entropy(out.flatten(0, 1), target.flatten()),
    )
    inputs = (given[:, :-1],) if module.first else ()
    engine.step(*inputs, target=given[:, 1:] if module.last else None)
    theirs = dict(module.named_parameters())
    mine = ours.module.named_parameters()
    return max(float((p.grad - theirs[name].grad).abs().max()) for name, p in mine)


def timelines(text: Tensor, microbatches: tuple[int, ...]) -> dict[int, list[Span]]:
    """Micro-batches -> spans of this stage under GPipe, in the best of three steps of 8 rows."""
    found, given = {}, windows(text, 0, batch=8, context=64)
    for number in microbatches:
        stage = pipeline(load_model().train(), microbatches=number, schedule="gpipe")
        took = []
        for _ in range(4):  # the first is to warm up
            dist.barrier()
            stage.loss_and_gradients(given)
            length = torch.tensor(stage.spans[-1].stop - stage.spans[0].start)
            dist.all_reduce(length, dist.ReduceOp.MAX)
            took.append((length.item(), stage.spans))
        found[number] = min(took[1:], key=lambda step: step[0])[1]
    return found


def stage_memory(text: Tensor, microbatches: int) -> dict[str, int]:
    """Schedule -> bytes of tensors that this stage makes in a step, at the peak."""
    found, given = {}, windows(text, 0, batch=microbatches)
    for schedule in ("gpipe", "1f1b"):
        stage = pipeline(load_model().train(), microbatches=microbatches, schedule=schedule)
        stage.loss_and_gradients(given)
        stage.zero_grad(set_to_none=False)
        found[schedule] = peak_bytes(lambda s=stage: s.loss_and_gradients(given))
    return found


def spread_experts(config: Config, tokens: int) -> tuple[float, float]:
    """How far expert parallel is from the layer itself, and the bytes that this process sends."""
    torch.manual_seed(0)
    layer = Experts(config, experts=8, active=2)
    x = torch.randn(dist.get_world_size(), tokens, config.width)[dist.get_rank()]
    with torch.no_grad(), count_collectives() as traffic:
        found = expert_parallel(layer, x)
        return (found - layer(x)).abs().max().item(), traffic.sent


def two_processes(text: Tensor, steps: int, expected: dict[str, Tensor]) -> dict:
    """All that notebook 08 asks of two processes, in one start, which takes longest."""
    return {
        "tensor": tensor_runs(text, steps, expected),
        "pipeline": pipeline_runs(text, steps, expected),
        "timelines": timelines(text, (2, 8)),
        "memory": stage_memory(text, 8),
        "experts": spread_experts(SMALL, 64),
    }


def small_model(ffn: int, *, experts: int | None = None, seed: int = 0) -> LanguageModel:
    """Two narrow layers, `ffn` wide; or each of the `experts` so wide, of which two are active."""
    torch.manual_seed(seed)
    config = replace(SMALL, ffn=ffn)
    model = LanguageModel(config)
    for block in model.model.layers if experts else ():
        block.mlp = Experts(config, experts=experts, active=2)
    return model


def train_small(
    model: LanguageModel, text: Tensor, steps: range, seed: int,
    optimizer: torch.optim.Optimizer | None = None,
) -> torch.optim.Optimizer:  # fmt: skip
    """Train a small model in place; its experts, where it has some, are kept in balance.

    Returns the optimizer, with which further steps go on from here.
    """
    mixed = [block.mlp for block in model.model.layers if isinstance(block.mlp, Experts)]
    optimizer = optimizer or torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.95))
    for step in steps:
        given = corpus.batch(text, batch=16, context=64, seed=seed, step=step)
        loss = nats(model, given)  # its forward pass also fills `balance`
        (loss + sum(0.01 * layer.balance for layer in mixed)).backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad()
    return optimizer


def _apart(found: dict[str, Tensor], expected: dict[str, Tensor]) -> float:
    return max(float((found[name] - tensor).abs().max()) for name, tensor in expected.items())
