"""Checkers and hints of the exercises of notebook 17, serving."""

from costlab.exercises.checking import Curve, Exercise

CACHE_BYTES = Exercise(
    signature="cache_bytes(layers, kv_heads, head_dim, bytes_per_number, tokens)",
    cases=[(4, 2, 64, 4, 512), (32, 8, 128, 2, 8192), (80, 64, 128, 1, 1), (1, 1, 2, 0.5, 10)],
    mistakes=[
        (lambda n, h, d, b, t: n * h * d * b * t, "you counted keys or values; both are kept."),
        (lambda n, h, d, b, t: 2 * h * d * b * t, "every layer keeps its own."),
        (lambda n, h, d, b, t: 2 * n * h * d * t, "these are numbers, and it asks for bytes."),
        (lambda n, h, d, b, t: 2 * n * h * d * b, "this is one token; the request has more."),
        (lambda n, h, d, b, t: 2 * n * d * b * t, "each of the heads keeps its own vectors."),
    ],
    hints=[
        "What is kept of one token in one layer by one head?",
        "A key and a value, of head_dim numbers each, for every key-and-value head.",
        "Multiply by the layers, the bytes of a number and the tokens.",
    ],
    praise="Nothing in it shrinks when more requests share the weights: memory is the limit.",
)

BREAK_EVEN = Exercise(
    signature="break_even(price_per_hour, api_per_request)",
    cases=[(3.6, 0.001), (0.1, 0.000005), (3.29, 0.00004), (36, 0.5)],
    mistakes=[
        (lambda p, a: p / a, "these are requests an hour."),
        (lambda p, a: p / 60 / a, "these are requests a minute."),
        (lambda p, a: a * 3600 / p, "turn it over: a dearer machine needs more requests."),
        (lambda p, a: p / 3600 * a, "divide by the interface's price instead of multiplying."),
    ],
    hints=[
        "What does the machine cost in one second?",
        "How many requests at the interface's price cost as much?",
        "Divide the hour's price by 3600, and that by the price of a request.",
    ],
    praise="Below that rate you pay for an idle machine, above it the interface is dear.",
)

TOKENS_PER_CHECK = Exercise(
    signature="tokens_per_check(acceptance, lookahead)",
    curve=Curve([i / 20 for i in range(21)], (4,)),
    cases=[(0.5, 1), (0.8, 4), (0, 3), (1, 5), (0.3, 8)],
    mistakes=[
        (
            lambda a, k: sum(a**i for i in range(1, k + 1)),
            "these are the guesses kept; the check adds one token of its own.",
        ),
        (lambda a, k: a * k, "what stands behind a rejected guess is lost, and one is added."),
        (lambda a, k: 1 + a * k, "what stands behind a rejected guess is lost: use powers."),
        (lambda a, k: a**k, "this is the chance that all guesses are kept."),
        (
            lambda a, k: sum(a**i for i in range(k)),
            "one power is missing: after all guesses are kept a bonus token follows.",
        ),
    ],
    hints=[
        "How likely is it that at least one guess is kept? At least two?",
        "At least i guesses are kept with probability acceptance to the power of i.",
        "Add these up from i = 0, which is the token of the check itself, to lookahead.",
    ],
    praise="It never exceeds 1 / (1 - acceptance): looking further ahead soon buys nothing.",
)

TOKENS_PAID = Exercise(
    signature="tokens_paid(turns, new, cached_price)",
    cases=[(1, 100, 0.1), (10, 500, 1), (20, 1000, 0.1), (3, 10, 0), (2, 8, 0.25)],
    mistakes=[
        (lambda t, n, c: n * t, "you forgot that the history is read again in each turn."),
        (lambda t, n, c: c * n * t * (t + 1) / 2, "new tokens are paid in full."),
        (
            lambda t, n, c: n * t + c * n * t * (t + 1) / 2,
            "you count each turn's new tokens twice: turn t rereads those of t - 1 turns.",
        ),
        (lambda t, n, c: n * t + c * n * t * (t - 1), "each pair of turns counts once: halve it."),
        (lambda t, n, c: n * t * (t + 1) / 2, "you forgot the discount of the cache."),
        (lambda t, n, c: n + c * n * (t - 1), "this is the last turn by itself: add all of them."),
    ],
    hints=[
        "How many tokens does turn t read, and how many of them are new?",
        "Turn t reads t x new tokens, and t - 1 parts of them were read before.",
        "0 + 1 + … + (turns - 1) is turns x (turns - 1) / 2.",
    ],
    praise="Ten times as many turns cost about a hundred times as much.",
)

EXERCISES = {1: CACHE_BYTES, 2: BREAK_EVEN, 3: TOKENS_PER_CHECK, 4: TOKENS_PAID}
