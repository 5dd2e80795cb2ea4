"""Write `sparse_bytes(weights, zeros, bits)`: the bytes of a file that stores one bit for each of
`weights` weights, saying whether it is zero, and then the weights that are not, at `bits` bits
each. `zeros` is the share of zeros, from 0 to 1.

Why: the mask takes a bit for every weight, zero or not. Only the rest of them take their
`bits`. At a share of one over `bits` the mask has paid for itself.
"""


def sparse_bytes(weights: int, zeros: float, bits: int) -> float:
    """Mask and values, in bytes."""
    mask = weights
    values = (1 - zeros) * weights * bits
    return (mask + values) / 8


answer = sparse_bytes
