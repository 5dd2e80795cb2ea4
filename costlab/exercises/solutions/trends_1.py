"""Write `years_to(factor, target)`: after how many years a value that changes by `factor` each year
has changed by `target`. Fractions of a year count, and both may be below one.

Why: after n years the value is factor to the power n. Set that equal to the target and take
logarithms.
"""

import math


def years_to(factor: float, target: float) -> float:
    """Years until the target is reached."""
    return math.log(target) / math.log(factor)


answer = years_to
