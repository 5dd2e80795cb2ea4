"""Write `share_of_zeros(threshold, deviation)`: the share of weights that clipping at `threshold`
sets to zero, if they are spread like a bell curve around zero with standard deviation `deviation`.
The error function is `math.erf`.

Why: a weight is clipped when it lies within the threshold on either side, and the error function of
threshold / (deviation x square root of 2) is just that share of a bell curve.
"""

import math


def share_of_zeros(threshold: float, deviation: float) -> float:
    """Share of a bell curve within the threshold."""
    return math.erf(threshold / (deviation * math.sqrt(2)))


answer = share_of_zeros
