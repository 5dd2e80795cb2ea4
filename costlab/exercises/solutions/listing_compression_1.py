"""Write `clipped(weight, threshold)`: what clipping makes of one weight.

Why: a weight is judged by its size, whatever its sign, and by nothing else in its tensor. It goes
whole or stays as it is; one exactly at the threshold goes.
"""


def clipped(weight: float, threshold: float) -> float:
    """The weight, or 0 where it is small."""
    return weight if abs(weight) > threshold else 0


answer = clipped
