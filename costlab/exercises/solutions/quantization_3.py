"""Write `bits_for(decibels, known_bits, known_decibels)`: how many bits, a whole number, the
weights need for a signal of at least `decibels` above the rounding noise, when you have measured
`known_decibels` at `known_bits` bits and each bit buys $20 \\log_{10} 2$ more.

Why: the missing decibels, divided by what a bit buys and rounded up, are the bits to add. A
negative number of missing decibels takes bits away.
"""

import math


def bits_for(decibels: float, known_bits: int, known_decibels: float) -> int:
    """The fewest bits that are quiet enough."""
    missing = decibels - known_decibels
    return known_bits + math.ceil(missing / (20 * math.log10(2)))


answer = bits_for
