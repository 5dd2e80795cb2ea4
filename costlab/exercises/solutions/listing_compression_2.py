"""Suppose that all weights of a matrix have the same size. The listing freezes the matrix if its
norm is below `threshold`. Write `largest_frozen(rows, columns, threshold)`: the size that the
weights must stay below for that to happen.

Why: the norm of $n$ weights of size $s$ is $s \\sqrt{n}$, so each must be below the threshold over
the root of their number. In the classifier's first matrix that is about a hundredth of the
threshold; in a matrix of 4096 x 4096, one part in 4096.
"""

import math


def largest_frozen(rows: int, columns: int, threshold: float) -> float:
    """The size of equal weights whose norm just reaches the threshold."""
    weights = rows * columns
    return threshold / math.sqrt(weights)


answer = largest_frozen
