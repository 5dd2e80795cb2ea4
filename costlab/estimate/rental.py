"""Dollars per device-hour: what the reader says, or what the catalog knows."""

from functools import cache

from costlab import catalog
from costlab.estimate.checks import number
from costlab.estimate.devices import Accelerator


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
