"""Checkers and hints of the exercises of notebook 03, storage."""

from costlab.exercises.checking import Exercise

SPARSE_BYTES = Exercise(
    signature="sparse_bytes(weights, zeros, bits)",
    cases=[(1024, 0.5, 16), (4096, 0.25, 4), (1_048_576, 0.9, 32), (64, 0, 8), (800, 1, 16)],
    mistakes=[
        (
            lambda n, z, b: (1 - z) * n * b / 8,
            "you left out the mask: without it nobody knows where the values belong.",
        ),
        (
            lambda n, z, b: (n + z * n * b) / 8,
            "you stored the zeros. `zeros` is the share that needs no bits but those of the mask.",
        ),
        (lambda n, z, b: n + (1 - z) * n * b, "these are bits, and the question asks for bytes."),
        (
            lambda n, z, b: n + (1 - z) * n * b / 8,
            "your mask takes a byte for each weight; a bit is enough, eight of them to a byte.",
        ),
        (
            lambda n, z, b: (1 - z) * n * (1 + b) / 8,
            "your mask has bits for the values alone; it needs one for every weight.",
        ),
    ],
    hints=[
        "Two things are stored. How many of each are there?",
        "A bit for every weight, and `bits` bits for every weight that is not zero.",
        "weights, plus (1 - zeros) x weights x bits, are bits. Eight of them make a byte.",
    ],
    praise="Set it equal to weights x bits / 8 and you find the share at which a mask pays.",
)

BREAK_EVEN_BANDWIDTH = Exercise(
    signature="break_even_bandwidth(large, small, decoding)",
    cases=[(13, 10, 0.1), (26, 4, 0.05), (811_000, 570_000, 60), (100, 90, 2), (7, 1, 3)],
    mistakes=[
        (
            lambda large, small, t: large / t,
            "you divided the whole file by the decoding; only the bytes saved need not be read.",
        ),
        (
            lambda large, small, t: small / t,
            "this is how quickly the small file is decoded. Ask what you save by it.",
        ),
        (
            lambda large, small, t: t / (large - small),
            "this is seconds for each megabyte: turn it over.",
        ),
        (
            lambda large, small, t: (large - small) * t,
            "you multiplied, but slower decoding must lower the bandwidth at which it pays.",
        ),
        (
            lambda large, small, t: (large + small) / t,
            "you added the two files, but a machine reads one of them: take the difference.",
        ),
    ],
    hints=[
        "Write down the seconds until each of the two files is ready, at a bandwidth B.",
        "large / B on one side, small / B + decoding on the other. At which B are they equal?",
        "Multiply by B: large = small + decoding x B.",
    ],
    praise="Bytes saved over seconds spent: hold it against your disk before you compress.",
)

CHECKPOINT_DOLLARS = Exercise(
    signature="checkpoint_dollars(parameters, steps, every, price)",
    cases=[
        (7e9, 100_000, 1000, 0.023),
        (405e9, 2500, 1000, 0.02),
        (6_500_000, 14_000, 250, 0.023),
        (1e9, 999, 1000, 0.01),
    ],
    mistakes=[
        (
            lambda n, s, e, p: s // e * n * 2 / 1e9 * p,
            "these are the weights alone. To go on training you need the master copy and both "
            "means, too.",
        ),
        (
            lambda n, s, e, p: s // e * n * 12 / 1e9 * p,
            "you left out two bytes: the bf16 weight is stored beside its master copy.",
        ),
        (
            lambda n, s, e, p: s // e * n * 10 / 1e9 * p,
            "you counted one running mean; the optimizer keeps two for each parameter.",
        ),
        (lambda n, s, e, p: n * 14 / 1e9 * p, "this is one checkpoint. How many are there?"),
        (
            lambda n, s, e, p: s / e * n * 14 / 1e9 * p,
            "a checkpoint is written whole or not at all: round their number down.",
        ),
        (
            lambda n, s, e, p: s // e * n * 14 / 2**30 * p,
            "you divided by binary gigabytes; here one has 10^9 bytes.",
        ),
    ],
    hints=[
        "Three questions: bytes of one checkpoint, how many of them, dollars for a gigabyte.",
        "For each parameter: 2 bytes for the weight, 4 for the master, 4 for each of two means.",
        "steps // every checkpoints of 14 x parameters bytes, over 10^9, times the price.",
    ],
    praise="Size, frequency, price. What is missing is retention: throw some away.",
)

EXERCISES = {1: SPARSE_BYTES, 2: BREAK_EVEN_BANDWIDTH, 3: CHECKPOINT_DOLLARS}
