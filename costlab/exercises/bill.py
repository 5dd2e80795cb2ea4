"""Checkers and hints of the exercises of notebook 01, the bill."""

import math

from costlab.exercises.checking import Exercise

FLOPS_PER_TOKEN = Exercise(
    signature="flops_per_token(parameters)",
    cases=[(6_500_000,), (7e9,), (175e9,), (1,), (0,)],
    mistakes=[
        (
            lambda n: n,
            "you counted one operation for each parameter, but a weight is multiplied and the "
            "product is added: two operations.",
        ),
        (
            lambda n: 6 * n,
            "this is the cost of training on a token. Generating runs the forward pass alone and "
            "leaves out the backward pass, which is two thirds of it.",
        ),
        (
            lambda n: 4 * n,
            "this is the backward pass alone. Generating a token needs the forward pass only.",
        ),
    ],
    hints=[
        "To make one token, every weight of the model is used once. What is done with it?",
        "A matrix times a vector: each weight is multiplied by an input and added to a sum.",
        "One multiplication and one addition for each parameter. No backward pass.",
    ],
    praise="Two operations for each parameter: enough to price any model from its size.",
)

DOLLARS_PER_MILLION = Exercise(
    signature="dollars_per_million(price_per_hour, tokens_per_second)",
    cases=[(3.6, 100), (2.5, 1), (0.2, 4321.5), (98.32, 25_000), (0, 50)],
    mistakes=[
        (
            lambda price, rate: price / (rate * 3600) * 1e3,
            "this is the price of a thousand tokens; the bill is per million.",
        ),
        (
            lambda price, rate: price / rate * 1e6,
            "the price is for an hour and the speed is per second: bring them to the same time "
            "before you divide.",
        ),
        (
            lambda price, rate: price / (rate * 3600),
            "this is the price of one token; the bill is per million.",
        ),
        (
            lambda price, rate: price / (rate * 60) * 1e6,
            "an hour has 60 minutes of 60 seconds: you used one of the two.",
        ),
        (
            lambda price, rate: price * rate * 3600 / 1e6,
            "you multiplied by the speed, but a faster machine must make tokens cheaper.",
        ),
    ],
    hints=[
        "How many tokens does the machine make in one hour?",
        "The price of an hour, shared among the tokens of that hour, is the price of one token.",
        "Tokens in an hour: the speed times 3600. Then scale from one token to a million.",
    ],
    praise="Price over speed: double the tokens per second and each token costs half.",
)


def _machines(requests: float, tokens: float, speed: float) -> float:
    return requests * tokens / speed


MONTHLY_DOLLARS = Exercise(
    signature=(
        "monthly_dollars(requests_per_second, tokens_per_request, tokens_per_second, "
        "price_per_hour)"
    ),
    cases=[(12, 50, 400, 1.5), (8, 100, 200, 2), (0.01, 20, 500, 3), (900, 30, 400, 0.5)],
    mistakes=[
        (
            lambda r, t, s, p: _machines(r, t, s) * p * 720,
            "you pay for parts of a machine, but you can only rent whole ones: round up.",
        ),
        (
            lambda r, t, s, p: math.floor(_machines(r, t, s)) * p * 720,
            "you rounded down, so the busiest moment has fewer machines than it needs: round up.",
        ),
        (
            lambda r, t, s, p: round(_machines(r, t, s)) * p * 720,
            "you rounded to the nearest machine; anything above a whole number needs one more: "
            "round up.",
        ),
        (
            lambda r, t, s, p: (math.floor(_machines(r, t, s)) + 1) * p * 720,
            "you rent one machine too many when the load fits exactly: round up, and no further.",
        ),
        (
            lambda r, t, s, p: math.ceil(_machines(r, t, s)) * p,
            "this is the bill for one hour; a month has 30 days of 24 hours.",
        ),
        (
            lambda r, t, s, p: math.ceil(_machines(r, t, s)) * p * 24,
            "this is the bill for one day; a month has 30 of them.",
        ),
        (
            lambda r, t, s, p: math.ceil(_machines(r, t, s)) * p * 730,
            "you took a month of 730 hours; this bill counts 30 days of 24 hours.",
        ),
        (
            lambda r, t, s, p: p * 720,
            "this is one machine, however many requests come: work out how many are needed at the "
            "busiest moment.",
        ),
        (
            lambda r, t, s, p: math.ceil(r / s) * p * 720,
            "each request wants many tokens: multiply the requests by the tokens of each.",
        ),
    ],
    hints=[
        "How many tokens per second must all the machines make together at the busiest moment?",
        "Divide by what one machine makes. Can you rent a third of a machine?",
        "Round up with math.ceil, then pay for each machine, every hour of 30 days.",
    ],
    praise="The busiest moment sets the bill: at all other times these machines wait, and you pay.",
)

EXERCISES = {1: FLOPS_PER_TOKEN, 2: DOLLARS_PER_MILLION, 3: MONTHLY_DOLLARS}
