"""Write `bits_in_pattern(bits, kept, of)`: the bits that a weight takes on average when of each
group of `of` neighbors `kept` values are stored, `bits` bits each, every one with its position in
the group. A position takes the fewest whole bits that can tell `of` places apart.

Why: a position among four takes two bits, so two of four in 16 bits take 2 x 18 for four weights,
nine each.
"""

import math


def bits_in_pattern(bits: int, kept: int, of: int) -> float:
    """Values and positions, over all weights of a group."""
    position = math.ceil(math.log2(of))
    return kept * (bits + position) / of


answer = bits_in_pattern
