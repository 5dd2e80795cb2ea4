"""Published paces and peaks beside what the model predicts for them, and beside simpler rules.

Taught in: book/validation.md.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from statistics import median

from costlab import catalog
from costlab.catalog.records import MemoryPeak, TrainingStep
from costlab.estimate.devices import Accelerator, resolve_accelerator
from costlab.estimate.layout import Layout, make_layout
from costlab.estimate.shapes import resolve_model
from costlab.estimate.train_time import kind_of, step_parts
from costlab.estimate.transformer import Transformer

# Measurements of what no estimate describes, with the reason; they are shown, but not fitted.
LEFT_OUT = {
    "narayanan-2021-zero-3": "the first months of a new sharding scheme",
    "megatron-golden": "functional tests in deterministic mode",
    "mlperf-reference-lora": "reference code, not tuned",
    "bloomberggpt": "a network of a quarter of the speed that is usual",
}
FLASH = "2022-06-01"  # before fused attention (arXiv:2205.14135) its scores went through memory


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
    def modern(self) -> bool:
        """Whether it was measured with fused attention, as the model assumes."""
        return self.row.as_of >= FLASH

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


# --- simpler rules, each fitted on the other rows alone


def constant_mfu(rows: list[Measured]) -> Callable[[Measured], float]:
    """The usual rule: one share of the peak for all, the median of `rows`."""
    share = median(r.row.tokens_per_s * r.work / r.chip.peak_flops(r.row.precision) for r in rows)
    return lambda r: share * r.chip.peak_flops(r.row.precision) / r.work


def nearest_row(rows: list[Measured]) -> Callable[[Measured], float]:
    """The share of the peak of the most alike of `rows`: model size, devices, precision, length."""

    def distance(a: Measured, b: Measured) -> float:
        logs = ((a.model.active_params, b.model.active_params), (a.row.devices, b.row.devices))
        logs += ((a.layout.sequence, b.layout.sequence),)
        far = sum(abs(math.log(x / y)) for x, y in logs)
        far += 4 * (a.row.precision in ("fp8", "fp4")) != (b.row.precision in ("fp8", "fp4"))
        return far + 2 * (a.row.recompute != b.row.recompute) + 2 * (a.chip.id != b.chip.id)

    def predict(r: Measured) -> float:
        near = min(rows, key=lambda other: distance(r, other))
        share = near.row.tokens_per_s * near.work / near.chip.peak_flops(near.row.precision)
        return share * r.chip.peak_flops(r.row.precision) / r.work

    return predict
