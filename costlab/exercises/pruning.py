"""Checkers and hints of the exercises of notebook 10, pruning."""

import math

from costlab.exercises.checking import Exercise

RISE_ALONE = Exercise(
    signature="rise_alone(weight, mean, deviation)",
    cases=[(2, 0, 1), (-0.5, 3, 2), (0.1, -1, 0.5), (0, 5, 7), (3, -2, 0)],
    mistakes=[
        (
            lambda w, m, d: w**2 * (m**2 + d**2),
            "the one half of the error is missing.",
        ),
        (
            lambda w, m, d: abs(w) * math.hypot(m, d),
            "this is Wanda's score. It ranks weights as the rise does, but it is not the rise: "
            "square it and take half.",
        ),
        (
            lambda w, m, d: w**2 * m**2 / 2,
            "you squared the mean. An input that is zero on average still moves the output: take "
            "the mean of the squares.",
        ),
        (
            lambda w, m, d: w**2 * d**2 / 2,
            "you left out the mean. An input that is always large moves the output all the time.",
        ),
        (
            lambda w, m, d: w**2 * (m + d) ** 2 / 2,
            "mean and deviation do not add up; their squares do.",
        ),
        (lambda w, m, d: w**2 / 2, "you left the inputs out: this is magnitude's reading."),
    ],
    hints=[
        "The output is the weight times its input, plus what the others add. What is missing?",
        "Without the weight the output is off by weight x input. Square it, and take the mean.",
        "The mean of the squares is mean^2 + deviation^2. Half of weight^2 times that.",
    ],
    praise="Its square root is Wanda's score, but for a constant that is the same for all.",
)

ZEROS_AFTER = Exercise(
    signature="zeros_after(share, rounds)",
    cases=[(0.5, 2), (0.2, 5), (0.1, 1), (0, 4), (1, 3), (0.3, 0)],
    mistakes=[
        (
            lambda s, n: s * n,
            "you took each round from all weights. It takes its share of those that are left.",
        ),
        (lambda s, n: (1 - s) ** n, "this is what is left; the question asks for the zeros."),
        (lambda s, n: s**n, "you multiplied the shares that go. Multiply those that stay."),
        (lambda s, n: 1 - (1 - s) ** (n + 1), "this is one round too many."),
    ],
    hints=[
        "Which share is left after one round? And which share of that after the next?",
        "Each round multiplies what is left by 1 - share.",
        "One minus (1 - share) to the power of the rounds.",
    ],
    praise="Twice a half makes three quarters: mind it when you call a pruning tool again.",
)

BITS_IN_PATTERN = Exercise(
    signature="bits_in_pattern(bits, kept, of)",
    cases=[(16, 2, 4), (8, 2, 4), (16, 4, 8), (32, 1, 16), (4, 8, 8), (16, 3, 6)],
    mistakes=[
        (
            lambda b, k, n: k * b / n,
            "you left out the positions: without them nobody knows where the values belong.",
        ),
        (
            lambda b, k, n: (n + k * b) / n,
            "you stored a bitmask. Here each value that is kept carries its position instead.",
        ),
        (
            lambda b, k, n: b + math.ceil(math.log2(n)),
            "this is what one value takes that is kept. Average over all weights.",
        ),
        (
            lambda b, k, n: k * (b + math.ceil(math.log2(n))),
            "this is for a whole group; the question asks for the bits of a weight.",
        ),
        (
            lambda b, k, n: k * (b + math.log2(n)) / n,
            "a position takes a whole number of bits: round up.",
        ),
    ],
    hints=[
        "How many positions are there in a group, and how many bits tell them apart?",
        "Each value that is kept takes its bits and ceil(log2(of)) more.",
        "kept x (bits + ceil(log2(of))) for the group, over `of` weights.",
    ],
    praise="Two of four with 16-bit values: nine bits. Eight bits for every weight take fewer.",
)

SURGEONS_RISE = Exercise(
    signature="surgeons_rise(weight, own, other, shared)",
    cases=[(1, 1, 4, 1.2), (0.6, 4, 1, 1.2), (2, 3, 5, 0), (-1, 2, 2, -1), (0.5, 2, 8, 3)],
    mistakes=[
        (
            lambda w, a, b, c: w**2 * a / 2,
            "this is the rise while the other stays. Let it move.",
        ),
        (
            lambda w, a, b, c: w**2 * (a - c**2 / b),
            "the one half of the error is missing.",
        ),
        (
            lambda w, a, b, c: w**2 * (b - c**2 / a) / 2,
            "you removed the other weight; exchange `own` and `other`.",
        ),
        (
            lambda w, a, b, c: w**2 * (a + c**2 / b) / 2,
            "the sign is wrong: letting the other move can only lower the rise.",
        ),
        (
            lambda w, a, b, c: w**2 * (a * b - c**2) / 2,
            "this is the determinant of H. The first entry of the inverse is `other` over it.",
        ),
    ],
    hints=[
        "The rise is weight^2 / (2 [H^-1]_11). What is the inverse of a matrix of two by two?",
        "[H^-1]_11 is other / (own x other - shared^2).",
        "weight^2 x (own - shared^2 / other) / 2.",
    ],
    praise="What the inputs share with each other is what moving the other can make up for.",
)

EXERCISES = {1: RISE_ALONE, 2: ZEROS_AFTER, 3: BITS_IN_PATTERN, 4: SURGEONS_RISE}
