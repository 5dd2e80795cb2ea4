"""Write `dollars_per_useful(price, peak, mfu)`: dollars for $10^{18}$ useful operations on a device
that costs `price` dollars an hour, whose data sheet promises `peak` operations per second, and
of which a run uses the share `mfu`.

Why: an hour buys peak x 3600 operations, used or not. Only the share `mfu` of them is useful, so
each useful one carries the price of the idle ones beside it.
"""


def dollars_per_useful(price: float, peak: float, mfu: float) -> float:
    """Dollars per quintillion operations."""
    useful = peak * mfu * 3600
    return price / useful * 1e18


answer = dollars_per_useful
