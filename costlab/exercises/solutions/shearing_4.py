"""Write `children_to_repay(parent, from_nothing, sheared)`: how many children have to be cut out of
a parent until they have saved what its training cost. `from_nothing` is what a child costs that is
trained from nothing and is as good, `sheared` what cutting and healing one costs; the first is
larger.

Why: each child saves the difference. The number is rounded up, because with one child fewer
something of the parent would still be unpaid.
"""

import math


def children_to_repay(parent: float, from_nothing: float, sheared: float) -> int:
    """Whole children until the parent is paid."""
    saved = from_nothing - sheared
    return math.ceil(parent / saved)


answer = children_to_repay
