"""What a trace costs per month, given what a token costs in machine time."""

import math
from dataclasses import dataclass

import numpy as np

from costlab.workload.service import SERVICE
from costlab.workload.trace import SECONDS_PER_DAY, Trace, day

PROVISIONS = ("average", "peak")


@dataclass(frozen=True)
class MonthlyBill:
    """A month of machines: how many, how busy (0 to 1), and what they cost.

    `dollars_per_million_tokens` is per million generated tokens; the reading of the prompts is
    part of that price.
    """

    machines: float
    utilization: float
    dollars_per_month: float
    dollars_per_million_tokens: float


def monthly_bill(
    trace: Trace,
    *,
    seconds_per_prompt_token: float,
    seconds_per_output_token: float,
    price: float,
    provision: str = "average",
    window: int = 3600,
) -> MonthlyBill:
    """Return what serving `trace` day after day costs per month.

    `seconds_per_prompt_token` and `seconds_per_output_token` are machine-seconds: the time one
    machine is taken up by each token read and each token generated, so a machine that
    generates for 8 requests at once counts an eighth of a step for each. `price` is in dollars
    per machine-hour. With p prompt tokens and o output tokens per request,

        work                       = sum of p * seconds_per_prompt_token
                                          + o * seconds_per_output_token, over all requests
        machines  "average"        = work / seconds of the trace
                  "peak"           = work arriving in the busiest window / its seconds, rounded up
        utilization                = work / (machines * seconds of the trace)
        dollars_per_month          = machines * price * 24 * days per month
        dollars_per_million_tokens = dollars_per_month / million tokens generated per month

    "average" buys the mean of the work, machines in fractions, busy all the time: the least
    that any schedule can cost, and a queue for most of the day. "peak" buys whole machines
    that keep up with the busiest `window` (seconds of the clock, an hour unless told) and pays for
    them while they idle. A row of the trace stands for many requests, so its minutes are burstier
    than the real service's: an hour evens that out. Neither looks at latency within the window: a
    replay does (`costlab.serve`). Taught in chapter 1, The bill.

    Raises `ValueError` for an empty trace, a number that is negative or not finite, two token
    times of zero, an unknown `provision`, or a `window` that is not within the trace.
    """
    numbers = {
        "seconds_per_prompt_token": seconds_per_prompt_token,
        "seconds_per_output_token": seconds_per_output_token,
        "price": price,
    }
    _check(trace, numbers, provision)
    work = (
        trace.prompt_tokens * seconds_per_prompt_token
        + trace.output_tokens * seconds_per_output_token
    )
    seconds = trace.stop - trace.start
    total = float(work.sum()) * trace.sample_of
    machines = total / seconds if provision == "average" else _machines_at_peak(trace, work, window)
    dollars = machines * price * 24 * SERVICE.days_per_month
    days = seconds / SECONDS_PER_DAY
    generated = int(trace.output_tokens.sum()) * trace.sample_of / days * SERVICE.days_per_month
    return MonthlyBill(
        machines=machines,
        utilization=total / (machines * seconds),
        dollars_per_month=dollars,
        dollars_per_million_tokens=dollars / generated * 1e6,
    )


def month(bill: object, provision: str = "peak") -> MonthlyBill:
    """A month of the book's service at the speed of a measured `bill`.

    Each prompt token is charged its share of the time to the first token, each output token its
    share of the rest; a batch shares both. provision: as for `monthly_bill`. Taught in notebook 01.
    """
    load, first = bill.workload, bill.ttft_seconds
    written = load.batch * load.generate
    return monthly_bill(
        day(),
        provision=provision,
        price=bill.machine.price_per_hour,
        seconds_per_prompt_token=first / (load.batch * load.prompt),
        seconds_per_output_token=1 / bill.tokens_per_second - first / written,
    )


def _machines_at_peak(trace: Trace, work: np.ndarray, window: int) -> int:
    if not 0 < window <= trace.stop - trace.start:
        length = trace.stop - trace.start
        raise ValueError(
            f"window must be above 0 and at most the trace's {length:g} s; got {window}"
        )
    busiest = float(trace.per_window(window, work).max())
    # Sums of floats end a hair above whole numbers, which must not buy one more machine.
    return max(1, math.ceil(busiest / window * (1 - 1e-12)))


def _check(trace: Trace, numbers: dict[str, float], provision: str) -> None:
    if not isinstance(trace, Trace) or not len(trace):
        given = "an empty one" if isinstance(trace, Trace) else type(trace).__name__
        raise ValueError(f"trace must be a Trace with at least one request; got {given}")
    for name, value in numbers.items():
        if not (isinstance(value, int | float | np.number) and 0 <= value < math.inf):
            raise ValueError(f"{name} must be a finite number of at least 0; got {value!r}")
    if not numbers["seconds_per_prompt_token"] + numbers["seconds_per_output_token"] > 0:
        raise ValueError(
            "seconds_per_prompt_token and seconds_per_output_token must not both be 0; got 0 and 0"
        )
    if provision not in PROVISIONS:
        choices = " or ".join(map(repr, PROVISIONS))
        raise ValueError(f"provision must be {choices}; got {provision!r}")
