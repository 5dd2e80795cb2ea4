"""Checkers and hints of the exercises of notebook 20, the advisor."""

import math

from costlab.exercises.checking import Exercise

REPLICAS = Exercise(
    signature="replicas(requests, capacity, slow)",
    cases=[(10.0, 4.0, 1.0), (10.0, 4.0, 0.7), (8.0, 4.0, 1.0), (0.1, 5.0, 0.8), (9.0, 3.0, 0.75)],
    mistakes=[
        (lambda r, c, s: r / (c * s), "a replica is rented whole or not at all."),
        (lambda r, c, s: int(r / (c * s)), "you rounded down: the last requests have no place."),
        (lambda r, c, s: math.ceil(r / c), "you planned with the middle of the range."),
        (lambda r, c, s: math.ceil(r * s / c), "at the slow end a replica carries less, not more."),
        (
            lambda r, c, s: int(r / (c * s)) + 1,
            "where it divides evenly, no further one is needed.",
        ),
        (lambda r, c, s: round(r / (c * s)), "the nearest whole number may be too few."),
    ],
    hints=[
        "How much does one replica carry, if the estimate was too kind?",
        "capacity * slow requests a second each.",
        "Round requests / (capacity * slow) up.",
    ],
    praise="The part that stands idle is the price of a promise.",
)

BREAK_EVEN = Exercise(
    signature="break_even_reads(kept, warm, cold, retrieval)",
    cases=[(1000.0, 0.023, 0.0125, 0.01), (50.0, 0.02, 0.01, 0.03), (1e6, 0.018, 0.01, 0.02)],
    mistakes=[
        (lambda k, w, c, r: (w - c) / r, "this is for one gigabyte kept; there are `kept`."),
        (lambda k, w, c, r: k * w / r, "the cold tier is not free: count what it saves."),
        (lambda k, w, c, r: k * (w - c) * r, "you multiplied by the price of reading."),
        (lambda k, w, c, r: k * r / (w - c), "turn it over: savings are spent on reads."),
        (lambda k, w, c, r: k * (w + c) / r, "take the difference of the two prices."),
    ],
    hints=[
        "What does the cold tier save in a month?",
        "kept * (warm - cold) dollars. How many gigabytes can be read for them?",
        "kept * (warm - cold) / retrieval.",
    ],
    praise="Read all of it once a month, and cold is seldom cheaper.",
)

PAYBACK = Exercise(
    signature="payback_months(once, before, after)",
    cases=[
        (1000.0, 500.0, 400.0),
        (1000.0, 500.0, 100.0),
        (5e4, 19000.0, 2400.0),
        (100.0, 50.0, 15.0),
        (0.0, 9.0, 5.0),
    ],
    mistakes=[
        (lambda o, b, a: o / (b - a), "rent is paid by whole months: round up."),
        (lambda o, b, a: int(o / (b - a)), "you rounded down: by then it is not yet paid."),
        (lambda o, b, a: math.ceil(o / b), "you still pay the new rent: count the difference."),
        (lambda o, b, a: math.ceil(o / a), "what is saved is the difference of the two rents."),
        (lambda o, b, a: int(o / (b - a)) + 1, "where it comes out even, that month suffices."),
        (lambda o, b, a: round(o / (b - a)), "the nearest month may be too early."),
    ],
    hints=[
        "What is saved each month?",
        "before - after dollars, for as many months as it takes to save `once`.",
        "Round once / (before - after) up.",
    ],
    praise="If the model will be replaced sooner than that, leave it as it is.",
)

EXERCISES = {1: REPLICAS, 2: BREAK_EVEN, 3: PAYBACK}
