"""Write `peak(busiest, requests, hours)`: a log of `hours` hours holds `requests` requests, and the
busiest of these hours `busiest` of them. How many times as busy as the mean hour is that?

Why: the mean hour has requests / hours of them.
"""


def peak(busiest: float, requests: float, hours: float) -> float:
    """The busiest hour over the mean one."""
    return busiest / (requests / hours)


answer = peak
