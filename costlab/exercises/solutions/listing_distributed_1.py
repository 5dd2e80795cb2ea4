"""torch's `DistributedSampler` gives every process the same number of examples, and leaves none
out: where they do not divide, it hands out a few twice. Write `share(examples, processes)`: how
many examples each process gets.

Why: all processes must make equally many steps, or some would wait at the end for others that are
through. Rounding up costs a few examples that are seen twice.
"""

import math


def share(examples: int, processes: int) -> int:
    """Examples of one process."""
    return math.ceil(examples / processes)


answer = share
