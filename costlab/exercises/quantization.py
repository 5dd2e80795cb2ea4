"""Checkers and hints of the exercises of notebook 05, quantization."""

import math

from costlab.exercises.checking import Curve, Exercise


def _on_grid(weight: float, scale: float, low: float, high: float) -> float:
    return max(low, min(high, round(weight / scale))) * scale


DEQUANTIZED = Exercise(
    signature="dequantized(weight, largest, bits)",
    curve=Curve([i / 100 for i in range(-120, 121)], (1.0, 3)),
    cases=[(0.31, 1, 4), (-1, 1, 4), (1, 1, 4), (0.02, 0.5, 8), (-0.4, 0.75, 2), (0, 1, 3)],
    mistakes=[
        (
            lambda w, a, b: _on_grid(w, a / (2**b - 0.5), -(2**b), 2**b - 1),
            "you used all the bits for the size, but one of them is the sign: half of the codes "
            "are negative.",
        ),
        (
            lambda w, a, b: round(w / (a / (2 ** (b - 1) - 0.5))) * (a / (2 ** (b - 1) - 0.5)),
            "the largest weight rounds to a code that does not exist: clip to the last one.",
        ),
        (
            lambda w, a, b: (
                _on_grid(w, a / (2 ** (b - 1) - 0.5), -(2 ** (b - 1)), 2 ** (b - 1) - 1)
                / (a / (2 ** (b - 1) - 0.5))
            ),
            "this is the code. Multiply it by the scale to get the value it stands for.",
        ),
        (
            lambda w, a, b: _on_grid(w, a / (2 ** (b - 1) - 1), -(2 ** (b - 1)), 2 ** (b - 1) - 1),
            "your scale reaches the largest weight with the last positive code. Many libraries do "
            "that; here the scale is the largest weight over 2^(b-1) - 1/2.",
        ),
        (
            lambda w, a, b: math.trunc(w / (a / (2 ** (b - 1) - 0.5))) * (a / (2 ** (b - 1) - 0.5)),
            "you cut the decimals off, which is rounding toward zero: take the nearest code.",
        ),
    ],
    hints=[
        "How many codes are there, and how many of them are positive?",
        "The scale is the largest weight divided by 2^(b-1) - 1/2. The code is the weight over it.",
        "Round the quotient, clip it to -2^(b-1) and 2^(b-1) - 1, and multiply by the scale again.",
    ],
    praise="Divide, round, clip, multiply: every integer format does this.",
)

BYTES_IN_GROUPS = Exercise(
    signature="bytes_in_groups(weights, bits, group_size)",
    cases=[(1024, 4, 32), (1_048_576, 4, 128), (4096, 8, 64), (960, 3, 32), (64, 2, 64)],
    mistakes=[
        (lambda n, b, g: n * b / 8, "you left out the scales: one for each group."),
        (
            lambda n, b, g: n * b + n / g * 16,
            "these are bits, and the question asks for bytes.",
        ),
        (
            lambda n, b, g: (n * b + n / g * 32) / 8,
            "you took a scale of 32 bits; here it has 16.",
        ),
        (
            lambda n, b, g: (n * b + 16) / 8,
            "you counted one scale for the whole matrix; there is one for each group.",
        ),
    ],
    hints=[
        "Two kinds of things are stored: codes and scales. How many are there of each?",
        "One code for each weight, one scale for each group of weights.",
        "weights x bits, plus weights / group_size x 16, are bits. Eight of them make a byte.",
    ],
    praise="Groups cost 16 bits each: that is what a quieter grid is paid with.",
)

_BIT = 20 * math.log10(2)
BITS_FOR = Exercise(
    signature="bits_for(decibels, known_bits, known_decibels)",
    cases=[(40, 4, 18), (20, 8, 43.5), (44, 8, 43.5), (30, 5, 30), (60, 3, 11)],
    mistakes=[
        (
            lambda d, b, k: b + math.floor((d - k) / _BIT),
            "you rounded down, so the noise is still above what is allowed: round up.",
        ),
        (
            lambda d, b, k: b + round((d - k) / _BIT),
            "you rounded to the nearest number of bits; enough bits means rounding up.",
        ),
        (
            lambda d, b, k: b + math.ceil((d - k) / (_BIT / 2)),
            "a bit halves the error, and decibels count its square: a bit buys six, not three.",
        ),
        (
            lambda d, b, k: math.ceil((d - k) / _BIT),
            "these are the bits to add; add them to those you started from.",
        ),
        (
            lambda d, b, k: b + (d - k) / _BIT,
            "a weight has a whole number of bits: round up.",
        ),
    ],
    hints=[
        "How many decibels are missing?",
        "Each bit buys 20 log10(2), about six decibels. How many bits are that?",
        "Round the quotient up with math.ceil and add the bits you started from.",
    ],
    praise="Six decibels a bit: one measurement tells you the noise at every other width.",
)

REQUESTS_AT_BALANCE = Exercise(
    signature="requests_at_balance(peak, bandwidth, bytes_per_weight)",
    cases=[(989e12, 3.35e12, 2), (989e12, 3.35e12, 0.5), (1e11, 2e10, 4), (65e12, 0.32e12, 1)],
    mistakes=[
        (
            lambda p, b, w: p * w / b,
            "a weight is multiplied and the product added: two operations for each request.",
        ),
        (
            lambda p, b, w: p / b / 2,
            "this is the balance for a weight of one byte: a larger one takes longer to arrive.",
        ),
        (
            lambda p, b, w: 2 * b / (p * w),
            "this is the share of the arithmetic in the carrying: turn it over.",
        ),
        (
            lambda p, b, w: p / (2 * b * w),
            "a larger weight takes longer to carry, so more requests can share it: multiply by it.",
        ),
    ],
    hints=[
        "How long does one weight take to arrive? Does that depend on the number of requests?",
        "And how long does its arithmetic take, for one request, at two operations?",
        "Divide the first by the second.",
    ],
    praise="Above that batch, smaller weights save memory and no time.",
)

EXERCISES = {1: DEQUANTIZED, 2: BYTES_IN_GROUPS, 3: BITS_FOR, 4: REQUESTS_AT_BALANCE}
