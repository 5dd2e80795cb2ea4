"""Write `steps_to_zero(weight, strength, lr)`: after how many proximal steps of the lasso a weight
is zero, if the loss does not pull at it.

Why: every step takes the same piece, the learning rate times the strength, from the size of
the weight, and the last step takes what is left.
"""

import math


def steps_to_zero(weight: float, strength: float, lr: float) -> int:
    """Pieces that the weight has, the last one counted whole."""
    return math.ceil(abs(weight) / (lr * strength))


answer = steps_to_zero
