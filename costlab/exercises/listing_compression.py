"""Checkers and hints of the exercises of notebook 14, the listing on compression."""

import math

from costlab.exercises.checking import Exercise

CLIPPED = Exercise(
    signature="clipped(weight, threshold)",
    cases=[(0.3, 0.1), (-0.4, 0.1), (0.05, 0.1), (-0.05, 0.1), (0.1, 0.1), (-2, 1), (0, 0)],
    mistakes=[
        (
            lambda w, t: w if abs(w) >= t else 0,
            "a weight exactly at the threshold goes, too: |w| <= threshold.",
        ),
        (
            lambda w, t: w if w > t else 0,
            "large negative weights are gone. Compare the size of the weight, without its sign.",
        ),
        (
            lambda w, t: abs(w) if abs(w) > t else 0,
            "the test needs the size, but the weight that is kept must keep its sign.",
        ),
        (
            lambda w, t: max(-t, min(t, w)),
            "this is clamping: it changes the large weights, and clipping changes the small ones.",
        ),
        (
            lambda w, t: math.copysign(max(abs(w) - t, 0), w),
            "you shrank the weights that are kept, which is soft thresholding: leave them alone.",
        ),
        (
            lambda w, t: 0 if abs(w) > t else w,
            "you removed the large weights and kept the small ones: the other way round.",
        ),
        (
            lambda w, t: w,
            "no weight has changed. That is what the listing does: it freezes.",
        ),
    ],
    hints=[
        "Two cases: the weight goes, or it stays as it is. What decides?",
        "Its size, abs(weight), against the threshold. At the threshold it goes.",
        "weight if abs(weight) > threshold else 0.",
    ],
    praise="Each weight for itself: that one line is what the listing was meant to do.",
)

LARGEST_FROZEN = Exercise(
    signature="largest_frozen(rows, columns, threshold)",
    cases=[(128, 88, 0.1), (1, 1, 0.1), (10, 128, 0.5), (4096, 4096, 0.1), (1, 128, 2)],
    mistakes=[
        (
            lambda r, c, t: t,
            "this holds for a tensor of one weight. How does the norm grow with their number?",
        ),
        (
            lambda r, c, t: t / (r * c),
            "you divided by the number of weights, as if their sizes were added up. The norm adds "
            "squares, and takes a root.",
        ),
        (
            lambda r, c, t: t * math.sqrt(r * c),
            "this is the norm of weights as large as the threshold: turn it round.",
        ),
        (
            lambda r, c, t: t / math.sqrt(r),
            "this is the norm of one column alone: the listing takes the whole matrix.",
        ),
        (
            lambda r, c, t: t / math.sqrt(c),
            "this is the norm of one row alone: the listing takes the whole matrix.",
        ),
        (
            lambda r, c, t: t**2 / (r * c),
            "this is the square of a weight: take its root.",
        ),
    ],
    hints=[
        "What is the norm of n weights that all have the same size s?",
        "s times the root of n, and n is rows x columns. Set that equal to the threshold.",
        "threshold / math.sqrt(rows * columns).",
    ],
    praise="One threshold, and every shape gets another one: it tests tensors, not weights.",
)


def _moved(gradient: float, rate: float, momentum: float, steps: int, *, last: float) -> float:
    """Way in `steps` steps whose gradient is `last`, after one whose gradient was `gradient`."""
    velocity, way = gradient, 0.0
    for _ in range(steps):
        velocity = momentum * velocity + last
        way += rate * velocity
    return way


MOVED = Exercise(
    signature="moved(gradient, rate, momentum, steps)",
    cases=[(2, 0.1, 0.9, 2), (2, 0.1, 0, 3), (1, 0.5, 0.5, 1), (4, 0.01, 0.9, 10)],
    mistakes=[
        (
            lambda g, r, m, n: 0,
            "frozen weights do move: the optimizer finds the old gradient and uses it.",
        ),
        (
            lambda g, r, m, n: r * g * n,
            "this is right without momentum. With it, every step adds to the velocity before it.",
        ),
        (
            lambda g, r, m, n: _moved(g, r, m, n, last=0),
            "this is a weight whose gradient was set to zero; here it was left in place.",
        ),
        (
            lambda g, r, m, n: _moved(0, r, m, n, last=g),
            "you began at rest, but the step before the freezing left a velocity.",
        ),
        (
            lambda g, r, m, n: _moved(g, r, m, n, last=g) - _moved(g, r, m, n - 1, last=g),
            "this is the last step alone: add up all of them.",
        ),
        (
            lambda g, r, m, n: _moved(g, r, m, n, last=g) + r * g,
            "you counted the step before the freezing, too.",
        ),
        (
            lambda g, r, m, n: _moved(g, r, m, n, last=g) / r,
            "these are the velocities. A step is the velocity times the learning rate.",
        ),
    ],
    hints=[
        "What does the optimizer know of the freezing? It sees a gradient, and its own velocity.",
        "In each step, velocity = momentum x velocity + gradient; the weight moves by rate x that.",
        "Begin with velocity = gradient, loop over the steps, and add up rate * velocity.",
    ],
    praise="Clear, backward, step: in that order a frozen weight has no gradient left.",
)

EXERCISES = {1: CLIPPED, 2: LARGEST_FROZEN, 3: MOVED}
