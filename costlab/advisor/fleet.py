"""What a service needs of an accelerator, and its rent: what three questions share."""

from dataclasses import asdict, dataclass, replace

from costlab import catalog, estimate
from costlab.estimate import Accelerator, ServingEstimate, Transformer
from costlab.estimate.checks import number
from costlab.estimate.serve_cost import make_load

FITS = 64  # devices on which it is looked up why no fleet is found


@dataclass(frozen=True, kw_only=True)
class Load:
    """What the service must do: requests a second, tokens of each, seconds promised at p95."""

    requests_per_s: float
    prompt: int
    generate: int
    slo_ttft: float | None = None
    slo_tpot: float | None = None
    weight_bits: float = 16
    kv_bits: float = 16

    def __post_init__(self) -> None:
        asked = asdict(self)
        for name in ("weight_bits", "kv_bits"):
            number(name, asked.pop(name), most=64)
        make_load(**asked | {"requests_per_s": number("requests_per_s", self.requests_per_s)})


@dataclass(frozen=True)
class Rented:
    """A fleet with its rent in dollars a month: at the median price and the estimate's middle.

    `low` is at the cheapest provider and the fast end of the estimate's 80 % range, `high` at the
    dearest and the slow end.
    """

    devices: int
    replicas: int
    busy: float
    dollars: float
    low: float
    high: float


def rented(model: Transformer, chip: Accelerator, load: Load) -> Rented | str:
    """The cheapest fleet that carries `load`, or the sentence that says why there is none."""
    if chip.id not in _priced():
        return "no price is known"
    found = estimate.fleet(model, chip, **asdict(load))
    if found is None:
        return _why_not(model, chip, load)
    prices = catalog.price(chip.id)
    busy = load.requests_per_s / (found.replicas * found.capacity)
    low, high = prices.low / prices.median, prices.high / prices.median
    return Rented(found.devices, found.replicas, busy, found.dollars,
                  found.dollars_low * low, found.dollars_high * high)  # fmt: skip


def at_work(model: Transformer, chip: Accelerator, load: Load, devices: int) -> ServingEstimate:
    """The estimate of so many devices under the load."""
    return estimate.serving(model, chip, devices=devices, **asdict(load))


def _priced() -> set[str]:
    return {row.item for row in catalog.prices(kind="on-demand")}


def _why_not(model: Transformer, chip: Accelerator, load: Load) -> str:
    e = at_work(model, chip, replace(load, requests_per_s=1e-6), FITS)
    if not e.fits:
        return f"the model does not fit on {FITS} of them"
    late = []
    if load.slo_tpot is not None and e.tpot_p95_seconds > load.slo_tpot:
        late.append(f"a token takes {e.tpot_p95_seconds:.3g} s, {load.slo_tpot:g} s is promised")
    if load.slo_ttft is not None and e.ttft_p95_seconds > load.slo_ttft:
        late.append(f"the first takes {e.ttft_p95_seconds:.3g} s, {load.slo_ttft:g} s is promised")
    return "even idle it breaks the promise: " + " and ".join(late or ["it answers too late"])
