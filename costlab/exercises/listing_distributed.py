"""Checkers and hints of the exercises of notebook 15, the listing on distributed training."""

import math

from costlab.exercises.checking import Exercise

SHARE = Exercise(
    signature="share(examples, processes)",
    cases=[(4000, 2), (10, 3), (11, 3), (10, 4), (1, 8), (7, 7), (4001, 2)],
    mistakes=[
        (
            lambda n, p: n // p,
            "the examples that are left over are lost. The sampler fills up instead.",
        ),
        (
            lambda n, p: n / p,
            "a share is a whole number of examples: round.",
        ),
        (
            lambda n, p: n,
            "this is what every process sees without a sampler: all of it.",
        ),
        (
            lambda n, p: round(n / p),
            "to the nearest is down in half of the cases. All processes need as many, and none is "
            "to be lost.",
        ),
        (
            lambda n, p: n // p + 1,
            "where the examples divide evenly, nothing is filled up.",
        ),
    ],
    hints=[
        "Ten examples for three processes: what is the least equal share that loses none?",
        "Divide, and round up.",
        "math.ceil(examples / processes).",
    ],
    praise="Equal shares, whatever the number: no process waits for one that has a batch more.",
)

STEPS = Exercise(
    signature="steps(examples, batch, processes)",
    cases=[(4000, 16, 2), (4000, 32, 1), (100, 8, 4), (10, 4, 2), (33, 16, 2), (1, 1, 1)],
    mistakes=[
        (
            lambda n, b, p: math.ceil(n / b),
            "this is one process that sees everything. Divide the examples first.",
        ),
        (
            lambda n, b, p: n // (b * p),
            "the last batch may be smaller than the others, and it is a step, too.",
        ),
        (
            lambda n, b, p: math.ceil(n / p) // b,
            "the last batch may be smaller than the others, and it is a step, too.",
        ),
        (
            lambda n, b, p: math.ceil(math.ceil(n / p) / b) * p,
            "these are the batches of all processes. They step together: how many times?",
        ),
        (
            lambda n, b, p: n / (b * p),
            "half a batch is a whole step: round up.",
        ),
    ],
    hints=[
        "How many examples does one process have, and how many does it take at a time?",
        "The share is examples / processes, rounded up; a step takes `batch` of it.",
        "math.ceil(math.ceil(examples / processes) / batch).",
    ],
    praise="The batch of a step is batch x processes: that is what the learning rate meets.",
)

OFF = Exercise(
    signature="off(first, rows_first, second, rows_second)",
    cases=[(1.0, 16, 3.0, 8), (1.0, 16, 3.0, 16), (2.0, 1, 0.0, 31), (-1.0, 10, 5.0, 30)],
    mistakes=[
        (
            lambda g, m, h, n: (g + h) / 2,
            "this is the average that the processes make. How far is it from the batch's own?",
        ),
        (
            lambda g, m, h, n: (m * g + n * h) / (m + n),
            "this is the gradient of the whole batch. How far is the processes' average from it?",
        ),
        (
            lambda g, m, h, n: (m * g + n * h) / (m + n) - (g + h) / 2,
            "the other way round: the average less the gradient of the whole batch.",
        ),
        (
            lambda g, m, h, n: 0.0,
            "they agree where the shares are equal, and only there.",
        ),
        (
            lambda g, m, h, n: abs((g + h) / 2 - (m * g + n * h) / (m + n)),
            "keep the sign: it says to which side the average is off.",
        ),
    ],
    hints=[
        "Two numbers: the average that data parallel makes, and the gradient of all rows.",
        "The first is (first + second) / 2. In the second every row counts the same, so that each "
        "mean is weighted by its rows.",
        "(first + second) / 2 - (rows_first * first + rows_second * second) / (rows_first + "
        "rows_second).",
    ],
    praise="An average of averages is the average only of equal shares.",
)

EXERCISES = {1: SHARE, 2: STEPS, 3: OFF}
