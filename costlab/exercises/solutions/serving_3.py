"""Write `tokens_per_check(acceptance, lookahead)`: how many tokens a check of speculative decoding
writes on average, when each of `lookahead` guesses is kept with probability `acceptance`, whatever
the others do, and none behind the first one that is rejected. Mind the token that the check adds.

Why: the first token is always written. The second is if the first guess was kept, the third if the
first two were, and so on: a sum of powers.
"""


def tokens_per_check(acceptance: float, lookahead: int) -> float:
    """One, and a power of the acceptance for each guess."""
    return sum(acceptance**kept for kept in range(lookahead + 1))


answer = tokens_per_check
