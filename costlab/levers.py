"""A service's bill from five numbers, and what would lower it: levers, ranked by dollars.

What a lever changes stands in `levers.json`, with its risk and the days of work assumed for it; a
page's script reads the same file. Every lever is priced by the same estimate as today's bill.
Taught in: notebooks/17_serving.ipynb.
"""

import json
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from costlab import catalog
from costlab.estimate.checks import choice, number
from costlab.estimate.devices import resolve_accelerator
from costlab.estimate.fleet import fleet
from costlab.estimate.formulas import formula
from costlab.estimate.rental import api_prices, apis, price_per_hour
from costlab.estimate.serve_cost import make_load
from costlab.estimate.shapes import resolve_model

MOST = 5  # levers that are listed
RECENT = "2024-01-01"  # models older than this are not suggested
_PROMISE = ("slo_ttft", "slo_tpot")


@dataclass(frozen=True)
class Lever:
    """One way to pay less: `dollars` a month instead of today's; `payback_days` after its work.

    `picked` names the model, chip or interface where the lever chooses one. `low` and `high` are
    the ends of the 80 % range where devices are rented.

    Taught in: notebooks/17_serving.ipynb.
    """

    name: str
    label: str
    dollars: float
    low: float
    high: float
    saved: float
    days: float
    payback_days: float
    risk: str
    why: str
    chapter: str
    picked: str = ""


@dataclass(frozen=True, kw_only=True)
class Service:
    """What is asked of a service in a day, and how it is paid for today.

    Args:
        requests_per_day: on average.
        prompt, generate: tokens read and written by a request.
        shared: share of a prompt (0 to 1) that other prompts begin with too.
        peak: the busiest hour's requests over those of the mean hour.
        pays: "rent" for devices by the hour (16 bits, no shared prefixes, enough for the busiest
            hour), "call" for an interface by the token.
        model, accelerator, price: what is rented, or would be; dollars per device-hour.
        api: what is called, or would be.
        slo_ttft, slo_tpot: as for `serving`.

    Raises:
        ValueError: a number is absurd, or a name is unknown.

    Taught in: notebooks/17_serving.ipynb.
    """

    requests_per_day: float
    prompt: int
    generate: int
    shared: float = 0.0
    peak: float = 2.5
    pays: str = "rent"
    model: str = "llama-3.1-8b"
    accelerator: str = "h100-sxm"
    price: float | None = None
    api: str = "gpt-4o-mini"
    slo_ttft: float | None = None
    slo_tpot: float | None = None

    def __post_init__(self) -> None:
        number("requests_per_day", self.requests_per_day, most=1e12)
        number("peak", self.peak, most=1e3)
        choice("pays", self.pays, ("rent", "call"))
        choice("api", self.api, apis())
        given = {name: getattr(self, name) for name in ("prompt", "generate", *_PROMISE)}
        make_load(**given, cached_share=self.shared)

    def rent(self, *, follow: bool = False, **change: object) -> tuple[float, ...] | None:
        """Dollars a month for the busiest hour, with low and high end; None where impossible."""
        named = ("model", "accelerator", "price", "prompt", "generate", *_PROMISE)
        asked = {name: getattr(self, name) for name in named} | change
        if price_per_hour(resolve_accelerator(asked["accelerator"]), asked["price"]) is None:
            return None
        rate = self.requests_per_day / 86400
        found = fleet(**asked, requests_per_s=rate if follow else rate * self.peak)
        if found is None:
            return None
        more = 1 / found.replicas if follow else 0
        return tuple(d * (1 + more) for d in (found.dollars, found.dollars_low, found.dollars_high))

    def call(
        self, *, api: str = "", cached_share: float = 0.0, **change: object
    ) -> tuple[float, ...]:
        """Dollars a month for calling an interface: three times the same, for it is certain."""
        read, cached, written = api_prices(api or self.api)
        lengths = {"prompt": self.prompt, "generate": self.generate} | change
        each = formula("rent_or_call")(
            **lengths, cached_share=cached_share, price_input=read.price, dollars_per_hour=0.0,
            price_cached=cached.price, price_output=written.price, bytes_per_token=1.0,
        )["per_request"]  # fmt: skip
        month = formula("calls")(per_request=each, requests_per_day=self.requests_per_day)
        return (month["per_month"],) * 3


def levers(
    service: Service, *, day_rate: float = 800.0
) -> tuple[tuple[float, ...] | None, list[Lever]]:
    """Today's dollars a month, and the five levers that save the most of them.

    Args:
        service: what is asked, and how it is paid for.
        day_rate: dollars that a day of work costs.

    Returns:
        (dollars, low end, high end) a month, None where it cannot be served so; the levers.

    Raises:
        ValueError: `day_rate` is not a number above zero.

    Taught in: notebooks/17_serving.ipynb.
    """
    number("day_rate", day_rate, most=1e6)
    today = service.rent() if service.pays == "rent" else service.call()
    if today is None:
        return None, []
    found = []
    for row in table():
        if row["on"] in (service.pays, "both"):
            after, picked = _after(service, row)
            if after and after[0] < today[0]:
                found.append(_lever(row, picked, today[0], after, day_rate))
    return today, sorted(found, key=lambda lever: -lever.saved)[:MOST]


@cache
def table() -> list[dict]:
    """The levers as they stand in `levers.json`."""
    return json.loads(files("costlab").joinpath("levers.json").read_text(encoding="utf-8"))


def _after(service: Service, row: dict) -> tuple[tuple[float, ...] | None, str]:
    """Dollars a month once the lever is pulled, None where it cannot be; and what it picks."""
    change = dict(row.get("set", {}))
    for name, times in row.get("times", {}).items():
        change[name] = max(1, int(getattr(service, name) * times))
    if row.get("shared"):
        change["cached_share"] = service.shared
    if row.get("follow"):
        change["follow"] = True
    if row.get("smaller"):
        model = smaller(service.model)
        return _cheapest({model: service.rent(model=model) if model else None})
    if row.get("chip"):
        ids = [chip.id for chip in catalog.accelerators()]
        return _cheapest({id: service.rent(accelerator=id, price=None) for id in ids})
    if row.get("api"):
        names = [service.api] if service.pays == "rent" else apis()
        return _cheapest({name: service.call(api=name) for name in names})
    if service.pays == "rent" or row.get("rent"):
        return service.rent(**change), ""
    return service.call(**change), ""


def _cheapest(known: dict) -> tuple[tuple[float, ...] | None, str]:
    found = {name: ends for name, ends in known.items() if ends}
    picked = min(found, key=lambda name: found[name][0], default="")
    return found.get(picked), picked


def smaller(model: str) -> str | None:
    """The largest recent model of the catalog with at most half the parameters of `model`."""
    most = resolve_model(model).params / 2
    known = [row for row in catalog.models() if row.params <= most and row.as_of >= RECENT]
    return max(known, key=lambda row: row.params).id if known else None


def _lever(
    row: dict, picked: str, today: float, after: tuple[float, ...], day_rate: float
) -> Lever:
    paid = formula("payback")(today=today, after=after[0], days=row["days"], day_rate=day_rate)
    words = {name: row[name] for name in ("name", "label", "days", "risk", "why", "chapter")}
    dollars, low, high = after
    return Lever(**words, picked=picked, dollars=dollars, low=low, high=high,
                 saved=paid["saved"], payback_days=paid["payback_days"])  # fmt: skip
