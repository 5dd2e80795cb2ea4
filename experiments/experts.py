"""A mixture of experts against a dense model, at equal operations for a token: who learns more?

Two small models of the book's kind, one with an MLP, one with eight experts of half its width, two
of them active, are trained on the same text from three seeds, and scored at some steps on the way.
Writes `costlab/results/experts.json`. Run it by `make experiments`, or `python
experiments/experts.py` (some four minutes on one core; `--quick` takes two steps and writes
nothing). It counts processor time, so that what else the machine does is not recorded. Finished
runs are kept in `_build/`: interrupt, and repeat the command to go on.
"""

import argparse
import json
import time
from pathlib import Path

import torch

from costlab import results
from costlab.lm import corpus
from costlab.lm.trainer import bits_per_byte
from costlab.parallel.lessons_model import small_model, train_small

KEPT = Path(__file__).resolve().parent.parent / "_build" / "experts.json"
KINDS = {"dense": {"ffn": 256}, "experts": {"ffn": 128, "experts": 8}}
MARKS, SEEDS = (100, 200, 400), (0, 1, 2)


def run(kind: str, seed: int, marks: tuple[int, ...]) -> dict:
    """Bits per byte at each mark, and the processor seconds of all steps."""
    text = corpus.as_tensor(corpus.training_text())[:1_000_000]
    held_out = corpus.validation_batches(context=64, batch=64, limit=16_384)
    model, optimizer = small_model(**KINDS[kind], seed=seed), None
    quality, seconds = [], 0.0
    for start, stop in zip((0, *marks), marks):
        begin = time.process_time()
        optimizer = train_small(model, text, range(start, stop), seed, optimizer)
        seconds += time.process_time() - begin
        quality.append(bits_per_byte(model, held_out))
    return {"kind": kind, "seed": seed, "bits_per_byte": quality, "seconds": seconds}


def main(argv: list[str] | None = None) -> list[dict]:
    """Run what is not there yet, and record all."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--quick", action="store_true", help="two steps, one seed, no record")
    quick = options.parse_args(argv).quick
    torch.set_num_threads(1)
    if quick:
        return [run(kind, 0, (1, 2)) for kind in KINDS]
    setup = {"kinds": KINDS, "marks": MARKS}
    runs, done = [{"kind": k, "seed": s} for s in SEEDS for k in KINDS], results.kept(KEPT, setup)
    for wanted in results.missing(runs, done):
        done.append(run(**wanted, marks=MARKS))
        results.keep(KEPT, setup, done)
        print(json.dumps(done[-1]), flush=True)
    values = {"marks": MARKS, "runs": done}
    results.record("experts", values, seconds=sum(r["seconds"] for r in done))
    return done


if __name__ == "__main__":
    main()
