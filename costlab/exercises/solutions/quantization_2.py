"""Write `bytes_in_groups(weights, bits, group_size)`: the bytes that a matrix of `weights` weights
takes at `bits` bits each, with one 16-bit scale for each group of `group_size` of them.

Why: the codes take their bits, and every group adds sixteen. At four bits in groups of 32
that is half a bit more for each weight.
"""


def bytes_in_groups(weights: int, bits: int, group_size: int) -> float:
    """Codes and scales, in bytes."""
    codes = weights * bits
    scales = weights / group_size * 16
    return (codes + scales) / 8


answer = bytes_in_groups
