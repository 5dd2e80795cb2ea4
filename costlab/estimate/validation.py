"""Published paces and peaks beside what the model predicts for them.

Taught in: notebooks/23_validation.ipynb.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cache

from costlab import catalog
from costlab.catalog.records import MemoryPeak, TrainingStep
from costlab.estimate.devices import Accelerator, resolve_accelerator
from costlab.estimate.layout import Layout, make_layout
from costlab.estimate.shapes import resolve_model
from costlab.estimate.train_time import constants, kind_of, step_parts
from costlab.estimate.transformer import Transformer

# Measurements of what no estimate describes, with the reason; they are shown, but not fitted.
LEFT_OUT = {
    "narayanan-2021-zero-3": "the first months of a new sharding scheme",
    "megatron-golden": "functional tests in deterministic mode",
    "mlperf-reference-lora": "reference code, not tuned",
    "bloomberggpt": "a network of a quarter of the speed that is usual",
}


@dataclass(frozen=True)
class Measured:
    """A published row with its model, chip and layout resolved."""

    row: TrainingStep
    model: Transformer
    chip: Accelerator
    layout: Layout

    @property
    def source(self) -> str:
        """Who measured: one benchmark, paper or page counts once, whatever its tables."""
        return self.row.group.split("-")[0].split(".")[0]

    @property
    def kind(self) -> str:
        """See `kind_of`."""
        return kind_of(self.model, self.row.precision)

    @property
    def kept(self) -> bool:
        """Whether it is fitted and counted: see `LEFT_OUT`."""
        return self.row.group not in LEFT_OUT

    def pace(self, known: Mapping[str, float] | None = None) -> float:
        """Predicted tokens per second and device."""
        seconds = step_parts(self.model, self.chip, self.layout, known)["step"]["seconds"]
        return self.layout.step_tokens / seconds / self.layout.devices

    def error(self, known: Mapping[str, float] | None = None) -> float:
        """log(predicted / measured)."""
        return math.log(self.pace(known) / self.row.tokens_per_s)

    @property
    def work(self) -> float:
        """Operations of a token, as MFU counts them."""
        return 3 * self.model.forward_flops(self.layout.sequence)


def shape_of(row: TrainingStep | MemoryPeak) -> Transformer:
    """The model of a row, by its id or by its columns."""
    if row.model:
        return resolve_model(row.model)
    return Transformer(
        layers=row.layers,
        hidden=row.hidden,
        heads=row.heads,
        kv_heads=row.kv_heads,
        ffn=row.ffn,
        vocab=row.vocab,
        gated=row.gated,
        tied=row.tied,
        positions=row.positions or 0,
        biases="none" if row.gated else "all",
        norm="rms" if row.gated else "layer",
    )


_LAYOUT = "devices tensor pipeline micro_batch global_batch sequence precision recompute interleave"


def layout_of(row: TrainingStep | MemoryPeak, model: Transformer) -> Layout:
    """The layout of a row."""
    given = {name: getattr(row, name) for name in _LAYOUT.split()}
    more = {name: getattr(row, name, 1) for name in ("context", "expert")}
    return make_layout(model, **given, **more, zero=row.zero or 0, adapters=row.adapters)


@cache
def measured() -> tuple[Measured, ...]:
    """Every published pace of the catalog."""
    rows = []
    for row in catalog.training_steps():
        model = shape_of(row)
        chip = resolve_accelerator(row.accelerator)
        rows.append(Measured(row, model, chip, layout_of(row, model)))
    return tuple(rows)


def percentile(values: Iterable[float], share: float) -> float:
    """The value below which `share` of `values` lie, between neighbors in proportion."""
    ordered = sorted(values)
    place = share * (len(ordered) - 1)
    low = math.floor(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (place - low) * (ordered[high] - ordered[low])


def relative(errors: Iterable[float]) -> list[float]:
    """|predicted / measured - 1| of each log error."""
    return [abs(math.exp(e) - 1) for e in errors]


# Attention that keeps its scores out of memory was published (arXiv:2205.14135).
FUSED = "2022-05-27"
# Bytes a score moves where they are kept. Forward: written by the product, read and written by the
# softmax and by dropout (its mask is a byte), read by the next product. Backward: the same again,
# and the kept ones are read.
SCORE_BYTES = {"forward": 13, "backward": 19}


def with_scores(m: Measured) -> float:
    """log(predicted / measured) if all scores of attention go through memory, as before `FUSED`.

    Nothing is fitted: a score for each head and pair of positions, at the memory's attained speed.

    Taught in: notebooks/23_validation.ipynb.
    """
    lay, known = m.layout, constants()
    forwards = 1 + (lay.recompute != "none")
    each = forwards * SCORE_BYTES["forward"] + SCORE_BYTES["backward"]
    scores = m.model.heads * m.model.layers * lay.sequence**2 / lay.tensor / lay.pipeline
    moved = each * scores * lay.global_batch / lay.data
    more = moved / (m.chip.bandwidth_gbs * 1e9 * known["bandwidth_share"])
    return m.error() - math.log1p(more / step_parts(m.model, m.chip, lay)["step"]["seconds"])


# Why whole tables are missed, for those that are missed most.
REASONS = {
    "narayanan-2021-table-1": "attention not fused yet: its scores went through memory",
    "megatron-readme-2021": "attention not fused yet, and software half a year older still",
    "megatron-2020-a100": "attention not fused yet, on the first software for the chip",
    "mt-nlg": "attention not fused yet, and many short stages",
    "llm.c": "hand-written kernels, with the loss fused into the last matrix",
    "palm": "another family of chips, in one row: exchanges cost it less than assumed",
    "megatron-core-h100": "exchanges hidden behind products; micro-batch not printed",
    "mlperf-v4.0-gpt3": "tuned for a contest; layout inferred, not printed",
    "mlperf-v4.1-gpt3": "tuned for a contest; layout inferred, not printed",
}


def by_group(record: Mapping) -> list[tuple[str, int, float, float, str]]:
    """(table, rows, median of predicted / measured, median error, why), the worst first.

    Args:
        record: `costlab.results.read("cost_model")`.

    Taught in: notebooks/23_validation.ipynb.
    """
    groups: dict[str, list[float]] = {}
    for row in record["rows"]:
        groups.setdefault(row["group"], []).append(row["source"]["model"])
    found = []
    for name, errors in groups.items():
        why = LEFT_OUT.get(name) or REASONS.get(name, "")
        middle = math.exp(percentile(errors, 0.5))
        found.append((name, len(errors), middle, percentile(relative(errors), 0.5), why))
    return sorted(found, key=lambda line: -line[3])


def noise(minimum: int = 3) -> list[tuple[str, int, float]]:
    """Submitters with the same chip, devices, model and batch: (what, how many, max / min).

    What differs between them no estimate can know. Taught in: notebooks/23_validation.ipynb.
    """
    alike: dict[tuple, list[float]] = {}
    for m in measured():
        row = m.row
        if row.group.startswith("mlperf-v"):
            key = (row.group, row.accelerator, row.devices, row.global_batch)
            alike.setdefault(key, []).append(row.tokens_per_s)
    named = ((" ".join(map(str, key[:3])), paces) for key, paces in alike.items())
    return [(name, len(p), max(p) / min(p)) for name, p in named if len(p) >= minimum]
