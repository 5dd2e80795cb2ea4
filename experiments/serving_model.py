"""Fit the few coefficients of the serving estimate, and validate what they predict.

`python experiments/serving_model.py` reads the published measurements of serving in the catalog,
fits the coefficients on all of them, predicts every source by a fit that never saw it and every
chip likewise, writes `costlab/estimate/serving_constants.json` (coefficients, and the residuals
from which ranges are made) and the record `costlab/results/serving_model.json`.

Sources weigh as the square root of their rows: a long table does not drown a short one.
Coefficients are fitted as logarithms, drawn towards a starting value that physics or a data sheet
suggests: what the rows do not tell stays put.
"""

from __future__ import annotations

import json
import math
import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

import numpy as np

from costlab import catalog, results
from costlab.estimate.devices import resolve_accelerator
from costlab.estimate.serve_cost import best
from costlab.estimate.serve_queue import Load
from costlab.estimate.serve_time import Replica
from costlab.estimate.shapes import resolve_model

FILE = Path(__file__).resolve().parent.parent / "costlab/estimate/serving_constants.json"
BITS = {"fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "fp4": 4, "int4": 4}
FIXED = {
    "memory_share": 0.92,  # what engines leave for weights and cache (0.90 to 0.95)
    "workspace_gib": 1.5,  # activations and buffers
    "usual_share": 0.78,  # median of measured matrix products over data-sheet peaks
    "tflops_per_watt": 1.1,  # of bf16; H100 1.13, MI300X 0.89, A100 0.68
    "step_overhead": 0.0,
}
START = {
    "bandwidth_share": 0.88,
    "narrow_read_share": 0.9,
    "matmul_share": 0.85,
    "fp4_share": 0.7,
    "attention_share": 0.5,
    "expert_share": 0.6,
    "link_share": 0.7,
    "exchange_latency": 4e-6,
    "layer_overhead": 60e-6,  # ten kernels of six microseconds
    "sequence_overhead": 6e-6,
}
LOOSENESS = 0.35  # standard deviation of a coefficient's logarithm around its start
TIGHT = {"bandwidth_share": 0.04}  # measured on many chips: 0.85 to 0.93
NOISE = 0.15  # of a measurement's logarithm
CAPPED_BANDWIDTH = 1700  # GB/s that gpt-fast's authors attain on their A100s, capped at 330 W
SKIPPED = ("host-bound", "power limited")


@dataclass(frozen=True)
class Row:
    """One measurement and what it is a measurement of."""

    kind: str
    source: str
    model: str
    chip: str
    devices: int
    tensor: int | None
    precision: str
    load: Load
    value: float
    capped: bool

    def predict(self, known: dict[str, float]) -> float:
        """Tokens per second."""
        bits = BITS[self.precision]
        kv = 8 if self.precision in ("fp8", "fp4") else 16
        chip = resolve_accelerator(self.chip)
        if self.capped:
            chip = replace(chip, bandwidth_gbs=CAPPED_BANDWIDTH / known["bandwidth_share"])
        first = Replica(resolve_model(self.model), chip, 1, 1, bits, kv, known)
        point = best(first, self.devices, self.tensor, self.load)
        return point.rate * point.replicas * self.load.generate


def rows() -> list[Row]:
    """Every measurement of the catalog that the estimate should reproduce."""
    found = []
    for r in catalog.serving_results():
        if any(word in r.note for word in SKIPPED):
            continue
        made = _row(r)
        if made:
            found.append(made)
    return found


def _row(r: catalog.ServingResult) -> Row | None:
    if r.kind in ("decode", "decode latency"):
        value = r.value if r.unit == "tokens/s" else 1000 / r.value
        return _make("decode", r, Load(5, 200, batch=1), value, r.devices)
    if r.kind == "throughput":
        load = Load(r.prompt, r.generate, batch=r.concurrency)
        return _make("decode" if r.concurrency == 1 else "load", r, load, r.value, 2, "h100-sxm")
    if r.kind == "batch sweep":
        load = Load(r.prompt, r.generate, batch=r.concurrency)
        return _make("decode" if r.concurrency == 1 else "load", r, load, r.value, r.devices)
    if r.kind == "server":  # first token in 2 s, further ones in 0.2 s: never fitted
        load = Load(r.prompt, r.generate, slo_ttft=2.0, slo_tpot=0.2)
        return _make("server", r, load, r.value, None)
    if r.kind == "offline":
        tensor = r.devices if "over all devices" in r.note else None
        return _make("offline", r, Load(r.prompt, r.generate), r.value, tensor)
    return None


def _make(kind, r, load, value, tensor, chip=None) -> Row:
    words = r.software.replace(":", " ").replace(",", " ").split()
    source = "MLPerf v4.1" if words[0] == "MLPerf" else words[0]
    return Row(kind, source, r.model, chip or r.accelerator, r.devices, tensor,
               r.precision, load, value, "330 W" in r.note)  # fmt: skip


def errors(some: list[Row], known: dict[str, float]) -> np.ndarray:
    """Logarithm of predicted over measured."""
    return np.array([math.log(row.predict(known) / row.value) for row in some])


def fit(some: list[Row], begin: dict[str, float] | None = None) -> dict[str, float]:
    """Coefficients that predict `some` (Huber loss, Gauss-Newton).

    `begin` is where the search starts; what it is drawn towards is START all the same.
    """
    names = list(START)
    start = np.log([START[n] for n in names])
    loose = np.array([TIGHT.get(n, LOOSENESS) for n in names])
    size = {s: sum(row.source == s for row in some) for s in {row.source for row in some}}
    weight = np.array([(len(some) / len(size) / size[row.source]) ** 0.25 for row in some])

    def known(x: np.ndarray) -> dict[str, float]:
        return FIXED | {n: float(v) for n, v in zip(names, np.exp(x), strict=True)}

    def pull(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        e = errors(some, known(x)) / NOISE
        w = weight * np.where(np.abs(e) < 1, 1, 1 / np.sqrt(np.maximum(np.abs(e), 1)))
        return e, w

    x = np.log([(begin or START)[n] for n in names])
    for _ in range(10):
        e, w = pull(x)
        slopes = np.empty((len(some), len(x)))
        for i in range(len(x)):
            nudged = x.copy()
            nudged[i] += 0.02
            slopes[:, i] = (errors(some, known(nudged)) / NOISE - e) / 0.02
        left = (slopes * w[:, None]).T @ (slopes * w[:, None]) + np.diag(loose**-2)
        right = -(slopes * w[:, None]).T @ (e * w) - (x - start) / loose**2
        step = np.clip(np.linalg.solve(left, right), -0.3, 0.3)
        x = np.minimum(x + step, 0.0)  # a share is at most 1
        if np.abs(step).max() < 0.01:
            break
    return known(x)


def held_out(every: list[Row], what: str, begin: dict[str, float]) -> dict[int, float]:
    """Error of each row when its source, or its chip, is left out of the fit."""
    found = {}
    for value in sorted({getattr(row, what) for row in every}):
        known = fit([row for row in every if getattr(row, what) != value], begin)
        for i, row in enumerate(every):
            if getattr(row, what) == value:
                found[i] = float(errors([row], known)[0])
    return found


def summary(every: list[Row], error: dict[int, float], kinds: tuple[str, ...]) -> dict:
    """Median and 90th percentile of the relative miss, over configurations that differ."""
    misses = [abs(math.expm1(error[i])) for i in unique(every) if every[i].kind in kinds]
    return {
        "rows": len(misses),
        "median": round(median(misses), 4),
        "p90": round(float(np.quantile(misses, 0.9)), 4),
    }


def unique(every: list[Row]) -> list[int]:
    """One row of each configuration: submitters that ran the same machine are noise, not rows."""
    first: dict[tuple, list[int]] = {}
    for i, row in enumerate(every):
        first.setdefault(
            (row.source, row.model, row.chip, row.devices, row.precision, row.load), []
        )
        first[row.source, row.model, row.chip, row.devices, row.precision, row.load].append(i)
    return [sorted(g, key=lambda i: every[i].value)[len(g) // 2] for g in first.values()]


def spread(every: list[Row], error: dict[int, float], kinds: tuple[str, ...]) -> list[float]:
    """10th and 90th percentile of measured over predicted, sources left out in turn."""
    ratios = [math.exp(-error[i]) for i in unique(every) if every[i].kind in kinds]
    return [round(float(np.quantile(ratios, q)), 4) for q in (0.1, 0.9)]


def main() -> None:
    """Fit, validate, write."""
    began = time.perf_counter()
    found = rows()
    every = [row for row in found if row.kind != "server"]
    promised = [row for row in found if row.kind == "server"]
    known = fit(every)
    by_source, by_chip = (held_out(every, what, known) for what in ("source", "chip"))
    fitted = dict(enumerate(map(float, errors(every, known))))
    kinds = {"decode": ("decode",), "throughput": ("offline", "load")}
    report = {
        how: {kind: summary(every, error, names) for kind, names in kinds.items()}
        for how, error in (
            ("fitted", fitted),
            ("unseen source", by_source),
            ("unseen chip", by_chip),
        )
    }
    kept = dict(enumerate(map(float, errors(promised, known))))
    report["never fitted"] = {"promised": summary(promised, kept, ("server",))}
    listed = [
        {
            "kind": row.kind, "source": row.source, "model": row.model, "chip": row.chip,
            "devices": row.devices, "precision": row.precision, "prompt": row.load.prompt,
            "generate": row.load.generate, "batch": row.load.batch, "measured": row.value,
            "fitted": round(math.exp(fitted[i]), 3),
            "unseen_source": round(math.exp(by_source[i]), 3),
            "unseen_chip": round(math.exp(by_chip[i]), 3),
        }
        for i, row in ((i, every[i]) for i in unique(every))
    ]  # fmt: skip
    content = {
        "constants": {n: float(f"{v:.4g}") for n, v in known.items()},
        "residuals": {kind: spread(every, by_source, names) for kind, names in kinds.items()},
    }
    part = FILE.with_suffix(".part")
    part.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    os.replace(part, FILE)
    results.record(
        "serving_model", {"summary": report, "rows": listed}, seconds=time.perf_counter() - began
    )
    print(json.dumps(content, indent=1), json.dumps(report, indent=1), sep="\n")


if __name__ == "__main__":
    main()
