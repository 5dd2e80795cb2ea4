"""Renting against an interface: dollars per hour, the cost curve against load, the break-even.

Tokenizers cut the same text into different numbers of tokens, so costs are also given per megabyte
of text written. Taught in: notebooks/17_serving.ipynb.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache

from costlab import catalog
from costlab.estimate.checks import number
from costlab.estimate.devices import Accelerator
from costlab.estimate.formulas import formula
from costlab.estimate.record import Record

BYTES_PER_TOKEN = 4.0  # English under the tokenizers of large models; a byte model has 1
HOURS = 730  # of a month, as in formulas.json
LOADS = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 0.9, 0.95)


def price_per_hour(chip: Accelerator, price: float | None) -> float | None:
    """`price`, or the median of the catalog's on-demand prices of `chip`; None where it has none.

    None means that dollars stay unknown in an estimate: they are never taken as zero.

    Raises:
        ValueError: `price` is not a number above zero.
    """
    if price is not None:
        return number("price", price, most=1e6)
    return _catalog_price(chip.id)


@cache
def _catalog_price(id: str) -> float | None:
    known = {row.id for row in catalog.accelerators()}
    if id not in known or not catalog.prices(id, kind="on-demand"):
        return None
    return catalog.price(id).median


@cache
def price_note(id: str) -> str:
    """Where a price from the catalog comes from, and how old it is."""
    found = catalog.price(id)
    age = catalog.aged(found.newest)
    return f"at the catalog's {found}" + ("" if age == found.newest else f", the newest of {age}")


def per_megabyte(
    dollars_per_million_tokens: float, bytes_per_token: float = BYTES_PER_TOKEN
) -> float:
    """Dollars per megabyte (1e6 bytes) of text, from dollars per million tokens.

    Raises:
        ValueError: `bytes_per_token` is not a number above zero.

    Taught in: notebooks/17_serving.ipynb.
    """
    return dollars_per_million_tokens / number("bytes_per_token", bytes_per_token, most=1e4)


@dataclass(frozen=True)
class CurvePoint:
    """The service at one load: a share of what it can serve at the most, promise kept."""

    load: float
    requests_per_s: float
    ttft_p95_seconds: float
    tpot_p95_seconds: float
    dollars_per_million_tokens: float
    dollars_per_megabyte: float


def cost_curve(
    model: object,
    accelerator: str | Accelerator,
    *,
    loads: Sequence[float] = LOADS,
    bytes_per_token: float = BYTES_PER_TOKEN,
    **load: object,
) -> list[CurvePoint]:
    """What a token costs at each load: idle devices are paid for, busy ones answer late.

    Args:
        model, accelerator: as for `serving`, which takes the other keywords (`devices`, `prompt`,
            `generate`, `slo_ttft`, `slo_tpot`, `price`, …).
        loads: shares of the most that can be served, above 0 and below 1.
        bytes_per_token: bytes of text that a token of this model stands for.

    Raises:
        ValueError: a load is out of range, an argument is, or no price is known.

    Taught in: notebooks/17_serving.ipynb.
    """
    from costlab.estimate.serve_cost import serving

    for share in loads:
        number("loads", share, most=0.999)
    most = _capacity(model, accelerator, load)
    points = []
    for share in loads:
        e = serving(model, accelerator, requests_per_s=share * most, **load)
        dollars = _known(e)
        points.append(
            CurvePoint(
                share, share * most, e.ttft_p95_seconds, e.tpot_p95_seconds, dollars,
                per_megabyte(dollars, bytes_per_token),
            )
        )  # fmt: skip
    return points


def _capacity(model: object, accelerator: object, load: dict) -> float:
    """Requests per second at the most, promises kept."""
    from costlab.estimate.serve_cost import serving

    if load.keys() & {"batch", "requests_per_s"}:
        raise ValueError("batch and requests_per_s cannot be given: the load is what is varied.")
    e = serving(model, accelerator, requests_per_s=1e-6, **load)
    if not e.fits:
        raise ValueError(f"model must fit: {e.explain().splitlines()[0]}.")
    if not e.keeps_promise:
        raise ValueError("slo_ttft and slo_tpot must be promises that an idle service can keep.")
    return 1e-6 / e.utilization


def _known(e: object) -> float:
    if e.dollars_per_million_tokens is None:
        raise ValueError(f"price must be given: the catalog has none for {e.accelerator}.")
    return e.dollars_per_million_tokens


@dataclass(frozen=True)
class BreakEven(Record):
    """Renting against an interface paid by the token, for the same requests and text.

    Above `requests_per_s` renting is cheaper; `reachable` says whether the devices can serve as
    much. `api_per_megabyte` and `rent_per_megabyte` (at the fullest load) are dollars per megabyte
    of text written, prompts included in both.
    """

    api: str
    provider: str
    as_of: str
    requests_per_s: float
    most_requests_per_s: float
    reachable: bool
    utilization: float
    api_per_request: float
    api_per_megabyte: float
    rent_per_hour: float
    rent_per_megabyte: float


def break_even(
    model: object,
    accelerator: str | Accelerator,
    *,
    api: str,
    provider: str | None = None,
    bytes_per_token: float = BYTES_PER_TOKEN,
    api_bytes_per_token: float | None = None,
    **load: object,
) -> BreakEven:
    """From how many requests a second renting is cheaper than calling `api`.

    Args:
        model, accelerator, load: as for `cost_curve`.
        api: a model in the catalog's prices, such as 'gpt-4o-mini'.
        provider: whose price [the cheapest].
        bytes_per_token, api_bytes_per_token: bytes of text a token stands for, here and there: the
            same text is so many more tokens where it is smaller [the same].

    Raises:
        ValueError: an argument is out of range, or a price is not known.

    Taught in: notebooks/17_serving.ipynb.
    """
    most = _capacity(model, accelerator, load)
    full = cost_curve(
        model, accelerator, loads=[0.999], bytes_per_token=bytes_per_token, **load
    )[0]  # fmt: skip
    there = number("api_bytes_per_token", api_bytes_per_token or bytes_per_token, most=1e4)
    ratio = bytes_per_token / there
    read, cached, written = api_prices(api, provider)
    prompt, generate = load["prompt"] * ratio, load["generate"] * ratio
    hour = full.dollars_per_million_tokens / 1e6 * full.requests_per_s * load["generate"] * 3600
    f = formula("rent_or_call")(
        prompt=prompt, generate=generate, cached_share=load.get("cached_share", 0.0),
        price_input=read.price, price_cached=cached.price, price_output=written.price,
        dollars_per_hour=hour, bytes_per_token=there,
    )  # fmt: skip
    need = f["break_even_per_s"]
    return BreakEven(
        api, read.provider, read.as_of, need, most, need <= most, need / most, f["per_request"],
        f["per_megabyte"], hour, full.dollars_per_megabyte,
    )  # fmt: skip


def apis() -> list[str]:
    """Interfaces whose price is known for reading and for writing."""
    read, written = ({row.item for row in catalog.prices(kind=k)} for k in ("input", "output"))
    return sorted(read & written)


def api_prices(api: str, provider: str | None = None) -> tuple[catalog.Price, ...]:
    """Prices of tokens read, read from a cache (like the former where none is known), written.

    Raises:
        ValueError: `api` or `provider` is unknown, or has no price.
    """
    read, written = _api(api, "input", provider), _api(api, "output", provider)
    return read, _api(api, "cached-input", read.provider, read), written


def _api(api: str, kind: str, provider: str | None, instead: object = None) -> catalog.Price:
    """The cheapest newest price; `instead` where the interface has no such tier."""
    if instead is not None and not catalog.prices(api, kind=kind, provider=provider):
        return instead
    return min(catalog.price(api, kind=kind, provider=provider).rows, key=lambda row: row.price)
