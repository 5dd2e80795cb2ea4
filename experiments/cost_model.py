"""Fit the few coefficients of the training estimate to published paces, and validate them.

Writes `costlab/estimate/training_constants.json` and `costlab/results/cost_model.json`: errors with
each source and each chip left out of the fit in turn, beside a constant MFU and the nearest row.

    python experiments/cost_model.py
"""

import json
import math
import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import numpy as np

from costlab import catalog, results
from costlab.catalog.records import MemoryPeak
from costlab.estimate import rules, validation
from costlab.estimate.memory import training_memory
from costlab.estimate.validation import Measured

FILE = Path(__file__).parent.parent / "costlab" / "estimate" / "training_constants.json"
# What is fitted: where physics and data sheets put it, and how far it may reasonably be from there.
PRIORS = {
    "products_share": (0.90, 0.10),
    "attention_share": (0.60, 0.25),
    "unfused": (1.50, 0.40),
    "link_share": (0.75, 0.30),
    "fp8_share": (0.85, 0.15),
}
# What is given: too few rows speak of it, or none.
GIVEN = {
    "bandwidth_share": 0.85,
    "network_share": 0.9,
    "fp4_share": 0.7,
    "expert_share": 0.7,
    "overlap": 0.8,
    "straggle": 0.003,
    "fixed": 0.01,
    "launch": 0.0005,
    "link_latency": 1e-5,
    "network_latency": 3e-5,
    "usual_share": 0.78,
    "tflops_per_watt": 1.1,
}
NAMES = list(PRIORS)
MEMORY_RANGE = [0.82, 1.10]  # measured over predicted: wider than few rows from three sources show
HUBER = 0.10  # errors beyond 10 % pull with constant force: a table may be wrong
TRUST = {"read": 1.0, "derived": 1.0, "assumed": 0.7}


def coefficients(x: np.ndarray) -> dict[str, float]:
    """The coefficients at the point `x` (logarithms of the fitted ones)."""
    return GIVEN | {name: float(math.exp(v)) for name, v in zip(NAMES, x, strict=True)}


def weights(rows: list[Measured]) -> np.ndarray:
    """Rows of one table share: twice as many rows do not count twice."""
    sizes = defaultdict(int)
    for row in rows:
        sizes[row.row.group] += 1
    return np.array([TRUST[r.row.trust] / sizes[r.row.group] ** 0.5 for r in rows])


def fit(rows: list[Measured], rounds: int = 8) -> dict[str, float]:
    """Huber regression of log pace by Gauss-Newton, drawn to the priors."""
    prior = np.array([math.log(PRIORS[n][0]) for n in NAMES])
    width = np.array([PRIORS[n][1] for n in NAMES])
    x, w = prior.copy(), weights(rows)
    for _ in range(rounds):
        e = np.array([r.error(coefficients(x)) for r in rows])
        slope = np.empty((len(rows), len(NAMES)))
        for i in range(len(NAMES)):
            step = np.zeros(len(NAMES))
            step[i] = 0.02
            slope[:, i] = (np.array([r.error(coefficients(x + step)) for r in rows]) - e) / 0.02
        pull = w / HUBER**2 * np.minimum(1, HUBER / np.maximum(np.abs(e), 1e-9))
        a = slope.T @ (pull[:, None] * slope) + np.diag(1 / width**2)
        b = slope.T @ (pull * e) + (x - prior) / width**2
        x = x - np.clip(np.linalg.solve(a, b), -0.3, 0.3)
    return coefficients(x)


def left_out(rows: list[Measured], key: str) -> dict[int, dict[str, float]]:
    """For each row, the predictions of what was fitted without its `key` (source or chip)."""
    label = (lambda r: r.source) if key == "source" else (lambda r: r.chip.id)
    found = {}
    for name in sorted({label(r) for r in rows}):
        others = [r for r in rows if label(r) != name and r.kept]
        known = fit(others)
        simple = {"constant": rules.constant_mfu(others), "nearest": rules.nearest_row(others)}
        for i, r in enumerate(rows):
            if label(r) == name:
                found[i] = {"model": r.error(known)}
                logs = {n: math.log(f(r) / r.row.tokens_per_s) for n, f in simple.items()}
                found[i] |= logs
    return found


def summary(errors: list[float]) -> dict[str, float]:
    """Rows, bias, median and 90th percentile of the relative error."""
    off = validation.relative(errors)
    return {
        "rows": len(off),
        "bias": math.exp(median(errors)) - 1,
        "median": median(off),
        "p90": validation.percentile(off, 0.9),
    }


def spread(rows: list[Measured], out: dict, kind: str) -> list[float]:
    """10th and 90th percentile of measured over predicted, each table of rows counting alike.

    Errors with the source left out and with the chip left out are pooled.
    """
    held = [i for i, r in enumerate(rows) if r.kept and r.kind == kind]
    share = weights([rows[i] for i in held])
    ratios = [math.exp(-found[i]["model"]) for found in out.values() for i in held]
    pairs = sorted(zip(ratios, [*share, *share], strict=True))
    total, so_far, ends = sum(w for _, w in pairs), 0.0, []
    for value, w in pairs:
        if len(ends) < 2 and so_far + w > total * (0.1, 0.9)[len(ends)]:
            ends.append(round(value, 3))
        so_far += w
    return ends


def memory_errors() -> list[tuple[MemoryPeak, float]]:
    """Published peaks with predicted over measured."""
    pairs = []
    for row in catalog.memory_peaks():
        model = validation.shape_of(row)
        held = training_memory(model, validation.layout_of(row, model))
        pairs.append((row, sum(held.values()) * 2**30 / 1e9 / row.peak_gb))
    return pairs


def tables(rows: list[Measured], out: dict) -> dict:
    """Errors by what was left out, kind of run and rule; coverage of the ranges by kind."""
    table = {}
    for key, found in out.items():
        for kind in ("dense", "low"):
            held = [i for i, r in enumerate(rows) if r.kept and r.kind == kind]
            for rule in ("model", "constant", "nearest"):
                table[f"{key} {kind} {rule}"] = summary([found[i][rule] for i in held])
    return table


def covered(rows: list[Measured], found: dict, kind: str, ends: list[float]) -> float:
    """Share of rows whose measured pace lies in the range."""
    held = [math.exp(-found[i]["model"]) for i, r in enumerate(rows) if r.kept and r.kind == kind]
    return sum(ends[0] <= ratio <= ends[1] for ratio in held) / len(held)


def main() -> None:
    """Fit, validate, write."""
    start = time.perf_counter()
    rows = list(validation.measured())
    known = fit([r for r in rows if r.kept])
    out = {key: left_out(rows, key) for key in ("source", "chip")}
    ends = {kind: spread(rows, out, kind) for kind in ("dense", "low")}
    peaks = memory_errors()
    ends["memory"] = MEMORY_RANGE
    table = tables(rows, out)
    reach = {f"{key} {kind}": covered(rows, out[key], kind, ends[kind])
             for key in out for kind in ("dense", "low")}  # fmt: skip
    rounded = {name: float(f"{value:.4g}") for name, value in known.items()}
    text = json.dumps({"constants": rounded, "residuals": ends}, indent=1) + "\n"
    part = FILE.with_suffix(".part")
    part.write_text(text)
    part.replace(FILE)
    each = [
        {
            "group": r.row.group,
            "chip": r.chip.id,
            "devices": r.row.devices,
            "params": r.model.params,
            "precision": r.row.precision,
            "sequence": r.row.sequence,
            "recompute": r.row.recompute,
            "kind": r.kind,
            "left_out": validation.LEFT_OUT.get(r.row.group, ""),
            "measured": r.row.tokens_per_s,
            "mfu": r.row.tokens_per_s * r.work / r.chip.peak_flops(r.row.precision),
            "source": out["source"][i],
            "chip_out": out["chip"][i],
        }
        for i, r in enumerate(rows)
    ]
    memory = [
        {"group": r.group, "chip": r.accelerator, "measured": r.peak_gb, "ratio": x}
        for r, x in peaks
    ]
    values = {"fitted": {n: rounded[n] for n in NAMES}, "given": GIVEN, "residuals": ends}
    values |= {"errors": table, "coverage": reach, "memory": memory, "rows": each}
    results.record("cost_model", values, seconds=time.perf_counter() - start)
    for name, value in table.items():
        print(f"{name:25}", {k: round(v, 3) for k, v in value.items()})
    print({n: rounded[n] for n in NAMES}, ends, reach)


if __name__ == "__main__":
    main()
