"""Write `threshold_for(share, deviation)`: the threshold that sets a given share of bell-curved
weights to zero. `statistics.NormalDist().inv_cdf(p)` gives the value below which a share `p` of a
bell curve of deviation 1 lies.

Why: half of the clipped share lies on each side of zero, so all but (1 - share) / 2 lies below the
threshold on the right. The deviation stretches the curve.
"""

from statistics import NormalDist


def threshold_for(share: float, deviation: float) -> float:
    """The threshold within which this share of a bell curve lies."""
    return deviation * NormalDist().inv_cdf((1 + share) / 2)


answer = threshold_for
