"""Write `machines_saved(peak, before, after)`: how many machines fewer a service rents when the
requests per second that one of them serves rise from `before` to `after`. `peak` is the rate of the
busiest hour, and machines are rented whole.

Why: a machine more is needed for any remainder, before and after. So a step may save nothing, and a
small one may save a whole machine.
"""

import math


def machines_saved(peak: float, before: float, after: float) -> int:
    """Whole machines."""
    return math.ceil(peak / before) - math.ceil(peak / after)


answer = machines_saved
