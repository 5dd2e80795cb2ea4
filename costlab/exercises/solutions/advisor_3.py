"""Write `payback_months(once, before, after)`: after how many whole months a change that costs
`once` dollars has paid for itself, when it lowers the rent from `before` to `after` a month.

Why: each month saves the difference of the two rents. The months are whole, so round up.
"""

import math


def payback_months(once: float, before: float, after: float) -> int:
    """Whole months until it is paid."""
    return math.ceil(once / (before - after))


answer = payback_months
