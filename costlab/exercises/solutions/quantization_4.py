"""Write `requests_at_balance(peak, bandwidth, bytes_per_weight)`: how many requests at once it
takes until the arithmetic takes as long as carrying the weights. `peak` is in operations per
second, `bandwidth` in bytes per second; each request needs two operations for each weight.

Why: a weight takes bytes_per_weight / bandwidth seconds to arrive, whoever is waiting, and 2 / peak
seconds of arithmetic for each request. On an H100 in bf16 that is about 295 requests, at
four bits about 74.
"""


def requests_at_balance(peak: float, bandwidth: float, bytes_per_weight: float) -> float:
    """The batch at which carrying and arithmetic take the same time."""
    carrying = bytes_per_weight / bandwidth
    arithmetic = 2 / peak
    return carrying / arithmetic


answer = requests_at_balance
