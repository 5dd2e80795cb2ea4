"""Write `monthly_dollars(requests_per_second, tokens_per_request, tokens_per_second,
price_per_hour)`: the bill of a month of 30 days for a service that keeps, all day and all night,
the whole machines it needs at its busiest moment. `requests_per_second` is the load at that moment
and `tokens_per_second` the speed of one machine.

Why: the machines together must keep up with the requests of the busiest moment, and a machine
cannot be rented in parts, so you round up. You pay for all of them in every hour of the month, busy
or idle.
"""

import math


def monthly_dollars(
    requests_per_second: float,
    tokens_per_request: float,
    tokens_per_second: float,
    price_per_hour: float,
) -> float:
    """Dollars for 30 days of the whole machines that the busiest moment needs."""
    machines = math.ceil(requests_per_second * tokens_per_request / tokens_per_second)
    return machines * price_per_hour * 24 * 30


answer = monthly_dollars
