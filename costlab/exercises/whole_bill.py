"""Checkers and hints of the exercises of notebook 18, the whole bill."""

import math

from costlab.exercises.checking import Exercise

MACHINES_SAVED = Exercise(
    signature="machines_saved(peak, before, after)",
    cases=[(100, 3, 7), (10, 4, 5), (10, 4, 4.5), (123, 0.5, 2.25), (6, 2, 3)],
    mistakes=[
        (lambda p, b, a: p / b - p / a, "machines are whole: round both numbers up."),
        (
            lambda p, b, a: math.ceil(p / b - p / a),
            "you rounded the difference; each number is rented whole, so round both.",
        ),
        (
            lambda p, b, a: math.floor(p / b) - math.floor(p / a),
            "rounded down, the last requests find no machine.",
        ),
        (lambda p, b, a: math.ceil(p / a), "these are the machines after. How many fewer is that?"),
        (lambda p, b, a: math.ceil(p / (a - b)), "subtract machines, not rates."),
    ],
    hints=[
        "How many machines does the service rent before?",
        "The peak over what one serves, rounded up. And after?",
        "Round each up with math.ceil, then subtract.",
    ],
    praise="Savings become money when whole machines go.",
)

FACTOR_IN_COMPANY = Exercise(
    signature="factor_in_company(fixed, each, requests, k)",
    cases=[(8, 0.5, 1, 2), (8, 0.5, 16, 2), (1, 1, 3, 4), (0, 2, 5, 3), (5, 0.1, 64, 1.5)],
    mistakes=[
        (lambda f, e, n, k: k, "only a part of the step got faster: the fixed part stayed."),
        (lambda f, e, n, k: (f + e) / (f + e / k), "this is a lone request; the step has more."),
        (
            lambda f, e, n, k: (f + n * e / k) / (f + n * e),
            "turn it over: cheaper means a factor above one.",
        ),
        (
            lambda f, e, n, k: (f + n * e) / (f / k + n * e),
            "you divided the fixed part; it was the requests' that got faster.",
        ),
    ],
    hints=[
        "How long does the whole step take, before and after?",
        "fixed + requests x each, and with each / k instead.",
        "Divide the first by the second: the number of tokens is the same.",
    ],
    praise="The same step, another factor: that is why the order of steps matters.",
)

MONTHS_TO_REPAY = Exercise(
    signature="months_to_repay(training, month, factor)",
    cases=[(100, 50, 2), (10, 100, 1.25), (5000, 400, 4), (1, 9, 10)],
    mistakes=[
        (lambda t, m, f: t / (m / f), "divide by what is saved, not by what is still paid."),
        (lambda t, m, f: t / m, "the service is not free afterwards: what is saved a month?"),
        (lambda t, m, f: t / (m * f), "a factor makes the month cheaper, not dearer."),
        (lambda t, m, f: t / (m * (f - 1)), "f times as cheap leaves m / f, and saves the rest."),
        (lambda t, m, f: (m - m / f) / t, "turn it over."),
    ],
    hints=[
        "What does a month cost afterwards?",
        "month / factor. So what is saved?",
        "Divide the training by month - month / factor.",
    ],
    praise="A step that is trained for pays by the month, and only while the model lives.",
)

EXERCISES = {1: MACHINES_SAVED, 2: FACTOR_IN_COMPANY, 3: MONTHS_TO_REPAY}
