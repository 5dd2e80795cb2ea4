"""Write `break_even(price_per_hour, api_per_request)`: from how many requests a second a machine at
`price_per_hour` dollars is cheaper than an interface that takes `api_per_request` dollars for each.
The machine can keep up with all of them.

Why: the rent of a second is the same however much is asked. It is shared by the requests of that
second, and at the break-even each one's share is what the interface would have taken.
"""


def break_even(price_per_hour: float, api_per_request: float) -> float:
    """Requests a second."""
    rent_of_a_second = price_per_hour / 3600
    return rent_of_a_second / api_per_request


answer = break_even
