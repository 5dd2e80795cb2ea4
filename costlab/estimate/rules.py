"""Simpler rules and the public formulas of other calculators, to stand beside the estimate.

Taught in: notebooks/23_validation.ipynb.
"""

import math
from collections.abc import Callable, Sequence
from statistics import median

from costlab.estimate.devices import BITS
from costlab.estimate.layout import Layout
from costlab.estimate.train_cost import step_flops
from costlab.estimate.transformer import Transformer
from costlab.estimate.validation import Measured

GIB = 2**30
Rule = Callable[[Measured], float]


def constant_mfu(rows: Sequence[Measured]) -> Rule:
    """One share of the peak for all: the median of `rows`. Tokens per second and device."""
    share = median(r.row.tokens_per_s * r.work / r.chip.peak_flops(r.row.precision) for r in rows)
    return lambda r: share * r.chip.peak_flops(r.row.precision) / r.work


def nearest_row(rows: Sequence[Measured]) -> Rule:
    """The share of the peak of the most alike of `rows`: size, devices, length, precision, chip."""

    def distance(a: Measured, b: Measured) -> float:
        logs = ((a.model.active_params, b.model.active_params), (a.row.devices, b.row.devices))
        logs += ((a.layout.sequence, b.layout.sequence),)
        narrow = (BITS[a.row.precision] < 16) != (BITS[b.row.precision] < 16)
        other = 2 * (a.row.recompute != b.row.recompute) + 2 * (a.chip.id != b.chip.id)
        return sum(abs(math.log(x / y)) for x, y in logs) + 4 * narrow + other

    def predict(r: Measured) -> float:
        near = min(rows, key=lambda other: distance(r, other))
        share = near.row.tokens_per_s * near.work / near.chip.peak_flops(near.row.precision)
        return share * r.chip.peak_flops(r.row.precision) / r.work

    return predict


def forty_percent(r: Measured) -> float:
    """The rule of thumb: 6 operations a parameter and token, at 40 % of the peak."""
    return 0.4 * r.chip.peak_flops(r.row.precision) / (6 * r.model.active_params)


def half_of_peak(r: Measured) -> float:
    """llm-analysis (cli99/llm-analysis @d841e40): all operations at the 0.5 its README suggests."""
    _, computed = step_flops(r.model, r.layout)
    return 0.5 * r.chip.peak_flops(r.row.precision) / computed


PACES: dict[str, Rule] = {
    "6 operations a parameter, 40 % of peak": forty_percent,
    "llm-analysis, half of the peak": half_of_peak,
}


def four_weights(model: Transformer, lay: Layout) -> float:
    """Hugging Face accelerate: four times the weights for training with Adam. GiB."""
    return 4 * model.params * BITS[lay.precision] / 8 / GIB


def states_alone(model: Transformer, lay: Layout) -> float:
    """DeepSpeed's estimators: 16 bytes a parameter, sharded as told; no activations. GiB."""
    cut = [2, 2, 12]
    for part in range(3):
        cut[part] /= lay.data if lay.zero >= 3 - part else 1
    return sum(cut) * model.params / lay.tensor / lay.pipeline / GIB


def megatron_theory(model: Transformer, lay: Layout) -> float:
    """Megatron-LM (theoretical_memory_usage.py): states, and sbh (18 + 4 ffn / h) a layer. GiB."""
    local = model.params / lay.tensor / lay.pipeline
    states = (6 + 12 / lay.data if lay.zero else 18) * local
    each = lay.sequence * lay.micro_batch * model.hidden * (18 + 4 * model.ffn / model.hidden)
    return (states + each * model.layers / lay.tensor) / GIB


PEAKS: dict[str, Callable[[Transformer, Layout], float]] = {
    "accelerate, four times the weights": four_weights,
    "DeepSpeed, states alone": states_alone,
    "Megatron-LM, its theory": megatron_theory,
}
