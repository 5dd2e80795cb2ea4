"""Write `bits_per_byte(nats, tokens, bytes_per_token)`: a model's losses on a text add up to `nats`
over `tokens` tokens, each of which stands for `bytes_per_token` bytes on average. How many bits is
that for a byte of the text?

Why: a bit is ln 2 nats, and the text has tokens times bytes_per_token bytes.
"""

import math


def bits_per_byte(nats: float, tokens: float, bytes_per_token: float) -> float:
    """Bits for each byte of text."""
    return nats / math.log(2) / (tokens * bytes_per_token)


answer = bits_per_byte
