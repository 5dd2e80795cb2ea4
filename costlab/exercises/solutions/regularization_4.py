"""Write `least_strength(slopes, size)`: the least strength at which the group lasso sets all
weights to zero. `slopes` are those of the loss where all weights are zero; each `size` of them,
in their order, belong to one group, and the loss is convex.

Why: a group may stay at zero as long as the length of its slope is at most the strength. The
group that is pulled hardest decides.
"""

import math


def least_strength(slopes: list[float], size: int) -> float:
    """The length of the longest slope of a group."""
    groups = [slopes[start : start + size] for start in range(0, len(slopes), size)]
    return max(math.hypot(*group) for group in groups)


answer = least_strength
