"""What do adapters learn at equal steps, of which rank and at which learning rate?

The book's model is adapted to the Python manual's topics: all of its weights, adapters of three
ranks, and adapters over weights of four bits, each at five learning rates with the first seed, and
at the best of these with two more seeds. Both kinds of text are scored, what is learned and what is
forgotten. Writes `costlab/results/adapters.json`, and beside it the adapter of one run, fixed
beforehand. Run it by `make experiments`, or `python experiments/adapters.py` (about half an hour on
one core; it says so first). It trains on one thread and counts that thread's processor time, so
that what else the machine does is not recorded.
Finished runs are kept in `_build/`: interrupt, and repeat the command
to go on.
"""

import argparse
import json
import shutil
import sys
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from pydoc_data.topics import topics

import torch
from safetensors.torch import save_file

import costlab
from costlab import results
from costlab.lm import corpus
from costlab.lm.trainer import bits_per_byte
from costlab.optimize.adapters import adapter_state

ROOT = Path(__file__).resolve().parent.parent
ALL = "all weights"
KINDS = {  # knobs of add_adapters; None trains the model itself
    ALL: None,
    "rank 1": {"rank": 1},
    "rank 8": {"rank": 8},
    "rank 32": {"rank": 32},
    "rank 8, 4 bits": {"rank": 8, "quantized": True},
}
TRIAL = 3  # steps of each kind that are timed for the estimate
# The run whose adapter is stored for the chapter: rank and rate of its live run, the first seed.
STORED = {"kind": "rank 8", "lr": 5e-3, "seed": 0}


@dataclass(frozen=True)
class Setup:
    """How each run is trained; both texts are scored on about `scored` bytes."""

    steps: int = 40
    batch_size: int = 8
    context: int = 128
    scored: int = 16_384
    rates: tuple[float, ...] = (2e-4, 7e-4, 2e-3, 5e-3, 1e-2)
    seeds: tuple[int, ...] = (0, 1, 2)
    python: str = ".".join(map(str, sys.version_info[:3]))  # the manual is that of its version


QUICK = Setup(steps=2, batch_size=2, context=32, scored=1_024, rates=(5e-3,), seeds=(0,))


def long_lines(text: str) -> set[str]:
    """Stripped lines of 30 characters and more: what makes texts recognizably the same."""
    return {line for line in map(str.strip, text.splitlines()) if len(line) >= 30}


def texts() -> tuple[torch.Tensor, torch.Tensor]:
    """The manual's topics to learn from, and every eighth of them to be judged on.

    Topics that share more than a tenth of their long lines with those are left out.
    """
    names = sorted(topics)
    held = names[::8]
    known = set().union(*(long_lines(topics[name]) for name in held))
    taught = [
        name
        for name in names
        if name not in held
        and len(long_lines(topics[name]) & known) <= 0.1 * len(long_lines(topics[name]))
    ]
    return tuple(
        corpus.as_tensor("\0".join(topics[name] for name in part).encode())
        for part in (taught, held)
    )


def documentation(setup: Setup) -> list[torch.Tensor]:
    """Windows of 512 bytes, evenly from the held-out topics."""
    windows = texts()[1].long().unfold(0, 512, 511)
    keep = min(len(windows), setup.scored // 512)
    return list(windows[torch.linspace(0, len(windows) - 1, keep).long()].split(16))


def scores(model: torch.nn.Module, setup: Setup) -> dict[str, float]:
    """Bits per byte on the held-out topics and on the book's validation text."""
    code = corpus.validation_batches(limit=setup.scored)
    return {
        "docs": bits_per_byte(model, documentation(setup)),
        "code": bits_per_byte(model, code),
    }


def sweep(setup: Setup) -> list[dict]:
    """The runs of the first seed: every kind at every learning rate."""
    return [
        {"kind": kind, "lr": lr, "seed": setup.seeds[0]} for kind in KINDS for lr in setup.rates
    ]


def repeats(setup: Setup, swept: list[dict]) -> list[dict]:
    """The runs of the other seeds: every kind at the rate that learned most in the sweep."""
    best = {
        kind: min((run for run in swept if run["kind"] == kind), key=lambda run: run["docs"])["lr"]
        for kind in KINDS
    }
    return [
        {"kind": kind, "lr": best[kind], "seed": seed} for seed in setup.seeds[1:] for kind in KINDS
    ]


def train(setup: Setup, run: dict, base: torch.nn.Module) -> tuple[torch.nn.Module, float]:
    """The adapted model of one run, and the processor seconds it took."""
    torch.manual_seed(run["seed"])
    knobs, lessons = KINDS[run["kind"]], texts()[0]
    start = base if knobs is None else costlab.add_adapters(base, **knobs)
    batches = [
        corpus.batch(
            lessons, batch=setup.batch_size, context=setup.context, seed=run["seed"], step=step
        )
        for step in range(setup.steps)
    ]
    begin = time.process_time()
    return costlab.heal(start, batches, steps=setup.steps, lr=run["lr"]), (
        time.process_time() - begin
    )


def finish(setup: Setup, run: dict, base: torch.nn.Module, folder: Path) -> dict:
    """Train and score one run; what is recorded of it."""
    model, seconds = train(setup, run, base)
    if STORED.items() <= run.items():
        state = {name: part.bfloat16() for name, part in adapter_state(model).items()}
        save_file(state, folder / "adapter.safetensors")
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    found = {"trained_parameters": trained, "seconds_per_step": seconds / setup.steps}
    return run | scores(model, setup) | found


def estimate(setup: Setup, runs: list[dict], base: torch.nn.Module) -> float:
    """Seconds that `runs` will take, from a few steps of each kind, after some to warm up."""
    few, per_step = replace(setup, steps=TRIAL), {}
    for run in [runs[0], *{run["kind"]: run for run in runs}.values()] if runs else []:
        per_step[run["kind"]] = train(few, run, base)[1] / TRIAL
    return sum(per_step[run["kind"]] * setup.steps for run in runs)


def options() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny form; records nothing")
    parser.add_argument("--keep", type=Path, help="where finished runs are kept (in _build/)")
    parser.add_argument("--steps", type=int, help=f"of each run ({Setup.steps})")
    return parser


def main(argv: list[str] | None = None) -> dict:
    """Make the runs that are not there yet, and record all."""
    args = options().parse_args(argv)
    setup = QUICK if args.quick else Setup()
    setup = replace(setup, steps=args.steps or setup.steps)
    path = args.keep or ROOT / "_build" / f"adapters{'-quick' * args.quick}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    base, done = costlab.load_model(), results.kept(path, asdict(setup))
    runs, total = sweep(setup), len(KINDS) * (len(setup.rates) + len(setup.seeds) - 1)
    left = total - len(done)
    minutes = estimate(setup, runs if left else [], base) / 60 / len(runs) * left
    print(
        f"{len(done)} of {total} runs are there, those left take about {minutes:.0f} minutes, "
        "and their scoring",
        flush=True,
    )
    for later in (False, True):
        for run in results.missing(repeats(setup, done) if later else runs, done):
            done.append(finish(setup, run, base, path.parent))
            results.keep(path, asdict(setup), done)
            print(f"{len(done)}/{total} {json.dumps(done[-1])}", flush=True)
    before = scores(base, setup)
    found = {
        "setup": asdict(setup),
        "docs_before": before["docs"],
        "code_before": before["code"],
        "stored": STORED,
        "runs": done,
    }
    if not args.quick:
        seconds = sum(run["seconds_per_step"] * setup.steps for run in done)
        written = results.record("adapters", found, seconds=seconds)
        shutil.copyfile(
            path.with_name("adapter.safetensors"), written.with_name("adapter.safetensors")
        )
        print(f"written to {written.name}")
    return found


if __name__ == "__main__":
    main()
