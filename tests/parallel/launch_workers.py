"""Functions that the tests of launch run in other processes."""

import os
import time
from pathlib import Path

import torch
import torch.distributed as dist

from costlab.parallel import device, launch


def introduce(model):
    """Who this rank is; it changes the model that it was handed, which must be its own copy."""
    numbers = torch.full((3,), dist.get_rank() + 1.0)
    dist.all_reduce(numbers)
    model.weight.data += 10 * (dist.get_rank() + 1)
    return {
        "rank": dist.get_rank(),
        "sum": numbers,
        "pid": os.getpid(),
        "threads": torch.get_num_threads(),
        "device": str(device()),
        "weight": model.weight.detach(),
        "nested": _refusal(),
    }


def _refusal():
    try:
        launch(introduce)
    except ValueError as error:
        return str(error)


def misbehave(folder, how):
    """Rank 1 goes wrong in the way that is named, while rank 0 waits for it."""
    (Path(folder) / f"{dist.get_rank()}.pid").write_text(str(os.getpid()))
    if dist.get_rank() == 1:
        if how == "raises":
            raise KeyError("lost on the way")
        if how == "is killed":
            os.kill(os.getpid(), 9)
        if how == "hangs":
            time.sleep(1000)
        if how == "returns a function":
            return lambda: 1
    dist.barrier()


def rank_and_world():
    return dist.get_rank(), dist.get_world_size()
