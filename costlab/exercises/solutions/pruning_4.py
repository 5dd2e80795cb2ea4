"""Write `surgeons_rise(weight, own, other, shared)`: the least rise in error when the first of two
weights, with the value `weight`, goes and the second may move. `own` and `other` are the mean
squares of their inputs, the diagonal of H, and `shared` is the mean of the product of the two
inputs, which stands off it.

Why: the inverse of a matrix of two by two has other / (own x other - shared^2) in its first place.
With `shared` zero nothing can be made up for, and the rise is that of the weight alone.
"""


def surgeons_rise(weight: float, own: float, other: float, shared: float) -> float:
    """Half of w^2 over the first entry of the inverse."""
    inverse = other / (own * other - shared**2)
    return weight**2 / (2 * inverse)


answer = surgeons_rise
