"""Checkers and hints of the exercises of notebook 7, data parallel."""

from costlab.exercises.checking import Exercise

SENT = Exercise(
    signature="sent(parameters, processes)",
    cases=[(6_500_000, 2), (6_500_000, 8), (7_000_000_000, 64), (1000, 1), (1000, 4)],
    mistakes=[
        (
            lambda w, n: 4 * w,
            "once round is not enough, and not all of it is sent: count the chunks of the ring.",
        ),
        (
            lambda w, n: 4 * w * (n - 1) / n,
            "this is the first round, in which the sums are made. They must go round once more.",
        ),
        (
            lambda w, n: 2 * w * (n - 1) / n,
            "these are numbers; the question is how many bytes, four to a number.",
        ),
        (
            lambda w, n: 8 * w * (n - 1),
            "a step passes on one chunk, an N-th of the gradients, not all of them.",
        ),
        (
            lambda w, n: 8 * w,
            "this is what it comes to with very many processes; with N, one chunk less each round.",
        ),
    ],
    hints=[
        "2(N-1) steps, and in each of them a process sends one chunk. How large is a chunk?",
        "A chunk is an N-th of the gradients: parameters / processes numbers of 4 bytes.",
        "2 * (processes - 1) * 4 * parameters / processes.",
    ],
    praise="It hardly depends on N: the ring is why data parallel scales in bytes.",
)

RING_SECONDS = Exercise(
    signature="ring_seconds(payload, processes, latency, bandwidth)",
    cases=[(26e6, 2, 1e-5, 1e9), (26e6, 512, 1e-5, 5e10), (8.0, 8, 1e-5, 1e9), (1e9, 1, 1e-5, 1e9)],
    mistakes=[
        (
            lambda p, n, a, b: 2 * (n - 1) * a,
            "this is the waiting alone. Each step also moves a chunk.",
        ),
        (
            lambda p, n, a, b: 2 * (n - 1) * p / n / b,
            "this is right for a network without latency. Each step also waits once.",
        ),
        (
            lambda p, n, a, b: 2 * a + 2 * (n - 1) * p / n / b,
            "the latency is paid in every step, and there are 2(N-1) of them.",
        ),
        (
            lambda p, n, a, b: 2 * (n - 1) * (a + p / b),
            "a step moves a chunk, an N-th of the payload, not all of it.",
        ),
        (
            lambda p, n, a, b: (n - 1) * (a + p / n / b),
            "the sums go round once to be made and once to be handed out: 2(N-1) steps.",
        ),
        (
            lambda p, n, a, b: 2 * n * (a + p / n / b),
            "a chunk reaches all others in N-1 steps, not in N.",
        ),
    ],
    hints=[
        "How many steps are there, and what does one of them take?",
        "2(N-1) steps; each waits `latency` and moves payload / processes bytes.",
        "2 * (processes - 1) * (latency + payload / processes / bandwidth).",
    ],
    praise="Bandwidth does not care how many you are; latency does, and wins in the end.",
)

EXAMPLES = Exercise(
    signature="examples(batch, critical, fewest_steps)",
    cases=[(8, 32, 1000), (32, 32, 1000), (512, 32, 1000), (1, 1000, 10)],
    mistakes=[
        (
            lambda b, c, s: s * (1 + c / b),
            "these are the steps. Each of them takes `batch` examples.",
        ),
        (
            lambda b, c, s: s * b,
            "the fewest steps are reached only by a very large batch: this one needs more.",
        ),
        (
            lambda b, c, s: s * c,
            "this is what a tiny batch needs, the least of all: larger ones need more examples.",
        ),
        (
            lambda b, c, s: s * (1 + b / c) * b,
            "the other way round: a large batch needs few steps, 1 + critical / batch.",
        ),
        (
            lambda b, c, s: s * (1 + c / b) / b,
            "multiply the steps by the batch, do not divide.",
        ),
    ],
    hints=[
        "Steps times batch. How many steps does this batch need?",
        "fewest_steps * (1 + critical / batch).",
        "fewest_steps * (1 + critical / batch) * batch, or fewest_steps * (batch + critical).",
    ],
    praise="At the critical batch you pay twice the examples, and take twice the fewest steps.",
)

EXERCISES = {1: SENT, 2: RING_SECONDS, 3: EXAMPLES}
