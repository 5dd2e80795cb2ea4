"""Times in alternation: what disturbs the machine disturbs every rival."""

import statistics
from time import perf_counter, process_time

import pytest
import torch


@pytest.fixture
def medians():
    """Median seconds of each function by name, called in turn on one thread."""

    def measure(functions, *, least=0.3, most=400):
        before = torch.get_num_threads()
        torch.set_num_threads(1)
        times = {name: [] for name in functions}
        try:
            with torch.inference_mode():
                for function in functions.values():  # what is prepared once is not measured
                    function()
                start = perf_counter()
                while perf_counter() - start < least * len(functions):
                    for name, function in functions.items():
                        begin = perf_counter()
                        function()
                        times[name].append(perf_counter() - begin)
                    if len(times[name]) >= most:
                        break
        finally:
            torch.set_num_threads(before)
        return {name: statistics.median(found) for name, found in times.items()}

    return measure


@pytest.fixture
def seconds():
    """Processor time on one thread: what else runs on the machine does not count."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)

    def measure(work):
        start = process_time()
        work()
        return process_time() - start

    yield measure
    torch.set_num_threads(before)
