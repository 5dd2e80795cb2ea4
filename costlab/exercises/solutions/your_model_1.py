"""Write `requests_per_day(lines, hours, kept)`: a log of `hours` hours has `lines` lines, and only
a share `kept` of all requests was written into it. How many requests come in a day?

Why: each line stands for 1 / kept requests, and a day for 24 / hours such logs.
"""


def requests_per_day(lines: float, hours: float, kept: float) -> float:
    """Requests a day."""
    return lines / kept / hours * 24


answer = requests_per_day
