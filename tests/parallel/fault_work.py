"""What the processes of the tests on checkpoints and faults do."""

import os
import signal
from pathlib import Path

import gradient_work as work
import torch.distributed as dist

from costlab.parallel import checkpoints
from costlab.parallel.checkpoints import load_checkpoint, save_checkpoint

STEPS, EVERY = 6, 2


def die_once(folder, name):
    """End this process as a power cut would, the first time that this is asked of it."""
    marker = Path(folder) / f"died.{name}"
    if not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)


def train_saving(folder, stage=2, partition="flat", steps=STEPS, every=EVERY, kills=()):
    """First step of this start, and the weights after the last, with a checkpoint now and then.

    kills: of 'backward' (rank 1 before its step), 'files' (rank 0 when the files of a checkpoint
    are there, but no name), 'name' (when it has its name, and the old one is not removed).
    """
    sharded = work.sharded_model(stage, partition)
    start = load_checkpoint(sharded, folder)
    if dist.get_rank() == 0:
        Path(folder).mkdir(parents=True, exist_ok=True)
        with (Path(folder) / "starts").open("a") as file:
            file.write(f"{start}\n")
        flush = checkpoints._flush

        def flush_or_die(path):
            which = "name" if Path(path) == Path(folder) else "files"
            if which in kills:
                die_once(folder, which)
            flush(path)

        checkpoints._flush = flush_or_die
    for step in range(start, steps):
        work.backward(sharded, step)
        if "backward" in kills and step == 3 and dist.get_rank() == 1:
            die_once(folder, "backward")
        sharded.step()
        sharded.zero_grad()
        if (step + 1) % every == 0:
            save_checkpoint(sharded, folder, step=step + 1)
    with sharded.gathered() as whole:
        return start, work.weights(whole)


def save_and_go_on(folder):
    """For each partition: a checkpoint after step 2, and the weights after step 6."""
    return {
        partition: train_saving(f"{folder}/{partition}", 3, partition, every=4)
        for partition in ("flat", "greedy")
    }
