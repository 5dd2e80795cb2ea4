"""Checkers and hints of the exercises of notebook 02, compute."""

from costlab.exercises.checking import Curve, Exercise

ATTAINABLE = Exercise(
    signature="attainable(intensity, peak, bandwidth)",
    curve=Curve([2.0**i for i in range(-2, 9)], (100e9, 10e9), log="xy"),
    cases=[
        (1.0, 100e9, 20e9), (50.0, 100e9, 20e9), (5.0, 100e9, 20e9), (0.5, 989e12, 3350e9),
        (1000.0, 989e12, 3350e9),
    ],
    mistakes=[
        (lambda i, p, b: i * b, "nothing computes faster than the peak, however it is fed."),
        (lambda i, p, b: p, "the peak is reached only where enough operations use each byte."),
        (lambda i, p, b: max(p, i * b), "the lower of the two ceilings counts, not the higher."),
        (
            lambda i, p, b: min(p, b / i),
            "you divided by the intensity: more operations for each byte let you do more of them.",
        ),
        (
            lambda i, p, b: 1 / (1 / p + 1 / (i * b)),
            "you added the two times, but carrying and computing go on at once.",
        ),
    ],
    hints=[
        "Two ceilings. Which one knows nothing of the intensity?",
        "B bytes a second, each used for `intensity` operations, feed so many operations a second.",
        "The smaller of peak and intensity x bandwidth.",
    ],
    praise="That is the whole roofline. What is left is to know your intensity.",
)  # fmt: skip

STEP_SECONDS = Exercise(
    signature="step_seconds(parameters, bytes_each, batch, peak, bandwidth)",
    cases=[
        (8e9, 2, 1, 989e12, 3350e9), (8e9, 2, 1000, 989e12, 3350e9), (6.5e6, 4, 1, 5e10, 1e10),
        (70e9, 1, 64, 1979e12, 4800e9), (1e9, 2, 300, 312e12, 2039e9),
    ],
    mistakes=[
        (
            lambda n, w, k, p, b: max(2 * n / p, n * w / b),
            "you forgot the batch: every sequence needs its own operations.",
        ),
        (
            lambda n, w, k, p, b: max(2 * n * k / p, n * w * k / b),
            "the weights are carried once for all sequences of the batch, not once for each.",
        ),
        (
            lambda n, w, k, p, b: 2 * n * k / p + n * w / b,
            "you added the two times, but carrying and computing go on at once.",
        ),
        (
            lambda n, w, k, p, b: max(n * k / p, n * w / b),
            "each weight is multiplied and added: two operations.",
        ),
        (
            lambda n, w, k, p, b: max(2 * n * k / p, n / b),
            "a weight has `bytes_each` bytes.",
        ),
    ],
    hints=[
        "Two times. One grows with the batch, the other does not.",
        "2 x parameters x batch operations; parameters x bytes_each bytes.",
        "Divide the first by the peak, the second by the bandwidth, and take the longer.",
    ],
    praise="As long as carrying takes longer, another sequence in the batch is free.",
)  # fmt: skip

DOLLARS = Exercise(
    signature="dollars_per_useful(price, peak, mfu)",
    cases=[(3.29, 989e12, 0.4), (0.526, 65e12, 0.25), (5.765, 2250e12, 0.35), (2.0, 312e12, 1.0)],
    mistakes=[
        (
            lambda c, p, m: c / (p * 3600) * 1e18,
            "these are dollars per operation that the data sheet promises. You pay for those, and "
            "use `mfu` of them.",
        ),
        (
            lambda c, p, m: c / (p * m) * 1e18,
            "the price is for an hour, the peak for a second.",
        ),
        (
            lambda c, p, m: c * m / (p * 3600) * 1e18,
            "you multiplied by the share that is used, but a lower share must cost more.",
        ),
        (lambda c, p, m: c / (p * m * 3600), "this is for one operation; 1e18 are asked."),
        (
            lambda c, p, m: p * m * 3600 / c / 1e18,
            "this is operations per dollar: turn it over.",
        ),
    ],
    hints=[
        "What do you get for an hour's price? Operations. How many of them are useful?",
        "peak x mfu useful operations a second, 3600 seconds an hour.",
        "price / (peak x mfu x 3600), times 1e18.",
    ],
    praise="A chip at half the price and a third of the MFU is no bargain.",
)  # fmt: skip

EXERCISES = {1: ATTAINABLE, 2: STEP_SECONDS, 3: DOLLARS}
