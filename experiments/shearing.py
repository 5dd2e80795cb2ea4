"""Is a small model better cut from a large one, or trained from nothing for as many operations?

The book's model loses a quarter of its parameters: in width, by neurons, or in depth, by a layer.
What is left is healed, and the same shapes are trained from nothing, for as many operations as
scoring and healing took and for several times as many, over three seeds. The parent's own
operations stand beside it, with the number of children that repay them. Writes
`costlab/results/shearing.json`. Run it by `make experiments`, or `python experiments/shearing.py`
(about half an hour on one core; it says so first). It trains on one thread and counts that thread's
processor time, so that what else the machine does is not recorded. Finished runs are kept in
`_build/`: interrupt, and repeat the command to go on.
"""

import argparse
import hashlib
import json
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import mean

import torch

import costlab
from costlab import results
from costlab.bill.counting import flops_per_token
from costlab.calibration import calibration_batches
from costlab.compress.distillation import distillation_flops
from costlab.lm import corpus
from costlab.lm.model import LanguageModel
from costlab.lm.pretrained import WEIGHTS, read_whole
from costlab.lm.trainer import bits_per_byte

ROOT = Path(__file__).resolve().parent.parent
TRIAL = 4  # steps of each shape that are timed for the estimate
# A layer less, and as many parameters less in neurons; how what goes is chosen.
CHILDREN = {
    "width": {"units": "neurons", "to": 680, "score": "activation"},
    "width, neurons at random": {"units": "neurons", "to": 680, "score": "random"},
    "depth": {"units": "layers", "to": 3, "score": "activation"},
}


@dataclass(frozen=True)
class Setup:
    """How both are trained: `steps` of healing, or as many operations from nothing.

    lr: that of the book's model for training from nothing, the default of `heal` for healing.
    windows: of `context` bytes, to score units on. Bits per byte are those of `scored` bytes.
    """

    steps: int
    batch_size: int
    context: int
    windows: int
    scored: int
    times: tuple[int, ...]
    seeds: tuple[int, ...]
    precision: str = "fp32"  # bf16 is emulated, and many times slower, on processors without it
    lr: float = 2e-3
    heal_lr: float = 5e-4
    parent: str = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]


FULL = Setup(
    steps=60, batch_size=8, context=128, windows=64, scored=32_768, times=(1, 2, 4),
    seeds=(0, 1, 2),
)  # fmt: skip
QUICK = Setup(
    steps=2, batch_size=2, context=32, windows=2, scored=1_024, times=(1, 2), seeds=(0,)
)  # fmt: skip


def cut(setup: Setup, parent: LanguageModel) -> dict[str, LanguageModel]:
    """The children, by name, before they are healed."""
    text = calibration_batches(parent, None, windows=setup.windows, context=setup.context)
    return {
        name: costlab.shear(parent, calibration=text, **knobs) for name, knobs in CHILDREN.items()
    }


def scoring_flops(setup: Setup, parent: LanguageModel) -> float:
    """Operations of the parent's forward passes from which units are scored."""
    return float(flops_per_token(parent) * setup.windows * setup.context)


def plan(setup: Setup, parent: LanguageModel, children: dict[str, LanguageModel]) -> list[dict]:
    """Every run: where it starts, which shape, how many times the operations, seed, steps."""
    runs = [("sheared", name, 1) for name in CHILDREN] + [("sheared", "width", setup.times[1])]
    runs += [("from nothing", "width", times) for times in setup.times]
    runs += [("from nothing", "depth", 1)]
    found = []
    for start, child, times in runs:
        per_step = distillation_flops(None, children[child], setup.batch_size * setup.context)
        more = round(scoring_flops(setup, parent) / per_step) if start == "from nothing" else 0
        found.append({"start": start, "child": child, "times": times,
                      "steps": times * setup.steps + more})  # fmt: skip
    return [run | {"seed": seed} for seed in setup.seeds for run in found]


def train(setup: Setup, run: dict, child: LanguageModel) -> tuple[LanguageModel, float]:
    """The model of one run, and the processor seconds it took: the same loop for both."""
    torch.manual_seed(run["seed"])
    sheared = run["start"] == "sheared"
    model = child if sheared else LanguageModel(child.config)
    start = time.process_time()
    model = costlab.heal(
        model, steps=run["steps"], lr=setup.heal_lr if sheared else setup.lr,
        batch_size=setup.batch_size, context=setup.context, precision=setup.precision,
        seed=run["seed"],
    )  # fmt: skip
    return model, time.process_time() - start


def finish(setup: Setup, run: dict, parent: LanguageModel, child: LanguageModel) -> dict:
    """Train and score one run; what is recorded of it."""
    model, seconds = train(setup, run, child)
    tokens = run["steps"] * setup.batch_size * setup.context
    scored = run["start"] == "sheared" and "random" not in run["child"]
    return run | {
        "bits_per_byte": bits_per_byte(model, validation(setup)),
        "bytes_read": tokens,
        "operations": distillation_flops(None, model, tokens)
        + scored * scoring_flops(setup, parent),
        "seconds_per_step": seconds / run["steps"],
    }


def validation(setup: Setup) -> list[torch.Tensor]:
    """The fixed slice of validation text."""
    return corpus.validation_batches(context=setup.context, limit=setup.scored)


def parent_flops(parent: LanguageModel) -> float:
    """Operations that the book's model was trained with, by the recipe in its file."""
    recipe = json.loads(read_whole(WEIGHTS)[1]["recipe"])
    tokens = recipe["steps"] * recipe["batch_size"] * recipe["context"]
    return distillation_flops(None, parent, tokens)


def repaid(runs: list[dict], parent_operations: float) -> dict:
    """Between how many children the parent is repaid; None where the runs set no bound.

    A child saves what training from nothing takes to be as good, less what healing took. Of the
    lengths tried, the longest that is worse is too little, the shortest that is as good is enough.
    """

    def average(start: str, times: int, of: str) -> float:
        kind = {"start": start, "child": "width", "times": times}
        return mean(run[of] for run in runs if kind.items() <= run.items())

    tried = sorted({run["times"] for run in runs if run["start"] == "from nothing"})
    good = average("sheared", 1, "bits_per_byte")
    saved = {n: average("from nothing", n, "operations") - average("sheared", 1, "operations")
             for n in tried}  # fmt: skip
    worse = [n for n in tried if average("from nothing", n, "bits_per_byte") > good]
    enough = [n for n in tried if n not in worse]
    return {
        "at_least": parent_operations / saved[min(enough)] if enough else None,
        "at_most": parent_operations / saved[max(worse)] if worse and max(worse) > 1 else None,
    }


def estimate(setup: Setup, runs: list[dict], children: dict[str, LanguageModel]) -> float:
    """Seconds that `runs` will take, from a few steps of each shape, after some to warm up."""
    per_step = {}
    for run in [runs[0], *{run["child"]: run for run in runs}.values()] if runs else []:
        _, seconds = train(setup, run | {"steps": TRIAL}, children[run["child"]])
        per_step[run["child"]] = seconds / TRIAL
    return sum(per_step[run["child"]] * run["steps"] for run in runs)


def options() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny form; records nothing")
    parser.add_argument("--keep", type=Path, help="where finished runs are kept (in _build/)")
    parser.add_argument("--steps", type=int, help=f"of healing ({FULL.steps})")
    return parser


def main(argv: list[str] | None = None) -> dict:
    """Make the runs that are not there yet, and record all."""
    args = options().parse_args(argv)
    setup = QUICK if args.quick else FULL
    setup = replace(setup, steps=args.steps or setup.steps)
    path = args.keep or ROOT / "_build" / f"shearing{'-quick' * args.quick}.json"
    torch.set_num_threads(1)
    parent, done = costlab.load_model(), results.kept(path, asdict(setup))
    children = cut(setup, parent)
    runs = plan(setup, parent, children)
    left = results.missing(runs, done)
    print(f"{len(done)} of {len(runs)} runs are there, those left take about "
          f"{estimate(setup, left, children) / 60:.0f} minutes", flush=True)  # fmt: skip
    for run in left:
        done.append(finish(setup, run, parent, children[run["child"]]))
        results.keep(path, asdict(setup), done)
        print(f"{len(done)}/{len(runs)} {json.dumps(done[-1])}", flush=True)
    found = describe(setup, parent, children) | {"runs": done}
    found["repaid"] = repaid(done, found["parent"]["operations"])
    if not args.quick:
        seconds = sum(run["seconds_per_step"] * run["steps"] for run in done)
        print(f"written to {results.record('shearing', found, seconds=seconds).name}")
    return found


def describe(setup: Setup, parent: LanguageModel, children: dict[str, LanguageModel]) -> dict:
    """What is recorded beside the runs: the parent, and the children before they were healed."""

    def about(model: LanguageModel) -> dict:
        return {
            "config": asdict(model.config),
            "parameters": sum(p.numel() for p in model.parameters()),
            "bits_per_byte": bits_per_byte(model, validation(setup)),
        }

    return {
        "setup": asdict(setup),
        "knobs": CHILDREN,
        "parent": about(parent) | {"operations": parent_flops(parent)},
        "before_healing": {name: about(child) for name, child in children.items()},
    }


if __name__ == "__main__":
    main()
