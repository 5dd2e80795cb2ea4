"""Write `attainable(intensity, peak, bandwidth)`: the most operations per second that a machine
reaches when each byte it carries is used for `intensity` operations. `peak` is in operations per
second, `bandwidth` in bytes per second.

Why: a byte that arrives feeds `intensity` operations, so the memory feeds intensity x bandwidth
of them a second. Nothing computes faster than the peak, however well it is fed.
"""


def attainable(intensity: float, peak: float, bandwidth: float) -> float:
    """The lower of the two ceilings."""
    return min(peak, intensity * bandwidth)


answer = attainable
