"""Checkers and hints of the exercises of notebook 12, shearing."""

import math

from costlab.exercises.checking import Exercise

SHARE_REMOVED = Exercise(
    signature="share_removed(p, middles)",
    cases=[(0.5, 1), (0.25, 2), (0.5, 0), (0.75, 6), (0.1, 30), (0, 3)],
    mistakes=[
        (
            lambda p, m: p,
            "the matrices in the middle lose more than p: their rows and their columns go.",
        ),
        (
            lambda p, m: 2 * p - p * p,
            "the first and the last matrix keep one of their sides, and lose only p.",
        ),
        (
            lambda p, m: (2 * p + m * p * p) / (m + 2),
            "p squared is where a removed row meets a removed column; all of both are gone.",
        ),
        (
            lambda p, m: (2 * p + m * 2 * p) / (m + 2),
            "twice p counts those weights twice whose row and whose column go.",
        ),
        (
            lambda p, m: 1 - (2 * p + m * (2 * p - p * p)) / (m + 2),
            "this is the share that stays, and the question asks for what is removed.",
        ),
        (
            lambda p, m: (p + m * (2 * p - p * p)) / (m + 1),
            "the chain has two ends: the first matrix and the last.",
        ),
        (
            lambda p, m: 2 * p + m * (2 * p - p * p),
            "this is counted in matrices. Divide by how many of them there are.",
        ),
    ],
    hints=[
        "Which share does a matrix keep whose rows and columns both shrink?",
        "Two matrices lose p, and `middles` of them lose 1 - (1 - p)^2.",
        "(2 x p + middles x (1 - (1 - p)^2)) / (2 + middles)",
    ],
    praise="In a deep chain half of the neurons are nearly three quarters of the weights.",
)


def _up(number: float, multiple: int) -> int:
    return math.ceil(number / multiple) * multiple


NEURONS_KEPT = Exercise(
    signature="neurons_kept(neurons, fraction, multiple)",
    cases=[(1024, 0.5, 8), (1024, 0.3, 8), (11_008, 0.25, 256), (64, 0.9, 16), (40, 0, 8)],
    mistakes=[
        (
            lambda n, f, m: n * (1 - f),
            "this is no multiple. Hardware likes whole blocks, and a neuron is not divided.",
        ),
        (
            lambda n, f, m: math.ceil(n * (1 - f)),
            "whole neurons, but not a multiple of what the hardware likes.",
        ),
        (
            lambda n, f, m: math.floor(n * (1 - f) / m) * m,
            "you rounded down, and more is removed than was allowed.",
        ),
        (
            lambda n, f, m: round(n * (1 - f) / m) * m,
            "the nearest multiple may remove more than was allowed: round up.",
        ),
        (
            lambda n, f, m: (math.floor(n * (1 - f) / m) + 1) * m,
            "you add a block even where the number already is a multiple: use math.ceil.",
        ),
        (lambda n, f, m: _up(n * f, m), "`fraction` is the share that goes. How many stay?"),
        (
            lambda n, f, m: math.ceil(n * (1 - f) / m),
            "this counts blocks, and the question asks for neurons.",
        ),
    ],
    hints=[
        "How many would stay if any number would do?",
        "neurons x (1 - fraction), and then up to the next multiple.",
        "math.ceil(neurons * (1 - fraction) / multiple) * multiple",
    ],
    praise="The last block that you keep costs the hardware nothing.",
)

SPEEDUP = Exercise(
    signature="speedup(share, factor)",
    cases=[(0.5, 2), (0.6, 2), (0.9, 10), (1, 3), (0, 5), (0.25, 1)],
    mistakes=[
        (lambda a, k: k, "only a part gets as fast as that; the rest takes its time as before."),
        (
            lambda a, k: 1 - a + a * k,
            "you averaged the speeds. It is times that add up: average those.",
        ),
        (
            lambda a, k: 1 - a + a / k,
            "this is the time that is left, as a share: turn it over.",
        ),
        (
            lambda a, k: 1 / (1 - a + a * k),
            "a part that gets faster takes less time: divide its share by the factor.",
        ),
        (
            lambda a, k: k / a if a else 1.0,
            "the rest of the time is missing here.",
        ),
        (
            lambda a, k: 1 / (1 - a / k),
            "you took away what the part still takes, instead of what it no longer takes.",
        ),
    ],
    hints=[
        "Let the whole take one second. How long does it take afterwards?",
        "The rest takes 1 - share as before, and the part share / factor.",
        "1 / (1 - share + share / factor)",
    ],
    praise="With an endless factor the rest is still there: 1 / (1 - share) is the end.",
)

CHILDREN_TO_REPAY = Exercise(
    signature="children_to_repay(parent, from_nothing, sheared)",
    cases=[
        (184_320, 56_000, 3310),
        (100, 20, 10),
        (95, 20, 10),
        (100, 13, 1),
        (7, 30, 2),
        (1e6, 10_500, 500),
    ],
    mistakes=[
        (
            lambda p, n, s: p / (n - s),
            "children are whole here: with the last of them the savings reach the parent's cost.",
        ),
        (
            lambda p, n, s: p // (n - s),
            "you rounded down, and after so many children something is still owed.",
        ),
        (
            lambda p, n, s: round(p / (n - s)),
            "you rounded to the nearest child: a little still owed takes one more.",
        ),
        (
            lambda p, n, s: p // (n - s) + 1,
            "you add a child even where the savings fit exactly: use math.ceil.",
        ),
        (
            lambda p, n, s: math.ceil(p / n),
            "a sheared child is not free: its healing is paid, too.",
        ),
        (
            lambda p, n, s: math.ceil(p / s),
            "this asks how often healing goes into the parent. What does a child save?",
        ),
        (
            lambda p, n, s: math.ceil((p + s) / (n - s)),
            "healing is paid for each child: it is in the difference already.",
        ),
    ],
    hints=[
        "What does one child save, compared with training it from nothing?",
        "from_nothing less sheared. How often does that go into the parent?",
        "math.ceil(parent / (from_nothing - sheared))",
    ],
    praise="If the parent serves as well, only a part of its cost is the children's to repay.",
)

EXERCISES = {1: SHARE_REMOVED, 2: NEURONS_KEPT, 3: SPEEDUP, 4: CHILDREN_TO_REPAY}
