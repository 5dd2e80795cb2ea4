"""Checkers and hints of the exercises of notebook 21, your own model."""

import math

from costlab.exercises.checking import Exercise

DAILY = Exercise(
    signature="requests_per_day(lines, hours, kept)",
    cases=[(1200.0, 6.0, 1.0), (1200.0, 6.0, 0.1), (50.0, 24.0, 0.5), (0.0, 3.0, 0.01)],
    mistakes=[
        (lambda n, h, k: n / h, "this is an hour's; a day has twenty-four."),
        (lambda n, h, k: n / h * 24, "the log keeps a share of the requests: it stands for more."),
        (
            lambda n, h, k: n / h * 24 * k,
            "turn the share over: fewer lines stand for more requests.",
        ),
        (lambda n, h, k: n * h / 24 / k, "a longer log of as many lines tells of fewer in a day."),
        (lambda n, h, k: n / k, "the log covers `hours`, not a day."),
    ],
    hints=[
        "How many requests were there in the hours that the log covers?",
        "lines / kept of them. How many is that in an hour, and in a day?",
        "lines / kept / hours * 24.",
    ],
    praise="A sample is enough, as long as you know which share it is, and of which hours.",
)

PEAK = Exercise(
    signature="peak(busiest, requests, hours)",
    cases=[(250.0, 2400.0, 24.0), (100.0, 600.0, 6.0), (90.0, 90.0, 1.0), (400.0, 1200.0, 12.0)],
    mistakes=[
        (
            lambda b, n, h: b / n,
            "this is the busiest hour's share of all; compare with a mean hour.",
        ),
        (lambda b, n, h: n / h / b, "turn it over: the busiest hour is at least as busy."),
        (lambda b, n, h: b / (n / 24), "the log covers `hours`, which need not be a day."),
        (lambda b, n, h: b - n / h, "a factor is asked for, not a difference."),
    ],
    hints=[
        "How many requests come in a mean hour?",
        "requests / hours. How many times that is the busiest?",
        "busiest / (requests / hours).",
    ],
    praise="What you rent follows the busiest hour, what you earn the mean one.",
)

PER_MEGABYTE = Exercise(
    signature="dollars_per_megabyte(dollars, bytes_per_token)",
    cases=[(0.6, 4.0), (0.2, 1.0), (10.0, 3.2), (0.0, 2.0)],
    mistakes=[
        (lambda d, b: d * b, "divide: longer tokens, and fewer are needed for a megabyte."),
        (lambda d, b: d, "a token of this model is not one byte."),
        (
            lambda d, b: d / b / 1e6,
            "dollars are for a million tokens, and a megabyte is a million.",
        ),
        (lambda d, b: b / d if d else 0.0, "turn it over: dollars stand above the line."),
    ],
    hints=[
        "How many tokens make a megabyte, which is a million bytes?",
        "A million / bytes_per_token of them, and `dollars` buys a million.",
        "dollars / bytes_per_token.",
    ],
    praise="Now models with different tokenizers stand on one bill.",
)

BITS = Exercise(
    signature="bits_per_byte(nats, tokens, bytes_per_token)",
    cases=[(700.0, 200.0, 3.5), (math.log(2), 1.0, 1.0), (1000.0, 400.0, 4.0), (0.0, 10.0, 2.0)],
    mistakes=[
        (lambda n, t, b: n / (t * b), "this is in nats: a bit is ln 2 of them."),
        (lambda n, t, b: n / math.log(2) / t, "this is for a token; ask for a byte."),
        (
            lambda n, t, b: n / math.log(2) * b / t,
            "longer tokens share their bits among more bytes.",
        ),
        (
            lambda n, t, b: n * math.log(2) / (t * b),
            "divide by ln 2: there are more bits than nats.",
        ),
        (lambda n, t, b: n / math.log(2), "this is for the whole text."),
    ],
    hints=[
        "How many bits are `nats`, and how many bytes are `tokens`?",
        "nats / ln 2 bits, for tokens * bytes_per_token bytes.",
        "nats / math.log(2) / (tokens * bytes_per_token).",
    ],
    praise="The one quality that needs no common tokenizer.",
)

EXERCISES = {1: DAILY, 2: PEAK, 3: PER_MEGABYTE, 4: BITS}
