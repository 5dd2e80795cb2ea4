"""Is a pipeline that is cut by operations near the best cut, by the clock?

The model of chapter 8 that is cut into four stages, with every cut there is: each run of units that
can be a stage is timed as a whole, forward and backward pass on one thread, all runs in turn, and
its least time counts. Every second round is a measurement of its own, so that a cut's time can be
compared with itself. Writes `costlab/results/stage_cuts.json`. Run it by `make experiments`, or
`python experiments/stage_cuts.py` (some three minutes on one core that nothing else uses;
`--quick` takes two rounds and writes nothing).
"""

import argparse
import itertools
import json
import time

import torch
from torch.nn import functional as F

from costlab import results
from costlab.lm.model import Config, LanguageModel
from costlab.parallel.stages import Stage, cut, unit_costs

SHAPE = {"width": 128, "layers": 8, "heads": 2, "kv_heads": 1, "head_dim": 64, "ffn": 344,
         "vocab": 4096, "context": 128}  # fmt: skip
STAGES, UNITS = 4, SHAPE["layers"] + 2
SECONDS = 170


def measure(rounds: int) -> tuple[dict[tuple[int, int], list[float]], dict[str, list[int]]]:
    """(first unit, last unit + 1) -> seconds in each round; and how each kind of cost would cut."""
    model = LanguageModel(Config(**SHAPE))
    tokens = torch.randint(0, SHAPE["vocab"], (4, SHAPE["context"]))
    runs = [(a, b) for a, b in itertools.combinations(range(UNITS + 1), 2) if b - a <= UNITS - 3]
    stages = {(a, b): Stage(model, [n for n in (a, b - a, UNITS - b) if n], int(a > 0))
              for a, b in runs}  # fmt: skip
    given = {run: stage.blank(tokens).requires_grad_() if run[0] else tokens
             for run, stage in stages.items()}  # fmt: skip
    kinds = ("flops", "parameters", "time")
    cuts = {kind: cut(unit_costs(model, kind, tokens), STAGES) for kind in kinds}
    seconds, until = {run: [] for run in runs}, time.monotonic() + SECONDS
    for _ in range(rounds):
        for run, stage in stages.items():
            start = time.perf_counter()
            out = stage(given[run])
            loss = F.cross_entropy(out.flatten(0, 1), tokens.flatten()) if stage.last else out.sum()
            loss.backward()
            seconds[run].append(time.perf_counter() - start)
        if time.monotonic() > until:
            break
    return seconds, cuts


def slowest(seconds: dict[tuple[int, int], float]) -> dict[tuple[int, ...], float]:
    """Units of each stage -> seconds of the slowest stage, for all cuts there are."""
    found = {}
    for inner in itertools.combinations(range(1, UNITS), STAGES - 1):
        ends = list(itertools.pairwise((0, *inner, UNITS)))
        found[tuple(b - a for a, b in ends)] = max(seconds[end] for end in ends)
    return found


def main(argv: list[str] | None = None) -> dict:
    """Measure, and record."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--quick", action="store_true", help="two rounds, no record")
    quick = options.parse_args(argv).quick
    torch.set_num_threads(1)
    torch.manual_seed(0)
    begin = time.monotonic()
    seconds, cuts = measure(2 if quick else 1000)
    least = slowest({run: min(took) for run, took in seconds.items()})
    halves = [slowest({run: min(took[i::2]) for run, took in seconds.items()}) for i in (0, 1)]
    best = min(least, key=least.get)
    again = sorted(max(a, b) / min(a, b) for a, b in zip(*(half.values() for half in halves)))
    values = {
        "rounds": len(next(iter(seconds.values()))),
        "units_ms": [1e3 * min(seconds[unit, unit + 1]) for unit in range(UNITS)],
        "cuts": cuts,
        "best": best,
        "over_best": {kind: least[tuple(sizes)] / least[best] for kind, sizes in cuts.items()},
        "over_itself": {"median": again[len(again) // 2], "most": again[-1]},
    }
    print(json.dumps(values), flush=True)
    if not quick:
        results.record("stage_cuts", values, seconds=time.monotonic() - begin)
    return values


if __name__ == "__main__":
    main()
