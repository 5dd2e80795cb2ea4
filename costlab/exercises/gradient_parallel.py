"""Checkers and hints of the exercises of notebook 09, gradient parallel."""

import math

from costlab.exercises.checking import Exercise

BYTES_PER_RANK = Exercise(
    signature="bytes_per_rank(parameters, ranks, stage)",
    cases=[(7.5e9, 64, 1), (7.5e9, 64, 2), (7.5e9, 64, 3), (1e9, 1, 2), (64, 4, 3), (8, 2, 1)],
    mistakes=[
        (
            lambda p, n, s: 16 * p / n,
            "you cut everything at every stage. Stage 1 cuts the optimizer's part, stage 2 the "
            "gradients too, stage 3 the parameters too.",
        ),
        (
            lambda p, n, s: p * sum(b / (n if s > k else 1) for k, b in enumerate((2, 2, 12))),
            "you cut the parameters first. They go last: everyone needs them to compute.",
        ),
        (
            lambda p, n, s: p * sum(b / (n if s > k else 1) for k, b in enumerate((8, 2, 2))),
            "you left out the copy of the weights in 32 bits: it belongs to the optimizer.",
        ),
        (
            lambda p, n, s: p * sum(b / (n if s > k else 1) for k, b in enumerate((8, 4, 4))),
            "these are the bytes of training in 32 bits. In mixed precision weights and gradients "
            "take 2, the optimizer's part 12.",
        ),
        (
            lambda p, n, s: p * sum(b / (n if s <= k else 1) for k, b in enumerate((12, 2, 2))),
            "you cut what the stage leaves whole.",
        ),
    ],
    hints=[
        "Three things take memory. How many bytes does each take for one parameter?",
        "2 for the weight, 2 for its gradient, 12 for the optimizer. The stage says how many of "
        "the three are divided by the ranks, beginning with the last.",
        "Stage 1 is (2 + 2 + 12 / ranks) parameters; each stage more moves one term over.",
    ],
    praise="At 64 ranks stage 3 holds about a ninth of what stage 2 holds.",
)

BYTES_SENT = Exercise(
    signature="bytes_sent(size, ranks, stage, passes)",
    cases=[
        (100, 2, 2, 1),
        (100, 4, 1, 3),
        (64, 8, 2, 4),
        (64, 8, 3, 1),
        (60, 3, 3, 2),
        (5, 1, 2, 1),
    ],
    mistakes=[
        (
            lambda g, n, s, m: g * (2, m + 1, 3 * m)[s - 1],
            "a rank keeps the slice that is its own: each collective sends (ranks - 1) / ranks.",
        ),
        (
            lambda g, n, s, m: g * (n - 1) / n * (2, 2, 3)[s - 1],
            "you counted one backward pass. Stages 2 and 3 reduce after each of them.",
        ),
        (
            lambda g, n, s, m: g * (n - 1) / n * (2, 2 * m, 3 * m)[s - 1],
            "stage 2 gathers the weights once, after the update, however many passes came before.",
        ),
        (
            lambda g, n, s, m: g * (n - 1) / n * (m + 1, m + 1, 3 * m)[s - 1],
            "stage 1 keeps its gradients whole and reduces them once, before the update.",
        ),
        (
            lambda g, n, s, m: g * (n - 1) / n * (2, m + 1, 2 * m + 1)[s - 1],
            "stage 3 frees what it gathered: it gathers in each forward and each backward pass.",
        ),
    ],
    hints=[
        "Which collectives does a step have, and which of them come once for each pass?",
        "Stage 1: one reduction, one gathering. Stage 2: a reduction for each pass, one gathering. "
        "Stage 3: for each pass two gatherings and a reduction.",
        "Each of them sends size (ranks - 1) / ranks.",
    ],
    praise="Accumulation is free of traffic at stage 1 alone; the memory of stages 2 and 3 is paid "
    "in bytes for each pass.",
)

BEST_INTERVAL = Exercise(
    signature="best_interval(save, machine_mtbf, machines)",
    cases=[(60, 5e6, 1000), (10, 1e6, 8), (120, 3e7, 16384), (1, 200, 1), (30, 4e6, 64)],
    mistakes=[
        (
            lambda c, m, n: math.sqrt(2 * c * m),
            "this is for one machine. The job stops when any of them does: divide their mean time "
            "by their number.",
        ),
        (
            lambda c, m, n: math.sqrt(2 * c * m * n),
            "more machines fail more often, not less: divide by their number.",
        ),
        (
            lambda c, m, n: math.sqrt(c * m / n),
            "a failure costs half an interval on average: that half brings a 2 under the root.",
        ),
        (
            lambda c, m, n: 2 * c * m / n,
            "take the square root.",
        ),
        (
            lambda c, m, n: m / n,
            "this is the time between failures of the job. Waiting so long to save loses most.",
        ),
    ],
    hints=[
        "How often does a job of that many machines fail?",
        "With interval t the loss per second is save / t for saving and t / (2 mtbf) for work done "
        "again. Where is the sum smallest?",
        "The square root of 2 x save x machine_mtbf / machines.",
    ],
    praise="Four times the machines, half the interval.",
)

LARGEST_SHARE = Exercise(
    signature="largest_share(ranks, value_bytes, index_bytes)",
    cases=[(2, 4, 4), (8, 4, 4), (64, 4, 4), (512, 2, 4), (16, 4, 0), (100, 2, 2)],
    tolerance=1e-4,
    mistakes=[
        (
            lambda n, v, i: v / (v + i),
            "this compares one rank's own bytes. Gathered, a rank receives those of all the "
            "others.",
        ),
        (
            lambda n, v, i: 2 / n,
            "you left out the indices: an entry that travels brings its place along.",
        ),
        (
            lambda n, v, i: v / (v + i) / n,
            "dense gradients go round twice, in the reduction and in the gathering.",
        ),
        (
            lambda n, v, i: 2 * v / (v + i) / (n - 1),
            "the dense all-reduce sends (ranks - 1) / ranks of the gradient twice, so the ranks "
            "less one cancel.",
        ),
        (
            lambda n, v, i: (v + i) / v * n / 2,
            "turn it over.",
        ),
    ],
    hints=[
        "What does a rank send in a dense all-reduce of P entries? And when it passes on the k "
        "entries of every rank in an all-gather?",
        "2 P v (n - 1) / n against k (v + i) (n - 1). Which k / P makes them equal?",
        "2 x value_bytes / (value_bytes + index_bytes) / ranks.",
    ],
    praise="The more ranks, the less may travel before the dense sum is cheaper: sums do not grow "
    "with the ranks, lists do.",
)

EXERCISES = {1: BYTES_PER_RANK, 2: BYTES_SENT, 3: BEST_INTERVAL, 4: LARGEST_SHARE}
