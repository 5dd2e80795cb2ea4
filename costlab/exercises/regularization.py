"""Checkers and hints of the exercises of notebook 11, regularization."""

import math

from costlab.exercises.checking import Curve, Exercise


class _Numbers(list):
    """A list of numbers that a checker's sentence can show."""

    def __format__(self, spec: str) -> str:
        return f"[{', '.join(format(number, spec) for number in self)}]"


def _soft(value: float, amount: float) -> float:
    return math.copysign(max(abs(value) - amount, 0), value)


PROXIMAL_STEP = Exercise(
    signature="proximal_step(weight, slope, strength, lr)",
    curve=Curve([i / 20 for i in range(-40, 41)], (0.0, 1.0, 0.5)),
    cases=[
        (1.0, 2.0, 0.5, 0.25),
        (-1.0, 1.0, 2.0, 0.125),
        (0.25, 1.0, 1.0, 0.25),
        (0.0, -4.0, 1.0, 0.5),
        (0.125, -1.0, 8.0, 0.25),
    ],
    mistakes=[
        (
            lambda w, g, s, lr: _soft(w - lr * g, s),
            "you shrink by the strength alone. Multiply it by the learning rate.",
        ),
        (
            lambda w, g, s, lr: w - lr * g - lr * s * ((w > 0) - (w < 0)),
            "this is a step down the penalty's slope: it jumps over zero. Stop at it.",
        ),
        (
            lambda w, g, s, lr: w - lr * g - math.copysign(lr * s, w - lr * g),
            "you shrink past zero: a weight that has less than lr x strength left becomes zero.",
        ),
        (
            lambda w, g, s, lr: _soft(w, lr * s) - lr * g,
            "the order: first down the slope of the loss, then towards zero.",
        ),
        (
            lambda w, g, s, lr: max(w - lr * g - lr * s, 0),
            "negative weights shrink towards zero, too, and keep their sign.",
        ),
        (
            lambda w, g, s, lr: (w - lr * g) * (abs(w - lr * g) > lr * s),
            "this is clipping: what stays must be shorter by lr x strength, as well.",
        ),
        (
            lambda w, g, s, lr: _soft(w + lr * g, lr * s),
            "you went up the slope. The loss falls against it.",
        ),
    ],
    hints=[
        "Two steps, one after the other: one for the loss, one for the penalty.",
        "v = weight - lr x slope. Then bring v nearer to zero, by how much?",
        "The size is max(|v| - lr x strength, 0), the sign that of v.",
    ],
    praise="Two lines, and unlike any slope they can arrive at zero.",
)

STEPS_TO_ZERO = Exercise(
    signature="steps_to_zero(weight, strength, lr)",
    cases=[(1.0, 0.5, 0.25), (-1.0, 0.5, 0.25), (1.5, 2.0, 0.5), (0.0, 1.0, 0.5), (2.2, 4, 0.125)],
    mistakes=[
        (
            lambda w, s, lr: abs(w) / (lr * s),
            "steps are whole: with a fraction of a step left to go, it takes one more.",
        ),
        (
            lambda w, s, lr: abs(w) // (lr * s),
            "you rounded down, so that a piece of the weight is left.",
        ),
        (
            lambda w, s, lr: round(abs(w) / (lr * s)),
            "you rounded to the nearest step, and sometimes a piece of the weight is left.",
        ),
        (
            lambda w, s, lr: abs(w) // (lr * s) + 1,
            "you added a step where the last one lands on zero exactly.",
        ),
        (
            lambda w, s, lr: math.ceil(abs(w) / s),
            "each step shrinks by lr x strength, not by the strength.",
        ),
        (
            lambda w, s, lr: math.ceil(w / (lr * s)),
            "a negative weight has as far to go as a positive one: take its size.",
        ),
    ],
    hints=[
        "The loss does not pull. How much shorter does one step make the weight?",
        "By lr x strength, until less than that is left; then it is zero.",
        "Divide the size of the weight by lr x strength, and round up.",
    ],
    praise="Turn it round, and you know the strength that empties a neuron in the steps you have.",
)


def _shrunk(weights: list[float], length: float, amount: float) -> float:
    return weights[0] * max(1 - amount / length, 0)


FIRST_OF_GROUP = Exercise(
    signature="first_of_group(weights, strength, lr)",
    cases=[
        (_Numbers([3.0, 4.0]), 2.0, 0.5),
        (_Numbers([-6.0, 8.0]), 4.0, 1.25),
        (_Numbers([1.0, -2.0, 2.0]), 1.0, 0.75),
        (_Numbers([0.5]), 1.0, 0.25),
        (_Numbers([0.3, 0.4]), 2.0, 0.5),
    ],
    mistakes=[
        (
            lambda w, s, lr: _soft(w[0], lr * s),
            "this shrinks the weight for itself. A group is shortened as a whole.",
        ),
        (
            lambda w, s, lr: _shrunk(w, sum(map(abs, w)), lr * s),
            "the length of a group is the root of its sum of squares, not the sum of its sizes.",
        ),
        (
            lambda w, s, lr: _shrunk(w, sum(x * x for x in w), lr * s),
            "you forgot the root: the length is the root of the sum of squares.",
        ),
        (
            lambda w, s, lr: _shrunk(w, math.hypot(*w), s),
            "you shorten by the strength alone. Multiply it by the learning rate.",
        ),
        (
            lambda w, s, lr: w[0] * (1 - lr * s / math.hypot(*w)),
            "a group shorter than lr x strength is turned round by this. It becomes zero.",
        ),
        (
            lambda w, s, lr: math.hypot(*w) * max(1 - lr * s / math.hypot(*w), 0),
            "this is the length of the whole group; the question is its first weight.",
        ),
    ],
    hints=[
        "All weights of the group are multiplied by one factor. Which?",
        "The length becomes shorter by lr x strength. New length over old length is the factor.",
        "max(1 - lr x strength / length, 0), with the root of the sum of squares as the length.",
    ],
    praise="One factor for the whole group: it goes as a whole, or stays as a whole.",
)


def _groups(slopes: list[float], size: int) -> list[list[float]]:
    return [slopes[i : i + size] for i in range(0, len(slopes), size)]


LEAST_STRENGTH = Exercise(
    signature="least_strength(slopes, size)",
    cases=[
        (_Numbers([3.0, 4.0, -4.5, 0.0]), 2),
        (_Numbers([1.0, -2.0, 2.0, 0.0, 0.0, 2.5]), 3),
        (_Numbers([1.0, -7.0]), 1),
        (_Numbers([0.0, 0.0, 0.0, 0.0]), 2),
        (_Numbers([2.0, 2.0, 2.0, 2.0, -1.0, 1.0, 1.0, 1.0]), 4),
    ],
    mistakes=[
        (
            lambda g, n: max(map(abs, g)),
            "this empties single weights, one by one. Take each group's slope as a whole.",
        ),
        (
            lambda g, n: min(math.hypot(*part) for part in _groups(g, n)),
            "at this strength the first group goes. The last one goes at the largest.",
        ),
        (
            lambda g, n: max(sum(map(abs, part)) for part in _groups(g, n)),
            "the length of a group's slope is the root of its sum of squares.",
        ),
        (
            lambda g, n: math.hypot(*g),
            "you took all slopes for one group. Each group holds on for itself.",
        ),
        (
            lambda g, n: sum(math.hypot(*part) for part in _groups(g, n)),
            "you added the groups up, but each is held against the strength for itself.",
        ),
        (
            lambda g, n: max(math.hypot(*part) for part in _groups(g, n)) ** 2,
            "you forgot the root.",
        ),
    ],
    hints=[
        "When does the corner at zero hold a group? Look at the conditions of a minimum.",
        "A group stays at zero while the length of its slope is at most the strength.",
        "The largest, over the groups, of the root of the sum of the squared slopes.",
    ],
    praise="Above this strength nothing is left: it is the right end of every such figure.",
)

EXERCISES = {1: PROXIMAL_STEP, 2: STEPS_TO_ZERO, 3: FIRST_OF_GROUP, 4: LEAST_STRENGTH}
