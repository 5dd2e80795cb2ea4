"""Which compute: every accelerator with a price, sized to a load and a promise.

Taught in: notebooks/20_advisor.ipynb.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from costlab import catalog
from costlab.advisor.fleet import Load, Rented, at_work, rented
from costlab.advisor.records import Option, Recommendation, answer, money
from costlab.estimate import Accelerator, Transformer, resolve_accelerator, resolve_model
from costlab.estimate.checks import number
from costlab.estimate.rental import HOURS

FEW = 8  # of the cheapest chips, on which concessions are tried


def compute(
    model: object = "llama-3.1-8b",
    *,
    requests_per_s: float = 2.0,
    prompt: int = 1000,
    generate: int = 250,
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
    weight_bits: float = 16,
    kv_bits: float = 16,
    chips: Sequence[str] | str | None = None,
    budget: float | None = None,
) -> Recommendation:
    """Which accelerator, and how many, serve `model` at the least rent.

    Args:
        model: a catalog id, a Transformer, a config.json.
        requests_per_s: arrivals in the busiest hour, at random.
        prompt, generate: tokens read and written by a request.
        slo_ttft, slo_tpot: promised seconds to the first token and per further token, at p95.
        weight_bits, kv_bits: bits of a weight, and of a number in the cache.
        chips: catalog ids to choose from [all].
        budget: dollars a month [none].

    Raises:
        ValueError: an argument is out of its range, or an id is unknown.

    Taught in: notebooks/20_advisor.ipynb.
    """
    shape = resolve_model(model)
    load = Load(
        requests_per_s=requests_per_s, prompt=prompt, generate=generate, slo_ttft=slo_ttft,
        slo_tpot=slo_tpot, weight_bits=weight_bits, kv_bits=kv_bits,
    )  # fmt: skip
    budget = None if budget is None else number("budget", budget)
    names = [chips] if isinstance(chips, str) else chips or [c.id for c in catalog.accelerators()]
    found = {name: rented(shape, resolve_accelerator(name), load) for name in names}
    options = [_option(name, shape, load, f) for name, f in found.items() if isinstance(f, Rented)]
    left_out = {name: why for name, why in found.items() if isinstance(why, str)}
    apis, without = _interfaces(shape.name, load)
    options = sorted(options + apis, key=lambda o: o.dollars)
    own = [o.name for o in options if o.name in found][:FEW]
    return answer("compute", "month", budget, options, left_out | without,
                  lambda: _concessions(shape, own, load, budget))  # fmt: skip


def _option(name: str, shape: Transformer, load: Load, found: Rented) -> Option:
    e = at_work(shape, resolve_accelerator(name), load, found.devices)
    figures = {
        "devices": found.devices,
        "busy": round(found.busy, 3),
        "first token, s": e.ttft_p95_seconds,
        "next tokens, s": e.tpot_p95_seconds,
    }
    each = found.devices // found.replicas
    words = f"{found.replicas} x {each} devices, {found.busy:.0%} busy in the busiest hour"
    only, *more = catalog.price(name).rows
    if not more:
        when = catalog.aged(only.as_of)
        words += f"; its price is one provider's alone, {only.provider} on {when}"
    return Option(name, found.dollars, found.low, found.high, figures, words)


def _interfaces(model: str, load: Load) -> tuple[list[Option], dict[str, str]]:
    """Who sells the model by the token: options, or left out where a promise is asked for."""
    options, left_out = [], {}
    items = {row.item for row in catalog.prices(kind="output")}
    rows = catalog.price(model, kind="output").rows if model in items else ()
    month = load.requests_per_s * HOURS * 3600
    for row in rows:
        read = catalog.price(model, kind="input", provider=row.provider).median
        dollars = month * (load.prompt * read + load.generate * row.price) / 1e6
        name = f"{row.provider}, by the token"
        if load.slo_ttft is None and load.slo_tpot is None:
            options.append(Option(name, dollars, dollars, dollars))
        else:
            left_out[name] = f"{money(dollars)} a month, but it promises no latency"
    return options, left_out


def _concessions(
    shape: Transformer, chips: Iterable[str], load: Load, budget: float
) -> Iterator[tuple[str, float]]:
    """Words and dollars of every change that was tried."""
    chips = [resolve_accelerator(name) for name in chips]
    tried = {f"weights in {b} bits": {"weight_bits": b} for b in (8, 4) if b < load.weight_bits}
    tried |= {"the cache in 8 bits": {"kv_bits": 8}} if load.kv_bits > 8 else {}
    tried |= {"answers half as long": {"generate": max(1, load.generate // 2)}}
    for name, words in (("slo_ttft", "first token"), ("slo_tpot", "further tokens")):
        promise = getattr(load, name)
        if promise is not None:
            tried[f"twice the time promised for the {words}"] = {name: 2 * promise}
    for words, change in tried.items():
        fleets = [rented(shape, chip, replace(load, **change)) for chip in chips]
        yield from ((words, f.dollars) for f in _cheapest(fleets))
    carried = {_most(shape, chip, load, budget): chip for chip in chips}
    if carried and max(carried) > 0:
        words = f"{max(carried):.3g} requests a second instead of {load.requests_per_s:g}"
        yield f"{words} on {carried[max(carried)]}", budget


def _cheapest(fleets: Iterable[Rented | str]) -> list[Rented]:
    return sorted((f for f in fleets if isinstance(f, Rented)), key=lambda f: f.dollars)[:1]


def _most(shape: Transformer, chip: Accelerator, load: Load, budget: float) -> float:
    """Requests a second that the devices carry which the budget rents; 0 where it rents none."""
    one = rented(shape, chip, replace(load, requests_per_s=1e-6))
    if isinstance(one, str) or one.dollars > budget:
        return 0.0
    return int(budget // one.dollars) * 1e-6 / one.busy
