"""Does a teacher help a small student, and what do the teacher's forward passes cost?

The same student is trained over three seeds: without a teacher, with one at temperatures 1 to 8,
with hidden states to match as well, without one but for as many operations, or about as many
seconds, as with one; and with and without one on little text, read again and again. Writes
`costlab/results/distillation.json`, and beside it the student of one run, fixed beforehand. Run it
alone on the machine: `make experiments`, or `python experiments/distillation.py` (about an hour
on two cores; it says so first). Finished runs are kept in `_build/`: interrupt, and repeat the
command to go on.
"""

import argparse
import hashlib
import json
import shutil
import time
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from statistics import median

import torch

import costlab
from costlab import results
from costlab.compress.distillation import distillation_flops
from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import WEIGHTS
from costlab.lm.trainer import bits_per_byte

ROOT = Path(__file__).resolve().parent.parent
TEMPERATURES = (1.0, 2.0, 4.0, 8.0)
FEATURES = {"model.norm": "model.norm"}  # the last hidden state, which the head reads
TRIAL = 4  # steps of each kind that are timed for the estimate
LITTLE = 32  # batches of the runs on little text, read again and again
EQUAL_TIME = "without teacher, equal time"
# The run whose student is stored for the chapters: the defaults of `distill`, the first seed.
STORED = {"kind": "teacher", "temperature": 2.0, "seed": 0}


@dataclass(frozen=True)
class Setup:
    """The student and how it is trained; bits per byte are those of `scored` bytes."""

    student: Config
    steps: int
    batch_size: int
    context: int
    scored: int
    seeds: tuple[int, ...]
    precision: str = "bf16"
    lr: float = 2e-3
    teacher: str = hashlib.sha256(WEIGHTS.read_bytes()).hexdigest()[:16]


FULL = Setup(
    Config(width=128, layers=2, heads=4, kv_heads=2, head_dim=32, ffn=352, context=512),
    steps=600, batch_size=8, context=256, scored=32_768, seeds=(0, 1, 2),
)  # fmt: skip
QUICK = Setup(
    Config(width=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn=32, context=64),
    steps=2, batch_size=2, context=32, scored=1_024, seeds=(0,),
)  # fmt: skip


def plan(setup: Setup, teacher: LanguageModel) -> list[dict]:
    """Every run: its kind, seed, knobs and number of steps."""
    student = LanguageModel(setup.student)
    factor = distillation_flops(teacher, student, 1) / distillation_flops(None, student, 1)
    kinds = [("without teacher", None, 0.0, setup.steps)]
    kinds += [("teacher", temperature, 0.5, setup.steps) for temperature in TEMPERATURES]
    kinds += [("teacher and hidden states", 2.0, 0.5, setup.steps)]
    kinds += [("without teacher, equal operations", None, 0.0, round(setup.steps * factor))]
    kinds += [("little text, without teacher", None, 0.0, setup.steps)]
    kinds += [("little text, teacher", 2.0, 0.5, setup.steps)]
    names = ("kind", "temperature", "alpha", "steps")
    return [{**dict(zip(names, kind)), "seed": seed} for seed in setup.seeds for kind in kinds]


def equal_time(
    setup: Setup, runs: list[dict], done: list[dict], teacher: LanguageModel
) -> list[dict]:
    """Runs without a teacher for about as many seconds as with one: the two are timed in turn."""
    there = [run for run in done if run["kind"] == EQUAL_TIME]
    if there:
        return [{name: run[name] for name in runs[0]} for run in there]
    pair = [
        next(run for run in runs if run["kind"] == kind) for kind in ("teacher", "without teacher")
    ]
    seconds = [[train(setup, run | {"steps": TRIAL}, teacher)[1] for run in pair] for _ in range(7)]
    ratio = median(with_teacher / without for with_teacher, without in seconds[1:])
    return [
        pair[1] | {"kind": EQUAL_TIME, "seed": seed, "steps": round(setup.steps * ratio)}
        for seed in setup.seeds
    ]


def train(setup: Setup, run: dict, teacher: LanguageModel) -> tuple[LanguageModel, float]:
    """The student of one run, and the seconds it took."""
    torch.manual_seed(run["seed"])
    student = LanguageModel(setup.student)
    start = time.perf_counter()
    student = costlab.distill(
        teacher, student, little_text(setup) if "little" in run["kind"] else None,
        temperature=run["temperature"] or 1.0, alpha=run["alpha"],
        steps=run["steps"], lr=setup.lr, batch_size=setup.batch_size, context=setup.context,
        precision=setup.precision, seed=run["seed"],
        features=FEATURES if "hidden" in run["kind"] else None,
    )  # fmt: skip
    return student, time.perf_counter() - start


def stored_form(setup: Setup, student: LanguageModel) -> LanguageModel:
    """In bf16, and for sequences no longer than it has ever read: beyond them it guesses."""
    stored = LanguageModel(replace(setup.student, context=setup.context))
    stored.load_state_dict(student.state_dict())
    return stored.bfloat16()


def finish(setup: Setup, run: dict, teacher: LanguageModel, folder: Path) -> dict:
    """Train and score one run; what is recorded of it."""
    student, seconds = train(setup, run, teacher)
    if STORED.items() <= run.items():
        costlab.save(stored_form(setup, student), folder / "student.safetensors")
    tokens = run["steps"] * setup.batch_size * setup.context
    billed = teacher if run["alpha"] else None
    return run | {
        "bits_per_byte": bits_per_byte(student, validation(setup)),
        "bytes_read": tokens,
        "operations": distillation_flops(billed, student, tokens),
        "seconds_per_step": seconds / run["steps"],
    }


def little_text(setup: Setup) -> list[torch.Tensor]:
    """The few batches that are read again and again: the same for every run."""
    text, shape = corpus.as_tensor(corpus.training_text()), (setup.batch_size, setup.context)
    draw = partial(corpus.batch, text, batch=shape[0], context=shape[1], seed=0)
    return [draw(step=step) for step in range(LITTLE)]


def validation(setup: Setup) -> list[torch.Tensor]:
    """The fixed slice of validation text."""
    return corpus.validation_batches(context=setup.context, limit=setup.scored)


def estimate(setup: Setup, runs: list[dict], teacher: LanguageModel) -> float:
    """Seconds that `runs` will take, from a few steps of each kind, after some to warm up."""
    per_step = {}
    for run in [runs[0], *{run["kind"]: run for run in runs}.values()] if runs else []:
        _, seconds = train(setup, run | {"steps": TRIAL}, teacher)
        per_step[run["kind"]] = seconds / TRIAL
    return sum(per_step[run["kind"]] * run["steps"] for run in runs)


def options() -> argparse.ArgumentParser:
    """The options of the command."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--quick", action="store_true", help="a tiny form; records nothing")
    parser.add_argument("--keep", type=Path, help="where finished runs are kept (in _build/)")
    parser.add_argument("--steps", type=int, help=f"of each run at equal steps ({FULL.steps})")
    return parser


def main(argv: list[str] | None = None) -> dict:
    """Make the runs that are not there yet, and record all."""
    args = options().parse_args(argv)
    setup = QUICK if args.quick else FULL
    setup = replace(setup, steps=args.steps or setup.steps)
    path = args.keep or ROOT / "_build" / f"distillation{'-quick' * args.quick}.json"
    teacher, done = costlab.load_model(), results.kept(path, asdict(setup))
    runs = plan(setup, teacher)
    runs += equal_time(setup, runs, done, teacher)
    left = results.missing(runs, done)
    print(f"{len(done)} of {len(runs)} runs are there, those left take about "
          f"{estimate(setup, left, teacher) / 60:.0f} minutes", flush=True)  # fmt: skip
    for run in left:
        done.append(finish(setup, run, teacher, path.parent))
        results.keep(path, asdict(setup), done)
        print(f"{len(done)}/{len(runs)} {json.dumps(done[-1])}", flush=True)
    found = {
        "setup": asdict(setup),
        "teacher_parameters": sum(p.numel() for p in teacher.parameters()),
        "student_parameters": sum(p.numel() for p in LanguageModel(setup.student).parameters()),
        "teacher_bits_per_byte": bits_per_byte(teacher, validation(setup)),
        "features": FEATURES,
        "little_text_bytes": LITTLE * setup.batch_size * setup.context,
        "runs": done,
    }
    if not args.quick:
        seconds = sum(run["seconds_per_step"] * run["steps"] for run in done)
        written = results.record("distillation", found, seconds=seconds)
        shutil.copyfile(
            path.with_name("student.safetensors"), written.with_name("student.safetensors")
        )
        print(f"written to {written.name}")
    return found


if __name__ == "__main__":
    main()
