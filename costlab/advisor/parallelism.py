"""Which way to train on many devices: data, gradient or model parallel, and how many devices.

Taught in: notebooks/20_advisor.ipynb.
"""

from collections.abc import Iterator, Sequence

from costlab import catalog
from costlab.advisor.records import Option, Recommendation, answer
from costlab.estimate import SearchResult, resolve_accelerator, resolve_model, search
from costlab.estimate.checks import number, whole

ALONE = {"tensor": 1, "pipeline": 1, "context": 1, "interleave": 1}
METHODS = {
    "data parallel": ALONE | {"zero": 0},
    "gradient parallel": ALONE | {"zero": (1, 2, 3)},
    "model parallel": {"zero": 0},
    "all together": {},
}
DAY = 24.0


def parallelism(
    model: object = "llama-3.1-8b",
    *,
    tokens: float = 1e11,
    accelerator: str = "h100-sxm",
    devices: int | Sequence[int] = (1, 8, 64, 512),
    global_batch: int | None = None,
    sequence: int | None = None,
    precision: str = "bf16",
    adapters: int | None = None,
    days: float | None = None,
    budget: float | None = None,
) -> Recommendation:
    """Which distribution trains `model` on `tokens` at the least cost, in `days` at the most.

    Args:
        model, accelerator, global_batch, sequence, precision, adapters: as for `search`.
        tokens: tokens of the run.
        devices: how many, or several numbers to choose from.
        days: wall-clock days it may take [any].
        budget: dollars for the run [none].

    Raises:
        ValueError: an argument is out of its range, or an id is unknown.

    Taught in: notebooks/20_advisor.ipynb.
    """
    shape, chip = resolve_model(model), resolve_accelerator(accelerator)
    tokens = number("tokens", tokens)
    counts = [devices] if isinstance(devices, int | float) else list(devices)
    counts = [whole("devices", n, most=10**5) for n in counts]
    days = None if days is None else number("days", days)
    budget = None if budget is None else number("budget", budget)
    if not catalog.prices(chip.id, kind="on-demand"):
        raise ValueError(f"accelerator must be one with a known price, got {accelerator!r}.")
    asked = {"tokens": tokens, "global_batch": global_batch, "sequence": sequence,
             "precision": precision, "adapters": adapters}  # fmt: skip
    options, left_out = _options(shape, chip, counts, asked, days)
    return answer("parallelism", "run", budget, options, left_out,
                  lambda: _concessions(shape, chip, counts, asked, days, budget))  # fmt: skip


def _options(shape, chip, counts, asked, days) -> tuple[list[Option], dict[str, str]]:
    options, left_out = [], {}
    for devices in counts:
        seen = set()
        for method, axes in METHODS.items():
            name = f"{devices:,} devices, {method}" if devices > 1 else "1 device"
            if name in left_out or (devices == 1 and seen):
                continue
            found = _search(shape, chip, devices, asked, axes)
            why = found if isinstance(found, str) else _fault(found, days)
            if why:
                left_out[name] = why
            elif found.best[0].layout not in seen:
                seen.add(found.best[0].layout)
                options.append(_option(name, found, chip))
    return sorted(options, key=lambda o: o.dollars), left_out


def _search(shape, chip, devices: int, asked: dict, axes: dict) -> SearchResult | str:
    try:
        return search(shape, chip, devices=devices, top=1, **asked, **axes)
    except ValueError as error:
        if "must hold a layout" not in str(error):
            raise
        return "the batch does not divide among so many devices"


def _fault(found: SearchResult, days: float | None) -> str | None:
    if not found.best:
        e = found.closest
        return f"needs {e.memory_gib_per_device_high:.0f} GiB of {e.memory_limit_gib:g} on a device"
    took = found.best[0].wall_hours / DAY
    return f"takes {took:,.0f} days, {days:g} are allowed" if days and took > days else None


def _option(name: str, found: SearchResult, chip) -> Option:
    e, prices = found.best[0], catalog.price(chip.id)
    figures = {"days": e.wall_hours / DAY, "MFU": e.mfu, "GiB": e.memory_gib_per_device}
    low, high = (e.device_hours * price for price in (prices.low, prices.high))
    return Option(name, e.dollars, low, high, figures, e.layout)


def _concessions(shape, chip, counts, asked, days, budget) -> Iterator[tuple[str, float]]:
    """Words and dollars of every change that was tried."""
    changes = {"fp8 in the layers' products": {"precision": "fp8"},
               "adapters of rank 16 instead of all weights": {"adapters": 16}}  # fmt: skip
    if "fp8" not in chip.tflops or asked["precision"] in ("fp8", "fp4"):
        changes.pop("fp8 in the layers' products")
    if asked["adapters"] is not None:
        changes.popitem()
    for words, change in changes.items():
        options, _ = _options(shape, chip, counts, asked | change, days)
        yield from ((words, o.dollars) for o in options[:1])
    now, _ = _options(shape, chip, counts, asked, days)
    if now:
        share = budget / now[0].dollars
        yield f"{asked['tokens'] * share:.3g} tokens instead of {asked['tokens']:.3g}", budget
        yield "the cheapest provider of the chip", now[0].low
    if days:
        late, _ = _options(shape, chip, counts, asked, None)
        yield from ((f"{o.figures['days']:,.0f} days", o.dollars) for o in late[:1])
