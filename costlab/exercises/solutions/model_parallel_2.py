"""Write `microbatches_needed(stages, share)`: the fewest micro-batches with which a pipeline of
equal stages idles for the share `share` of a step at most, 0 < share < 1. There are at least as
many micro-batches as stages.

Why: (p - 1) / (m + p - 1) is `share` at most when m is (p - 1) (1 - share) / share or more.
"""

import math


def microbatches_needed(stages: int, share: float) -> int:
    """Whole micro-batches, at least one for each stage."""
    least = (stages - 1) * (1 - share) / share
    return max(stages, math.ceil(round(least, 9)))  # 26.999999999 and 27.000000001 are 27


answer = microbatches_needed
