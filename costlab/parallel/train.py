"""The trainer on several processes: one loop for every way of being parallel.

`costlab.lm.trainer` leads here with `--parallel`. A batch is that of the whole run, windows depend
on seed and step alone, so every way ends with the weights of one process. Taught in notebook 08.
"""

from __future__ import annotations

import argparse
import json
import math
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.fsdp import fully_shard
from tqdm import tqdm

from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import save_model
from costlab.lm.trainer import PARALLEL, Recipe, bits_per_byte, loss_on, make_optimizer
from costlab.parallel import sharded_state
from costlab.parallel.data import data_parallel, share
from costlab.parallel.gradient import ShardedModel, shard_gradients
from costlab.parallel.launch import device, launch
from costlab.parallel.pipelining import Pipeline, pipeline
from costlab.parallel.schedules import actions
from costlab.parallel.split import Split, full
from costlab.parallel.stages import PARTITIONS, check_stages
from costlab.parallel.tensor import PAIRS, check_cut, tensor_parallel

SILENCE = 600  # seconds that a process may keep the others waiting, under torchrun
AGES = 20 * 86400  # seconds for a whole run whose processes start here; more than 24 days overflow


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How a run is spread: `replicas` copies of the model, each on `parts` processes."""

    kind: str
    replicas: int
    parts: int
    microbatches: int
    schedule: str
    partition: str


@dataclass(frozen=True)
class Job:
    """What every process is told."""

    config: Config
    recipe: Recipe
    plan: Plan
    out: Path
    checkpoint_every: int
    run: dict = field(default_factory=dict)


def train(config: Config, recipe: Recipe, args: argparse.Namespace) -> int:
    """Train as `args` of the trainer's command say; returns the exit status.

    Under torchrun this process is one of its; otherwise `args.processes` are started. Sharded
    checkpoints go to `args.out`, from which any number of processes goes on, and
    `weights.safetensors` at the end. Raises ValueError for a layout that cannot be, before any
    process starts. Taught in: notebooks/08_model_parallel.ipynb.
    """
    started = {"RANK", "WORLD_SIZE"} <= set(os.environ)
    world = int(os.environ["WORLD_SIZE"]) if started else args.processes
    plan = make_plan(config, recipe, args, world)
    job = Job(config, recipe, plan, args.out, args.checkpoint_every,
              asdict(config) | asdict(recipe))  # fmt: skip
    corpus.validation_text()  # fail now, not after an hour
    launch(work, job, world_size=world, timeout=SILENCE if started else AGES)
    return 0


def make_plan(config: Config, recipe: Recipe, args: argparse.Namespace, world: int) -> Plan:
    """The checked plan for `world` processes. Raises ValueError with one sentence."""
    if args.parallel not in PARALLEL:
        raise ValueError(f"parallel must be one of {', '.join(PARALLEL)}, got {args.parallel!r}")
    split = args.parallel.rpartition("+")[2] in ("tensor", "pipeline")
    replicas, parts = (1, world) if split else (world, 1)
    if "+" in args.parallel:
        replicas, parts = _layout(args.layout, world)
    elif args.layout:
        raise ValueError(f"layout is for two ways together, such as data+tensor, not for "
                         f"{args.parallel}")  # fmt: skip
    if recipe.batch_size % replicas:
        raise ValueError(f"batch_size must be a multiple of the {replicas} shares that it is cut "
                         f"into, got {recipe.batch_size}")  # fmt: skip
    rows = recipe.batch_size // replicas
    micro = rows if args.microbatches is None else args.microbatches
    if args.parallel.endswith("pipeline"):
        check_stages(parts, config.layers)
        actions(args.schedule, parts, micro)
        if rows % micro:
            raise ValueError(f"microbatches must divide the {rows} rows of a copy's share of the "
                             f"batch, got {micro}")  # fmt: skip
        if args.partition not in PARTITIONS[:2]:
            raise ValueError(f"partition must be flops or parameters, got {args.partition!r}")
    if args.parallel.endswith("tensor"):
        with torch.device("meta"):
            check_cut(LanguageModel(config), PAIRS, parts)
    return Plan(kind=args.parallel, replicas=replicas, parts=parts, microbatches=micro,
                schedule=args.schedule, partition=args.partition)  # fmt: skip


def _layout(text: str | None, world: int) -> tuple[int, int]:
    """(copies, processes for each) from words such as 2x4."""
    numbers = (text or "").split("x")
    if len(numbers) != 2 or not all(n.isdecimal() and int(n) for n in numbers):
        raise ValueError(f"layout must be two numbers, copies x processes for each, such as 2x2, "
                         f"got {text!r}")  # fmt: skip
    replicas, parts = map(int, numbers)
    if replicas * parts != world:
        raise ValueError(f"layout must multiply to the {world} processes, got {text}")
    return replicas, parts


def work(job: Job) -> None:
    """What one process does: build, go on from the last checkpoint, train, save."""
    recipe, first = job.recipe, dist.get_rank() == 0
    torch.manual_seed(recipe.seed)
    net, optimizer = build(LanguageModel(job.config).to(device()).train(), recipe, job.plan)
    start = sharded_state.load(net, optimizer, job.out, job.run)
    text = corpus.as_tensor(corpus.training_text())
    steps = tqdm(range(start, recipe.steps), initial=start, total=recipe.steps, unit="step",
                 desc=job.plan.kind, disable=not first)  # fmt: skip
    for step in steps:
        windows = corpus.batch(text, batch=recipe.batch_size, context=recipe.context,
                               seed=recipe.seed, step=step)  # fmt: skip
        nats = backward(net, windows.to(device()), recipe.precision)
        steps.set_postfix(nats=f"{nats:.3f}", refresh=False)
        clip(net)
        for group in getattr(optimizer, "optimizer", optimizer).param_groups:
            group["lr"] = recipe.lr * recipe.rate(step)
        optimizer.step()
        optimizer.zero_grad()
        if (step + 1) % job.checkpoint_every == 0 or step + 1 == recipe.steps:
            sharded_state.save(net, optimizer, job.out, step=step + 1, run=job.run)
    _finish({name: full(tensor) for name, tensor in net.state_dict().items()}, job)


def build(model: LanguageModel, recipe: Recipe, plan: Plan) -> tuple[nn.Module, object]:
    """The model as a plan wants it, and what takes the steps."""
    if plan.kind == "gradient":
        sharded = shard_gradients(model, make_optimizer(model, recipe))
        return sharded, sharded
    if plan.kind.endswith("tensor"):
        net = tensor_parallel(model, replicas=plan.replicas)
    elif plan.kind.endswith("pipeline"):
        net = pipeline(model, microbatches=plan.microbatches, partition=plan.partition,
                       schedule=plan.schedule, replicas=plan.replicas)  # fmt: skip
    elif plan.kind == "data":
        net = data_parallel(model)
    else:
        for block in model.model.layers:
            fully_shard(block)
        net = fully_shard(model)
    return net, make_optimizer(net, recipe)


def backward(net: nn.Module, windows: Tensor, precision: str) -> float:
    """Leave the gradients of the mean loss on a whole batch; returns that loss.

    Raises ValueError, in every process, for a loss that is not finite.
    """
    mine = net.share(windows) if isinstance(net, Split) else share(windows)
    if isinstance(net, Pipeline):
        loss = net.loss_and_gradients(mine, precision)
    else:
        loss = loss_on(net, mine, precision)
        loss.backward()
    if isinstance(net, Split):
        net.average_gradients()
    mean = loss.detach().double() / dist.get_world_size()
    dist.all_reduce(mean)
    if not math.isfinite(mean):
        raise ValueError(f"model and data must be finite, lr small, got a loss: {mean:g}")
    return float(mean)


def clip(net: nn.Module) -> None:
    """Scale the gradients so that their norm, over all processes, is 1 at most."""
    if isinstance(net, Split | ShardedModel):
        net.clip_grad_norm_(1.0)
    else:
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)


def _finish(weights: dict[str, Tensor], job: Job) -> None:
    """The first process writes the whole model, and says how good it is."""
    if dist.get_rank():
        return
    model = LanguageModel(job.config).to(device())
    model.load_state_dict(weights)
    model.eval()
    path = job.out / "weights.safetensors"
    size = save_model(model, path, recipe=asdict(job.recipe))
    batches = corpus.validation_batches(context=min(512, job.config.context))
    quality = bits_per_byte(model, [b.to(device()) for b in batches])
    print(json.dumps({"bits_per_byte": round(quality, 4), "bytes": size, "weights": str(path)}))
