"""Write `rent(price, factor, years)`: dollars for renting one device for whole `years` of 8,760
hours, when the first year is paid at `price` an hour and each later one at `factor` times the
price of the year before.

Why: every year has its own price, and the years add up to a geometric sum.
"""


def rent(price: float, factor: float, years: int) -> float:
    """Dollars over all the years."""
    return 8760 * price * sum(factor**i for i in range(years))


answer = rent
