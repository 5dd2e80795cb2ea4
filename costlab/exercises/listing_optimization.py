"""Checkers and hints of the exercises of notebook 16, the listing on optimization."""

import math

from costlab.exercises.checking import Exercise

TAKEN = Exercise(
    signature="taken(weights, amount)",
    cases=[(12, 1), (12, 1.0), (12, 0.1), (11264, 0.1), (1280, 40), (17, 0.5), (12, 0.3), (9, 0)],
    mistakes=[
        (
            lambda n, a: round(a * n),
            "a whole number is a count: 1 takes one weight. Look at the type of amount.",
        ),
        (
            lambda n, a: a if isinstance(a, int) else math.floor(a * n),
            "you rounded the share down. Torch takes the nearest whole number of weights.",
        ),
        (
            lambda n, a: a if isinstance(a, int) else math.ceil(a * n),
            "you rounded the share up. Torch takes the nearest whole number of weights.",
        ),
        (
            lambda n, a: a if isinstance(a, int) else math.floor(a * n + 0.5),
            "you rounded a half up. Python's round goes to the even neighbor.",
        ),
        (
            lambda n, a: a if isinstance(a, int) else a * n,
            "no layer loses part of a weight: round to whole ones.",
        ),
        (
            lambda n, a: a if a >= 1 else round(a * n),
            "1.0 is a share, all of them, although it is no larger than the count 1.",
        ),
        (
            lambda n, a: n - (a if isinstance(a, int) else round(a * n)),
            "these are the weights that stay. How many go?",
        ),
    ],
    hints=[
        "The same number means two things, and its size does not say which.",
        "isinstance(amount, int) is a count. Otherwise it is a share of the weights, rounded.",
        "amount if isinstance(amount, int) else round(amount * weights).",
    ],
    praise="1 and 1.0 are equal to Python, and a whole model apart to torch's pruning.",
)

AMOUNT_EACH = Exercise(
    signature="amount_each(share, rounds)",
    cases=[(0.75, 2), (0.5, 1), (0.9, 5), (0, 3), (0.99, 10)],
    mistakes=[
        (
            lambda s, n: s / n,
            "this holds if every call takes of all weights. It takes of those that are left.",
        ),
        (
            lambda s, n: s,
            "this is right for one call. The next takes the same share of what is left, and so on.",
        ),
        (
            lambda s, n: (1 - s) ** (1 / n),
            "this is the share that each call leaves. What does it take?",
        ),
        (
            lambda s, n: 1 - s ** (1 / n),
            "you took the root of what goes. What is left multiplies from call to call.",
        ),
        (
            lambda s, n: s ** (1 / n),
            "what goes does not multiply from call to call. What does?",
        ),
        (
            lambda s, n: 1 - (1 - s) ** n,
            "this is what n calls with that share remove together: turn it round.",
        ),
    ],
    hints=[
        "Follow the weights that are left: by what does each call multiply their number?",
        "By 1 - amount. After all rounds, 1 - share of them must be left.",
        "1 - (1 - share) ** (1 / rounds).",
    ],
    praise="What is left multiplies. That is why two halves made three quarters.",
)

NEURONS_FOR = Exercise(
    signature="neurons_for(inputs, outputs, most_bytes)",
    cases=[
        (88, 10, 25384),
        (88, 10, 25383),
        (784, 10, 1e6),
        (3, 5, 160),
        (3, 5, 212),
        (3, 5, 144),
        (1, 1, 100),
    ],
    mistakes=[
        (
            lambda d, k, b: b // 4 // (d + k),
            "you left out the biases: one for each neuron, and one for each output.",
        ),
        (
            lambda d, k, b: b // 4 // (d + 1 + k),
            "you left out the biases of the outputs, which are there whatever you cut.",
        ),
        (
            lambda d, k, b: (b // 4 - k) // (d + k),
            "each neuron has a bias, too.",
        ),
        (
            lambda d, k, b: (b - k) // (d + 1 + k),
            "a number takes four bytes.",
        ),
        (
            lambda d, k, b: (b // 4 - k) // (d + 1),
            "you counted the rows of the first matrix. A column of the second goes with each.",
        ),
        (
            lambda d, k, b: (b / 4 - k) / (d + 1 + k),
            "part of a neuron is no neuron: round down.",
        ),
        (
            lambda d, k, b: math.ceil((b / 4 - k) / (d + 1 + k)),
            "rounded up, the last neuron does not fit any more.",
        ),
        (
            lambda d, k, b: round((b / 4 - k) / (d + 1 + k)),
            "rounded to the nearest, the last neuron may not fit any more.",
        ),
        (
            lambda d, k, b: (b // 4 - k) // (d + 1 + k) // 8 * 8,
            "shear rounds to multiples of 8 for a fraction; `to` is taken as it is.",
        ),
    ],
    hints=[
        "How many numbers go with one neuron, and how many with none?",
        "With one: inputs + 1 + outputs. With none: the biases of the outputs. Four bytes each.",
        "(most_bytes // 4 - outputs) // (inputs + 1 + outputs).",
    ],
    praise="You can name the size before you cut, for what is cut leaves nothing behind.",
)

EXERCISES = {1: TAKEN, 2: AMOUNT_EACH, 3: NEURONS_FOR}
