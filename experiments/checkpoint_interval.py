"""How often to save, tried against real kills: the book's model trains, and is killed at random.

Writes `costlab/results/checkpoint_interval.json`. Run it alone on the machine: `make experiments`,
or `python experiments/checkpoint_interval.py` (about four minutes; `--quick` one short run).
"""

import argparse
import json
import multiprocessing
import random
import tempfile
import threading
import time
from contextlib import contextmanager, suppress

import costlab
from costlab.lm import corpus
from costlab.parallel import ParallelError, launch
from costlab.parallel.checkpoints import complete
from costlab.parallel.faults import checkpoint_interval, time_with_failures
from costlab.parallel.lessons_gradient import train_with_checkpoints

MTBF, WINDOW, SEED = 15.0, 60.0, 1  # mean seconds between kills; seconds of each trial; the draw


@contextmanager
def kills():
    """While it lasts, the training process is killed at random, at the same moments each time."""
    over, done = threading.Event(), []

    def kill():
        draw, start, moment = random.Random(SEED), time.monotonic(), 0.0
        while True:
            moment += draw.expovariate(1 / MTBF)
            if over.wait(max(0.0, start + moment - time.monotonic())):
                return
            for process in multiprocessing.active_children():
                process.kill()
            done.append(moment)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    try:
        yield done
    finally:
        over.set()
        killer.join()


def saved(text, every):
    """Steps in the newest checkpoint after `WINDOW` seconds with kills, and how many kills."""
    end = time.monotonic() + WINDOW
    with tempfile.TemporaryDirectory() as folder, kills() as met:
        while (left := end - time.monotonic()) > 0:
            with suppress(ParallelError):  # killed, or the window is over
                launch(
                    train_with_checkpoints, text, folder, 10**6, every, world_size=1, timeout=left
                )
        newest = complete(folder)[-1:]
        return int(newest[0].name.split("_")[1]) if newest else 0, len(met)


def measured(text, steps):
    """What steps, saving and starting take here; what three intervals save in spite of kills."""
    with tempfile.TemporaryDirectory() as folder:
        begun = time.monotonic()
        [calm] = launch(train_with_checkpoints, text, folder, steps, steps // 2, world_size=1)
        seconds = time.monotonic() - begun
    step, save = calm.step_seconds, calm.save_seconds
    best = checkpoint_interval(save=save, mtbf=MTBF)
    job = {"save": save, "mtbf": MTBF, "restart": seconds - steps * step - 2 * save}
    found = {"step": step, "best_interval": best, "window": WINDOW} | job | {"tried": {}}
    for factor in (0.25, 1, 4):
        every = max(1, round(factor * best / step))
        done, killed = saved(text, every)
        expected = WINDOW / time_with_failures(1, interval=every * step, **job)
        run = {"interval": every * step, "kills": killed, "work": done * step}
        found["tried"][str(factor)] = run | {"expected": expected}
        print(json.dumps(found), flush=True)
    return found


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--quick", action="store_true", help="a few steps, no file")
    quick = options.parse_args().quick
    text, start = corpus.as_tensor(corpus.training_text())[:1_000_000], time.perf_counter()
    values = measured(text, 10 if quick else 40)
    print(json.dumps(values, indent=1))
    if not quick:
        seconds = time.perf_counter() - start
        path = costlab.results.record("checkpoint_interval", values, seconds=seconds)
        print(f"written to {path.name}")


if __name__ == "__main__":
    main()
