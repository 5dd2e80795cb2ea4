"""Top-k with error feedback: what travels, what waits, and against the dense average."""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from costlab.parallel import launch
from costlab.parallel.compression import TopK, largest

sys.path.insert(0, str(Path(__file__).parent))
import compression_work as work


@pytest.fixture(scope="module")
def two():
    return launch(work.averages, world_size=2)


def test_all_of_it_is_the_dense_average(two):
    for rank in two:
        assert torch.allclose(rank["all"], rank["dense"], atol=1e-7)


def test_the_largest_of_each_rank_arrive_halved(two):
    """Rank r's gradient is 1, 2, 3, 4 times (1, -10)[r]; the largest two of each travel."""
    for rank in two:
        assert torch.equal(rank["half"], torch.tensor([0.0, 0.0, 3 - 30, 4 - 40]) / 2)


def test_what_waits_goes_next_and_nothing_is_lost(two):
    for number, rank in enumerate(two):
        scale = (1.0, -10.0)[number]
        assert torch.equal(rank["waiting"], torch.tensor([1.0, 2.0, 0, 0]) * scale)
        assert torch.equal(rank["next"], torch.tensor([1 - 10, 2 - 20, 0, 0.0]) / 2)
        assert not rank["forgotten"].any()


def test_bytes_of_values_and_places(two):
    """Four bytes each for values and places of the larger half, of two ranks."""
    assert two[0]["sent"] == 2 * (4 + 4) * 2 * (2 - 1) / 2


@pytest.fixture
def single():
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


def test_over_time_everything_arrives(single):
    """The same gradient again and again: with feedback the sums agree, up to what waits."""
    p = nn.Parameter(torch.zeros(50))
    gradient, compress, total = torch.randn(50), TopK(0.1), torch.zeros(50)
    for _ in range(200):
        p.grad = gradient.clone()
        compress.average_([p])
        total += p.grad
    assert torch.allclose(total + compress.waiting[p], 200 * gradient, atol=1e-3)
    assert (total / 200 - gradient).abs().max() < 0.2 * gradient.abs().max()


def test_a_parameter_without_gradient_is_left_alone(single):
    p = nn.Parameter(torch.zeros(3))
    TopK(0.5).average_([p])
    assert p.grad is None


@given(st.lists(st.floats(-9, 9, width=32), min_size=1, max_size=30), st.floats(0.01, 1))
def test_largest_are_the_largest(numbers, share):
    gradient = torch.tensor(numbers)
    values, indices = largest(gradient, share)
    assert len(set(indices.tolist())) == len(values) == max(1, round(share * len(numbers)))
    assert torch.equal(gradient[indices], values)
    rest = gradient.index_fill(0, indices, 0.0)
    assert rest.abs().max() <= values.abs().min()


@pytest.mark.parametrize("share", [0, -0.1, 1.1, True, "all", float("nan")])
def test_a_bad_share_gets_one_sentence(share):
    with pytest.raises(ValueError, match="share must be above 0 and at most 1, got"):
        TopK(share)
