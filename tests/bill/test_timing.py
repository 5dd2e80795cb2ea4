"""The clock, with time that passes as the test says."""

import pytest
import torch

from costlab.bill import timing
from costlab.bill.records import Workload


@pytest.fixture
def passes(monkeypatch):
    """Lets each timed piece of work last as long as the next number of a list says."""

    def begin(lengths):
        moments = [0.0]
        for length in lengths:
            moments += [moments[-1], moments[-1] + length]
        left = iter(moments[1:])
        monkeypatch.setattr(timing.time, "perf_counter", lambda: next(left))

    return begin


def rounds(model, batch, workload, count):
    clock = timing.Clock(model, [batch], workload)
    for _ in range(count):
        clock.once()
    return clock.medians()


def test_medians_of_the_rounds_after_the_first(tiny, passes):
    # a round: one call that scores, the first token, three steps
    passes([900, 900, 900, 900, 900, 2, 10, 1, 2, 3, 4, 20, 5, 6, 7, 3, 30, 2, 3, 4])
    found = rounds(tiny(), torch.ones(2, 9, dtype=torch.long), Workload(2, 5, 4), 4)
    assert found == {
        "scored_per_second": 18 / 3,  # calls of 2, 4 and 3 seconds
        "ttft_seconds": 20,
        "latency_seconds": 3,  # the middle step of each round: 2, 6 and 3
        "tokens_per_second": 2 * 4 / 38,  # rounds of 16, 38 and 39 seconds
    }


def test_a_module_that_writes_nothing_is_timed_by_the_call(passes):
    passes([100, 3, 1, 2])
    assert rounds(torch.nn.Linear(2, 2), torch.ones(1, 2), Workload(), 4) == {"latency_seconds": 2}


def test_a_workload_that_writes_nothing_is_timed_by_the_call(tiny, passes):
    passes([100, 3, 1, 2])
    batch = torch.ones(1, 10, dtype=torch.long)
    found = rounds(tiny(), batch, Workload(generate=0), 4)
    assert found == {"latency_seconds": 2, "scored_per_second": 5}


def test_a_single_token_has_no_later_step(tiny, passes):
    passes([1, 1, 4, 4])
    batch = torch.ones(1, 10, dtype=torch.long)
    found = rounds(tiny(), batch, Workload(1, 2, 1), 2)
    assert found["latency_seconds"] is None
    assert (found["ttft_seconds"], found["tokens_per_second"]) == (4, 1 / 4)
