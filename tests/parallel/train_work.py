"""What the processes of the tests of the parallel trainer do; processes can import only modules."""

from contextlib import ExitStack
from functools import partial
from pathlib import Path
from unittest import mock

import torch
import torch.distributed.checkpoint as dcp

from costlab.lm import corpus
from costlab.lm.model import Config
from costlab.lm.pretrained import save_model
from costlab.lm.trainer import Recipe, parser
from costlab.parallel import checkpoints, train

TEXT = b"def add(a, b):\n    return a + b\n\n\ndef twice(x):\n    return add(x, x)\n\n\n" * 40
CONFIG = Config(width=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn=48, context=32)
RECIPE = {"batch_size": 4, "context": 24, "warmup": 2, "decay": 0, "precision": "fp32", "lr": 1e-2}


def recipe(steps=5):
    return Recipe(**RECIPE, steps=steps)


def plan(kind, world, **given):
    words = ["--parallel", kind]
    for name, value in given.items():
        words += ["--" + name, str(value)]
    return train.make_plan(CONFIG, recipe(), parser().parse_args(words), world)


def small_text():
    """A short text in place of the corpus, in this process."""
    stack = ExitStack()
    stack.enter_context(mock.patch.object(corpus, "training_text", return_value=TEXT))
    stack.enter_context(mock.patch.object(corpus, "validation_text", return_value=TEXT[:500]))
    return stack


def run(out, plan, steps=5):
    run = vars(CONFIG) | vars(recipe(steps))
    exact = partial(save_model, dtype=None)  # not rounded to 16 bits
    with small_text(), mock.patch.object(train, "save_model", exact):
        train.work(train.Job(CONFIG, recipe(steps), plan, Path(out), 2, run))


def from_shards(folder):
    """The weights of the newest sharded checkpoint, put together by one process."""
    reader = dcp.FileSystemReader(checkpoints.complete(folder)[-1])
    about = reader.read_metadata().state_dict_metadata
    state = {name: torch.empty(a.size, dtype=a.properties.dtype)
             for name, a in about.items() if name.endswith("|weight")}  # fmt: skip
    dcp.load(state, storage_reader=reader, no_dist=True)
    return {name.removesuffix("|weight"): tensor for name, tensor in state.items()}


def two(folder):
    """Every way of being parallel, to the end; those with common checkpoints also half way."""
    for kind in ("data", "gradient", "tensor", "pipeline", "fsdp"):
        run(f"{folder}/{kind}", plan(kind, 2))
    for kind in ("data", "tensor", "pipeline", "fsdp"):
        run(f"{folder}/from {kind}", plan(kind, 2), steps=3)


def four(folder):
    """Each goes on from what two processes left, cut in another way."""
    run(f"{folder}/from data", plan("tensor", 4))
    run(f"{folder}/from tensor", plan("data+tensor", 4, layout="2x2"))
    run(f"{folder}/from pipeline", plan("data+pipeline", 4, layout="2x2", microbatches=2))
    run(f"{folder}/from fsdp", plan("fsdp", 4))
    other = Recipe(**RECIPE, seed=1, steps=5)
    data, run_ = Path(f"{folder}/from data"), vars(CONFIG) | vars(other)
    try:
        with small_text():
            train.work(train.Job(CONFIG, other, plan("data", 4), data, 2, run_))
    except ValueError as error:
        return str(error)
    return "nothing"
