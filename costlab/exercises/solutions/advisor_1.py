"""Write `replicas(requests, capacity, slow)`: how many replicas carry `requests` a second in the
busiest hour, when the estimate says that one carries `capacity` a second and the low end of its
range is `slow` times that. Plan for the low end.

Why: what one replica surely carries is capacity times slow, and replicas are rented whole.
"""

import math


def replicas(requests: float, capacity: float, slow: float) -> int:
    """Whole replicas."""
    return math.ceil(requests / (capacity * slow))


answer = replicas
