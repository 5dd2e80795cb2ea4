"""Write `first_of_group(weights, strength, lr)`: what the first of `weights` is after one proximal
step of the group lasso, when all of them are one group, not all zero, and the loss does not pull.

Why: the group gets shorter by the learning rate times the strength and keeps its direction, so
every weight in it is multiplied by the new length over the old one.
"""

import math


def first_of_group(weights: list[float], strength: float, lr: float) -> float:
    """The first weight times what is left of the length."""
    length = math.hypot(*weights)
    return weights[0] * max(1 - lr * strength / length, 0)


answer = first_of_group
