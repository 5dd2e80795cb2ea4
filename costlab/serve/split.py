"""Read prompts on some machines and write on others: what traffic costs when all are busy.

Taught in notebook 18.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from torch import nn

from costlab.bill.machine import this_machine
from costlab.serve.engine import Policy
from costlab.serve.pace import Pace
from costlab.serve.replay import at_rate, check_trace, replay
from costlab.workload.trace import Trace

MOST = 16  # requests under way at once, where more would keep the promise, too
RUSH = 1e6  # requests a second: all are there from the start, so that no machine is ever idle


@dataclass(frozen=True)
class Split:
    """Machine-seconds in which prompts were read and answers written, by machines that never rest.

    `places` requests were written at once; `tpot` is what a token after the first took at the 95th
    percentile of the requests, in seconds, and `keeps_promise` whether that was allowed: where it
    was not, even a lone request took longer.
    """

    places: int
    read_seconds: float
    write_seconds: float
    tpot: float
    keeps_promise: bool
    tokens: int
    price_per_hour: float

    @property
    def dollars_per_million_tokens(self) -> float:
        """The rent of both kinds of machines over the tokens written."""
        hours = (self.read_seconds + self.write_seconds) / 3600
        return self.price_per_hour * hours / self.tokens * 1e6


def split(
    model: nn.Module,
    trace: Trace,
    *,
    pace: Pace,
    tpot: float = math.inf,
    most: int = MOST,
    prefixes: int = 0,
    price: float | None = None,
) -> Split:
    """Rehearse `trace` where reading never comes between two tokens (arXiv:2401.09670).

    Some machines only read: one prompt after another, as many of them as the writers keep busy.
    The others only write, for as many requests at once, up to `most`, as let a token take `tpot`
    seconds at the 95th percentile. Each pass takes what `pace` says; moving keys and values from
    one kind to the other is not counted. prefixes, price: as for `replay`. With `most=1` the
    figures are those of one machine that serves one request after another.

    Raises ValueError for a `tpot` that is not positive, a `most` that is no whole number from 1,
    and as `replay` does. Taught in: notebooks/18_the_whole_bill.ipynb.
    """
    if not isinstance(tpot, int | float) or not tpot > 0:
        raise ValueError(f"tpot must be a positive number of seconds, got {tpot!r}")
    if not isinstance(most, int) or isinstance(most, bool) or most < 1:
        raise ValueError(f"most must be a whole number from 1, got {most!r}")
    check_trace(trace)
    hour = this_machine(price=price).price_per_hour
    rush = at_rate(trace, RUSH)
    reading = replay(
        model, replace(rush, output_tokens=np.ones_like(rush.output_tokens)), pace=pace,
        policy=Policy(places=1, prefixes=prefixes), price=hour,
    )  # fmt: skip
    instant = replace(pace, read_fixed=0.0, read_token=0.0, read_position=0.0)
    writing = _fullest(
        lambda n: replay(model, rush, pace=instant, policy=Policy(places=n), price=hour), tpot, most
    )
    return Split(
        places=writing.policy.places,
        read_seconds=reading.busy_seconds,
        write_seconds=writing.busy_seconds,
        tpot=writing.tpot(95),
        keeps_promise=writing.tpot(95) <= tpot,
        tokens=writing.tokens,
        price_per_hour=hour,
    )


def _fullest(rehearse, tpot: float, most: int):
    """The rehearsal with the most places whose tokens take `tpot` at most; else that with one."""
    best, low, high = None, 1, most
    while low < high:
        middle = (low + high + 1) // 2
        tried = rehearse(middle)
        if tried.tpot(95) <= tpot:
            best, low = tried, middle
        else:
            high = middle - 1
    return best or rehearse(1)
