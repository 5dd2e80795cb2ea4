"""Write `dollars_per_million(price_per_hour, tokens_per_second)`: what a million generated tokens
cost on a machine with that price and that speed.

Why: the machine makes its speed times the seconds of an hour in tokens, and the price of the hour
is shared among them. Anything that raises the speed on the same machine lowers the price of a
token by the same factor: that is what most of this book does.
"""


def dollars_per_million(price_per_hour: float, tokens_per_second: float) -> float:
    """Dollars for a million generated tokens."""
    tokens_per_hour = tokens_per_second * 3600
    return price_per_hour / tokens_per_hour * 1_000_000


answer = dollars_per_million
