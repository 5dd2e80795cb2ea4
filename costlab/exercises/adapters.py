"""Checkers and hints of the exercises of notebook 13, adapters."""

from costlab.exercises.checking import Exercise

ADAPTER_SHARE = Exercise(
    signature="adapter_share(inputs, outputs, rank)",
    cases=[(384, 1024, 8), (8192, 8192, 16), (64, 64, 32), (4096, 1024, 1), (3, 5, 2)],
    mistakes=[
        (
            lambda n, m, r: r * (n + m),
            "these are the adapter's parameters; divide them by those of the matrix.",
        ),
        (
            lambda n, m, r: n * m / (r * (n + m)),
            "this is how many times more the matrix has: turn it over.",
        ),
        (
            lambda n, m, r: r / n,
            "you counted one of the two strips. A has `inputs` columns, B has `outputs` rows.",
        ),
        (
            lambda n, m, r: r / m,
            "you counted one of the two strips. A has `inputs` columns, B has `outputs` rows.",
        ),
        (
            lambda n, m, r: r * n * m / (n * m),
            "the two strips stand beside each other: add their parameters, do not multiply.",
        ),
        (
            lambda n, m, r: (n + m) / (n * m),
            "you left out the rank: each strip is `rank` wide.",
        ),
    ],
    hints=[
        "How many entries has A, how many has B?",
        "A has rank x inputs, B has outputs x rank. The matrix has inputs x outputs.",
        "rank x (inputs + outputs) / (inputs x outputs).",
    ],
    praise="The wider the matrix, the smaller the share: large models gain most.",
)

TRAINING_BYTES = Exercise(
    signature="training_bytes(weights, bits, trained)",
    cases=[(7e9, 16, 4e6), (70e9, 4.5, 2e8), (1000, 32, 1000), (1e6, 8, 0)],
    mistakes=[
        (
            lambda n, b, t: 16 * n,
            "this is full training: only the `trained` parameters take sixteen bytes.",
        ),
        (
            lambda n, b, t: n * b / 8,
            "these are the frozen weights alone; what is trained is missing.",
        ),
        (lambda n, b, t: n * b + 16 * t, "the frozen weights are in bits here: eight to a byte."),
        (
            lambda n, b, t: n * b / 8 + 8 * t,
            "you counted the two means. A trained parameter is also held itself, and has a "
            "gradient.",
        ),
        (
            lambda n, b, t: n * b / 8 + 12 * t,
            "you left out four bytes: parameter, gradient and two means, of four bytes each.",
        ),
        (
            lambda n, b, t: n * b / 8 + 16 * n,
            "the sixteen bytes are for each trained parameter, not for each weight.",
        ),
    ],
    hints=[
        "Two kinds of numbers are held: the frozen ones and the trained ones.",
        "A frozen weight takes bits / 8 bytes. What is held for a trained parameter?",
        "weights x bits / 8, plus 16 x trained.",
    ],
    praise="The first term is the model that you serve; the second is what training adds.",
)

CUSTOMERS_ON_A_CARD = Exercise(
    signature="customers_on_a_card(memory, model, adapter)",
    cases=[(80, 16, 0.5), (80, 40, 3), (24, 24, 1), (16, 20, 1), (100, 10, 9)],
    mistakes=[
        (
            lambda c, m, a: c // m,
            "this is how many copies fit. Over one model, each customer takes an adapter alone.",
        ),
        (
            lambda c, m, a: c // (m + a),
            "you gave each customer a model of its own; they share one.",
        ),
        (lambda c, m, a: c // a, "you left out the model that the adapters stand beside."),
        (
            lambda c, m, a: max(0, (c - m) / a),
            "customers are whole: one that fits in part is not served. Round down.",
        ),
        (
            lambda c, m, a: (c - m) // a,
            "right, but for a model that does not fit: then it serves nobody, not fewer than "
            "nobody.",
        ),
        (
            lambda c, m, a: max(0, -((m - c) // a)),
            "you rounded up, and the last customer does not fit.",
        ),
    ],
    hints=[
        "What is held once, and what for each customer?",
        "The model is held once. How much memory does it leave?",
        "(memory - model) // adapter, and 0 where the model does not fit.",
    ],
    praise="Compare it with memory // model: that is how many copies would fit.",
)

STEP_SHARE = Exercise(
    signature="step_share(weights, trained)",
    cases=[(7e9, 4e6), (1000, 0), (1000, 100), (70e9, 2e8)],
    mistakes=[
        (lambda p, t: t / p, "the frozen weights are multiplied, too, forward and backward."),
        (
            lambda p, t: 2 / 3,
            "this is the frozen part. The adapters' own products come on top of it.",
        ),
        (
            lambda p, t: (p + t) / p,
            "no gradient is computed for the frozen weights: they take four operations, not six.",
        ),
        (
            lambda p, t: (2 * p + 6 * t) / (6 * p),
            "the backward pass goes through the frozen weights, too, to reach the layers before.",
        ),
        (
            lambda p, t: (4 * p + 2 * t) / (6 * p),
            "the adapters do all three products: two operations each time.",
        ),
        (
            lambda p, t: (4 * p + 4 * t) / (6 * p),
            "the adapters have gradients of their own: a third product of two operations.",
        ),
    ],
    hints=[
        "Count three products: forward, backward to the inputs, backward to the weights.",
        "Each takes two operations for each parameter. Which of them do frozen weights skip?",
        "(4 x weights + 6 x trained) / (6 x weights).",
    ],
    praise="However small the adapter, two thirds remain: it saves memory, not much time.",
)

EXERCISES = {1: ADAPTER_SHARE, 2: TRAINING_BYTES, 3: CUSTOMERS_ON_A_CARD, 4: STEP_SHARE}
