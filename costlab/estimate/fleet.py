"""How many whole replicas carry a day's busiest hour, and what they cost in a month.

Taught in: notebooks/17_serving.ipynb.
"""

from dataclasses import dataclass

from costlab.estimate.checks import number
from costlab.estimate.devices import Accelerator
from costlab.estimate.formulas import formula
from costlab.estimate.rental import price_per_hour
from costlab.estimate.serve_cost import layouts, make_load, one_device
from costlab.estimate.serve_queue import Point, at_work
from costlab.estimate.serve_time import residuals

WIDEST = 1024  # devices of one replica, at the most


@dataclass(frozen=True)
class Fleet:
    """The cheapest fleet found: `replicas` of `tensor` x `pipeline` devices, dollars a month.

    `dollars_low` and `dollars_high` are what the fast and the slow end of the estimate's 80 % range
    would need. Dollars are None where no price is known.

    Taught in: notebooks/17_serving.ipynb.
    """

    tensor: int
    pipeline: int
    capacity: float
    replicas: int
    devices: int
    dollars: float | None
    dollars_low: float | None
    dollars_high: float | None


def fleet(
    model: object,
    accelerator: str | Accelerator,
    *,
    requests_per_s: float,
    price: float | None = None,
    weight_bits: float = 16,
    kv_bits: float = 16,
    **load: object,
) -> Fleet | None:
    """The fewest devices in whole replicas that serve so many requests a second, promise kept.

    Args:
        model, accelerator: as for `serving`, which also says what the other keywords mean.
        requests_per_s: in the busiest hour.
        load: `prompt`, `generate`, `cached_share`, `slo_ttft`, `slo_tpot`.

    Returns:
        The fleet; None where no layout fits, or none can keep the promise.

    Raises:
        ValueError: an argument is out of range, or an id is unknown.

    Taught in: notebooks/17_serving.ipynb.
    """
    first = one_device(model, accelerator, weight_bits, kv_bits)
    number("requests_per_s", requests_per_s, most=1e9)
    asked = make_load(**load)
    replicas = layouts(first, WIDEST, None, asked.tokens)
    fitting = [r for r in replicas if r.capacity(asked.tokens) >= 1]
    points = [p for r in fitting if (p := at_work(r, r.devices, asked)).kept]
    found = [_fleet(p, requests_per_s, price_per_hour(first.chip, price)) for p in points]
    return min(found, key=lambda f: f.devices, default=None)


def _fleet(point: Point, rate: float, price: float | None) -> Fleet:
    replica, (slow, fast) = point.replica, residuals("throughput")
    asked = {"rate": rate, "replica_devices": replica.devices, "price": price or 0.0}
    middle, low, high = (
        formula("fleet")(capacity=point.capacity * pace, **asked) for pace in (1.0, fast, slow)
    )
    dollars = [None if price is None else end["per_month"] for end in (middle, low, high)]
    return Fleet(
        replica.tensor, replica.pipeline, point.capacity, middle["replicas"], middle["devices"],
        *dollars,
    )  # fmt: skip
