"""Write `tokens_paid(turns, new, cached_price)`: an agent takes `turns` turns. Each brings `new`
tokens, and the model reads all tokens since the first turn again. A token it has read before costs
the share `cached_price` (0 to 1) of a new one. For how many new tokens does it pay in all?

Why: turn t rereads what t - 1 turns brought. Those counts add up to a square, and the cache's
discount stands before it: it makes the square flatter, and a square it stays.
"""


def tokens_paid(turns: int, new: float, cached_price: float) -> float:
    """New tokens, and the discounted ones read again."""
    read_again = new * turns * (turns - 1) / 2
    return new * turns + cached_price * read_again


answer = tokens_paid
