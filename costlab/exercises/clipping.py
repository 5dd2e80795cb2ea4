"""Checkers and hints of the exercises of notebook 04, clipping."""

import math
from statistics import NormalDist

from costlab.exercises.checking import Curve, Exercise

SHARE_OF_ZEROS = Exercise(
    signature="share_of_zeros(threshold, deviation)",
    curve=Curve([i / 200 for i in range(41)], (0.05,)),
    cases=[(0.03, 0.05), (0.1, 0.05), (0, 1), (0.02, 0.02), (3, 0.5)],
    mistakes=[
        (
            lambda t, d: math.erf(t / d),
            "the bell curve has a square root of 2 beside its deviation: divide by it too.",
        ),
        (
            lambda t, d: math.erf(t / d / math.sqrt(2)) / 2,
            "this is one side of zero; weights of both signs are clipped.",
        ),
        (
            lambda t, d: 1 - math.erf(t / d / math.sqrt(2)),
            "this is the share that is kept; the question asks for the zeros.",
        ),
        (
            lambda t, d: NormalDist().cdf(t / d),
            "this counts everything below the threshold, large negative weights too.",
        ),
    ],
    hints=[
        "Which weights are clipped? Those within the threshold, on both sides of zero.",
        "How many deviations is the threshold? erf wants that number over the square root of 2.",
        "math.erf(threshold / (deviation * math.sqrt(2))).",
    ],
    praise="A deviation and a threshold: you know the zeros before you look.",
)

THRESHOLD_FOR = Exercise(
    signature="threshold_for(share, deviation)",
    cases=[(0.5, 1), (0.5, 0.05), (0.9, 0.02), (0.25, 0.1), (0.1, 3)],
    mistakes=[
        (
            lambda s, d: d * NormalDist().inv_cdf(s),
            "half of the zeros lie left of zero: the share below the threshold is (1 + share) / 2.",
        ),
        (
            lambda s, d: NormalDist().inv_cdf((1 + s) / 2),
            "this is the threshold for a deviation of 1: stretch it by the deviation.",
        ),
        (
            lambda s, d: NormalDist().inv_cdf((1 + s) / 2) / d,
            "a wider curve needs a larger threshold: multiply by the deviation.",
        ),
        (
            lambda s, d: s * d,
            "the share does not grow in proportion to the threshold: use the bell curve.",
        ),
    ],
    hints=[
        "Which share of all weights lies below the threshold, the negative ones included?",
        "Half of what is kept lies above it: (1 + share) / 2 lies below.",
        "inv_cdf gives the threshold for a deviation of 1. Multiply by the deviation.",
    ],
    praise="From the sparsity you want to the threshold that gives it.",
)

ZEROS_NEEDED = Exercise(
    signature="zeros_needed(value_bytes, index_bytes)",
    cases=[(4, 4), (2, 4), (4, 8), (1, 2), (4, 0)],
    mistakes=[
        (
            lambda v, i: v / (v + i),
            "this is the share that may be kept; the question asks for the zeros.",
        ),
        (
            lambda v, i: i / v,
            "compare the index with value and index together: a kept weight takes both.",
        ),
        (
            lambda v, i: 0.5,
            "one half is right for value and index of one size only: work with both sizes.",
        ),
    ],
    hints=[
        "How many bytes does one kept weight take? And one weight of the dense format?",
        "kept share x (value + index) = value.",
        "Solve for the kept share, and take it from 1.",
    ],
    praise="Below that share of zeros, a sparse format costs more than it saves.",
)

EXERCISES = {1: SHARE_OF_ZEROS, 2: THRESHOLD_FOR, 3: ZEROS_NEEDED}
