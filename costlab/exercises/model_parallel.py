"""Checkers and hints of the exercises of notebook 08, model parallel."""

import math

from costlab.exercises.checking import Exercise

TENSOR_BYTES = Exercise(
    signature="tensor_bytes(tokens, width, layers, ranks)",
    cases=[(8192, 4096, 32, 8), (1000, 384, 4, 2), (1, 64, 1, 1), (4096, 8192, 80, 4)],
    mistakes=[
        (
            lambda t, h, n, r: 8 * t * h * n * (r - 1) / r,
            "you counted two sums a block. Attention has one and the MLP has one, and each has "
            "another in the backward pass.",
        ),
        (
            lambda t, h, n, r: 8 * t * h * n,
            "this is what is summed. An all-reduce sends 2 (ranks - 1) / ranks of it.",
        ),
        (
            lambda t, h, n, r: 16 * t * h * n,
            "with one process nothing is sent: each sum sends 2 (ranks - 1) / ranks of its bytes.",
        ),
        (
            lambda t, h, n, r: 32 * t * h * n * (r - 1) / r,
            "these are the bytes of float32; a number in 16 bits takes 2.",
        ),
        (
            lambda t, h, n, r: 16 * t * h * n * (r - 1) / r / r,
            "the tokens are not divided: every process works on all of them.",
        ),
    ],
    hints=[
        "How many sums does a block need, forward and backward, and what is summed?",
        "Four, each of tokens x width numbers of 2 bytes.",
        "An all-reduce sends 2 (ranks - 1) / ranks of that: 16 x tokens x width x layers x "
        "(ranks - 1) / ranks.",
    ],
    praise="It grows with the tokens and hardly with the processes: fast links decide.",
)

MICROBATCHES = Exercise(
    signature="microbatches_needed(stages, share)",
    cases=[(8, 0.05), (4, 0.1), (2, 0.3), (16, 0.2), (4, 0.9), (3, 0.25)],
    mistakes=[
        (
            lambda p, s: math.ceil(round((p - 1) * (1 - s) / s, 9)),
            "a share that large would be reached with fewer micro-batches than stages; every stage "
            "needs at least one of its own.",
        ),
        (
            lambda p, s: (p - 1) * (1 - s) / s,
            "micro-batches are whole: round up.",
        ),
        (
            lambda p, s: max(p, math.floor((p - 1) * (1 - s) / s)),
            "rounded down, the stages idle for a little more than the share: round up.",
        ),
        (
            lambda p, s: max(p, math.ceil(round((p - 1) / s, 9))),
            "this takes the bubble for (p - 1) / m. A step also has the p - 1 slots in which the "
            "belt fills.",
        ),
    ],
    hints=[
        "What share of a step is the bubble with m micro-batches?",
        "(p - 1) / (m + p - 1) must be the share at most. Solve for m.",
        "m is (stages - 1) (1 - share) / share, rounded up, and at least the stages.",
    ],
    praise="Half the share takes twice the micro-batches, and each of them holds fewer rows.",
)

BYTES_READ = Exercise(
    signature="bytes_read(experts, active, tokens, expert_bytes)",
    cases=[(8, 2, 1, 100), (8, 2, 16, 100), (64, 6, 8, 10), (1, 1, 5, 7), (8, 8, 3, 2)],
    mistakes=[
        (
            lambda e, k, t, b: min(e, k * t) * b,
            "tokens often choose the same expert, which is then read once.",
        ),
        (
            lambda e, k, t, b: k * t * b,
            "an expert that several tokens choose is read once, and there are no more than all.",
        ),
        (
            lambda e, k, t, b: e * b,
            "this is what memory holds. A small batch does not touch all experts.",
        ),
        (
            lambda e, k, t, b: e * (k / e) ** t * b,
            "this counts the experts that every token chooses. Count those that at least one does.",
        ),
        (
            lambda e, k, t, b: e * (1 - k / e) ** t * b,
            "this counts the experts that nobody chooses.",
        ),
    ],
    hints=[
        "What is the chance that a certain expert is chosen by none of the tokens?",
        "A token leaves it out with 1 - active / experts; all do with that to the power of tokens.",
        "experts x (1 - (1 - active / experts) ** tokens) x expert_bytes.",
    ],
    praise="From a few tokens on, a batch reads nearly everything.",
)

EXERCISES = {1: TENSOR_BYTES, 2: MICROBATCHES, 3: BYTES_READ}
