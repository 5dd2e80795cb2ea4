"""Write `softened(logits, temperature)`: the probability of the first class, after the list
`logits` has been softened by `temperature`. It must not overflow: logits may be in the thousands.

Why: dividing the logits by the temperature shrinks their differences, and only those count. So the
largest may be taken from all of them before, and then no exponential is above 1.
"""

import math


def softened(logits: list[float], temperature: float) -> float:
    """The first class's probability at this temperature."""
    largest = max(logits)
    heights = [math.exp((logit - largest) / temperature) for logit in logits]
    return heights[0] / sum(heights)


answer = softened
