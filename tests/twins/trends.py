"""Twins of the claims of the chapter on trends: the dates dealt out at random, or nothing saved."""

import random
from math import log2

from costlab import catalog
from costlab.advisor.compression import published_loss
from costlab.catalog.trends import Trend, trend, year
from costlab.estimate import resolve_model


def dealt(points: list[tuple[float, float]], groups: list | None = None) -> Trend:
    """The trend of the same values, each at a date that belongs to another one."""
    xs = [x for x, _ in points]
    random.Random(3).shuffle(xs)
    return trend([(x, y) for x, (_, y) in zip(xs, points, strict=True)], groups=groups, draws=200)


CHIPS = [c for c in catalog.accelerators() if c.bf16_tflops and c.power_w]
MODELS = catalog.models()
STEPS = catalog.training_steps()


def no_ridge() -> float:
    """Operations per byte, the years of the chips shuffled."""
    return dealt([(c.year, c.bf16_tflops / c.bandwidth_gbs) for c in CHIPS]).low


def prices_together() -> float:
    """Prices without their groups: dear chips are the new ones."""
    rows = [p for p in catalog.prices(kind="on-demand") if p.unit == "accelerator-hour"]
    return trend([(year(p.as_of), p.price) for p in rows]).high


def runs_turned_round() -> float:
    """The share of the peak, time running backward."""
    runs = [r for r in catalog.published_runs() if r.accelerator and r.device_hours]

    def share(run: object) -> float:
        peak = catalog.accelerator(run.accelerator).peak_flops("bf16")
        return run.flops / (run.device_hours * 3600 * peak)

    return trend([(-year(r.as_of), share(r)) for r in runs]).factor


def sizes_instead_of_caches() -> float:
    """A quantity without a fall: the context of the models."""
    return trend([(year(m.as_of), m.context) for m in MODELS]).high


def shuffled_models() -> float:
    """The share in use, the dates of the models shuffled."""
    return dealt([(year(m.as_of), m.active_params / m.params) for m in MODELS]).high


def nothing_saved() -> float:
    """The same dollars with and without."""
    return 1.0


def free_doubling() -> float:
    """A pace that every device keeps."""
    return trend([(n, 100.0) for n in range(8)]).high


def half_the_pace() -> float:
    """Devices that wait for each other: each doubling halves the pace."""
    return trend([(n, 100.0 / 2**n) for n in range(8)]).low


def requests_of_one_length() -> float:
    """Every model at a context of one length."""
    caches = [(year(m.as_of), 4096 * resolve_model(m.id).kv_bytes_per_token()) for m in MODELS]
    return trend(caches).low


def methods_at_different_bits() -> float:
    """Rounding to the nearest at three bits beside AWQ at four, over what a bit costs either."""
    loss = {}
    for method in ("rtn", "awq"):
        for bits in (3, 4):
            rows = catalog.quality_results(technique="quantization")
            alike = [r for r in rows if (r.method, r.bits, r.group) == (method, bits, 128)]
            losses = sorted(x for r in alike if (x := published_loss(r) or 0) > 0)
            loss[method, bits] = losses[len(losses) // 2]
    one_bit = min(loss[method, 3] / loss[method, 4] for method in ("rtn", "awq"))
    return loss["rtn", 3] / loss["awq", 4] / one_bit


def haste_everywhere() -> float:
    """The published paces in the place of the best layouts."""
    points = [(log2(s.devices), s.tokens_per_s) for s in STEPS]
    alike = [(s.group, s.model, s.layers, s.hidden, s.accelerator, s.precision, s.sequence,
              s.adapters) for s in STEPS]  # fmt: skip
    doubling = trend(points, groups=alike)
    return (1 - doubling.factor) / (1 - doubling.high)


def one_offer_at_a_time() -> float:
    """Prices with their groups."""
    rows = [p for p in catalog.prices(kind="on-demand") if p.unit == "accelerator-hour"]
    points = [(year(p.as_of), p.price) for p in rows]
    return trend(points, groups=[(p.item, p.provider, p.region) for p in rows]).factor


def arithmetic_mean() -> float:
    """A line through the values themselves instead of their logarithms."""
    points = [(c.year, c.memory_gb) for c in CHIPS]
    (first, low), (last, high) = min(points), max(points)
    return abs((high - low) / (last - first) / low)


TWINS = {
    "These lines and the package find the same growth": arithmetic_mean,
    "Operations per byte of bandwidth have grown, chip after chip": no_ridge,
    "The price of the same offer has fallen, year by year": prices_together,
    "The published runs do not use a larger share of the peak each year": runs_turned_round,
    "The cache that a token leaves has shrunk against the model": sizes_instead_of_caches,
    "Sharing keys saves money on long prompts": nothing_saved,
    "Each bit fewer costs more than three times the quality": nothing_saved,
    "Halving the bits saves less the second time, in dollars": nothing_saved,
    "The cache of the longest request that a model reads has grown": requests_of_one_length,
    "Between the methods lies less than between four bits and three": methods_at_different_bits,
    "With the best layout a doubling loses less than the published paces do": haste_everywhere,
    "Each doubling of the devices costs pace": free_doubling,
    "It costs less than a tenth of it": half_the_pace,
    "Models use a smaller share of themselves for each token": shuffled_models,
    "Experts make a token cheaper": nothing_saved,
    "Without groups the fit finds prices that rise": one_offer_at_a_time,
}
