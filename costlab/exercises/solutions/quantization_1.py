"""Write `dequantized(weight, largest, bits)`: the value that `weight` becomes on a symmetric grid
of `bits` bits whose scale just reaches `largest`, the largest weight in size. Codes run from
$-2^{b-1}$ to $2^{b-1} - 1$; what lies outside is clipped. Python's `round` will do.

Why: the scale puts the largest weight half a step beyond the last code, so that both ends are
rounded by at most half a step. Then divide, round, clip, and multiply back.
"""


def dequantized(weight: float, largest: float, bits: int) -> float:
    """The nearest value on the grid."""
    most = 2 ** (bits - 1)
    scale = largest / (most - 0.5)
    code = max(-most, min(most - 1, round(weight / scale)))
    return code * scale


answer = dequantized
