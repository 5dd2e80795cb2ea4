"""Checkers and hints of the exercises of notebook 19, trends."""

import math

from costlab.exercises.checking import Exercise

YEARS_TO = Exercise(
    signature="years_to(factor, target)",
    cases=[(2.0, 8.0), (1.29, 10.0), (0.5, 0.125), (0.88, 0.5), (1.1, 1.0)],
    mistakes=[
        (lambda f, t: t / f, "growth multiplies: each year's factor works on what is there."),
        (
            lambda f, t: (t - 1) / (f - 1),
            "you added the same amount each year, but a factor compounds.",
        ),
        (lambda f, t: math.log(t) * math.log(f), "divide the logarithms, do not multiply them."),
        (lambda f, t: math.log(f) / math.log(t) if t != 1 else 0, "turn it over."),
        (lambda f, t: math.log2(t), "you assumed a doubling every year."),
    ],
    hints=[
        "After n years the value is factor to the power n. When is that the target?",
        "Take logarithms on both sides.",
        "log(target) / log(factor).",
    ],
    praise="That is the horizon of any such trend, if it holds for so long.",
)

RENT = Exercise(
    signature="rent(price, factor, years)",
    cases=[(3.0, 0.88, 1), (3.0, 0.88, 3), (1.5, 0.5, 2), (10.0, 1.1, 4), (2.0, 0.9, 5)],
    mistakes=[
        (lambda p, f, n: 8760 * p * n, "the price does not stay: each year has its own."),
        (
            lambda p, f, n: 8760 * p * sum(f**i for i in range(1, n + 1)),
            "the first year is rented at today's price; it falls from then on.",
        ),
        (lambda p, f, n: p * sum(f**i for i in range(n)), "the price is for an hour, not a year."),
        (lambda p, f, n: 8760 * p * n * f ** (n - 1), "you paid the last year's price in all."),
        (lambda p, f, n: 8760 * p * f**n, "this is one year's rent, later; add up the years."),
    ],
    hints=[
        "What does the first year cost, what the second?",
        "8,760 hours at `price`, then at `price * factor`, then at `price * factor**2` …",
        "8760 * price * sum(factor**i for i in range(years)).",
    ],
    praise="A contract for years must be cheaper than this, not than today's price.",
)

ON_MORE = Exercise(
    signature="on_more(dollars, factor, devices, more)",
    cases=[
        (100.0, 0.95, 8, 16), (100.0, 0.95, 8, 64), (5e6, 0.9, 1024, 16384), (7.0, 0.95, 32, 32),
        (100.0, 0.95, 64, 8),
    ],
    mistakes=[
        (
            lambda c, f, d, m: c * f ** math.log2(m / d),
            "slower devices take longer, and the run gets dearer: divide.",
        ),
        (
            lambda c, f, d, m: c / f ** (m / d - 1),
            "count doublings, not devices: from 8 to 64 it is three.",
        ),
        (
            lambda c, f, d, m: c * m / d / f ** math.log2(m / d),
            "more devices are paid for a shorter time; only the lost pace costs.",
        ),
        (lambda c, f, d, m: c / f ** math.log2(m), "count doublings from `devices`, not from one."),
        (lambda c, f, d, m: c, "each device got a little slower, and device-hours are the bill."),
    ],
    hints=[
        "Without any loss, what would the run cost on more devices? The same.",
        "How many doublings lie between the two numbers of devices? math.log2 knows.",
        "dollars / factor ** math.log2(more / devices).",
    ],
    praise="Time is bought at this price: so many dollars for each halving.",
)  # fmt: skip

EXERCISES = {1: YEARS_TO, 2: RENT, 3: ON_MORE}
