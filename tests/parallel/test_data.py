"""Data parallel, ring, local SGD: equal to one process, with the traffic that theory says.

The processes start once for two ranks and once for four; each test looks at what they brought.
"""

import data_workers as work
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from costlab.parallel import LocalSGD, data_parallel, launch, ring_all_reduce_
from costlab.parallel.data import buckets


@pytest.fixture(scope="module", params=[2, 4], ids=["2 ranks", "4 ranks"])
def ranks(request):
    """What each rank of a group of two, and of four, found."""
    return launch(work.everything, world_size=request.param, timeout=200, backend="gloo")


@pytest.fixture(scope="module")
def alone():
    """The weights that one process arrives at."""
    return work.alone()


def distance(a: dict, b: dict) -> float:
    """The largest difference between two sets of weights."""
    return max((a[name] - b[name]).abs().max().item() for name in a)


@pytest.mark.parametrize("scheme", ["ours", "one bucket", "torch", "ring"])
def test_every_scheme_gives_the_single_process_weights(ranks, alone, scheme):
    for found in ranks:
        assert distance(alone, found["schemes"][scheme]) < 1e-5
    weights = [found["schemes"][scheme] for found in ranks]
    assert all(distance(weights[0], other) == 0 for other in weights)


def test_averaging_parameters_in_the_hook_is_caught(ranks, alone):
    broken = [found["schemes"]["broken"] for found in ranks]
    assert distance(alone, broken[0]) > 1e-3
    assert distance(broken[0], broken[1]) > 1e-3


def test_accumulation_sends_once_and_gives_the_same_gradient(ranks):
    for found in ranks:
        at_once, count = found["accumulate"]["at once"]
        assert count == {"all_reduce": 1}
        for name, times in (("no_sync", 1), ("twice", 2)):
            gradients, count = found["accumulate"][name]
            assert count == {"all_reduce": times}
            for a, b in zip(at_once, gradients):
                torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-7)


def test_unused_shared_and_frozen_parameters_are_as_in_one_process(ranks):
    for found in ranks:
        for name, expected in found["odd"]["expected"].items():
            got = found["odd"]["grads"][name]
            assert (got is None) == (expected is None), name
            if expected is not None:
                torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)
        assert found["odd"]["grads"]["unused.weight"] is None
        assert found["odd"]["grads"]["branch.weight"] is not None
        assert found["odd"]["grads"]["zero.weight"].abs().max() == 0


def test_buffers_start_as_those_of_rank_0_and_names_stay(ranks):
    for found in ranks:
        assert found["odd"]["seen"] == [True, True]
        assert found["odd"]["rate"] == 0.5
        assert found["odd"]["keys"]


def test_every_type_and_layout_starts_as_on_rank_0(ranks):
    for found in (rank["alike_from_rank_0"] for rank in ranks):
        assert found["flag"].tolist() == [True]
        assert found["count"].item() == 7
        assert torch.equal(found["turned"], torch.zeros(3, 2))


def test_a_backward_pass_that_raised_leaves_nothing_behind(ranks):
    assert all(found["after_an_error"] for found in ranks)


def test_the_ring_adds_up_and_sends_what_theory_says(ranks):
    for found in ranks:
        for numel, equal, sent in found["rings"]:
            assert equal, numel
            if sent is not None:
                padded = numel + -numel % len(ranks)
                assert sent == 2 * 8 * padded * (len(ranks) - 1) / len(ranks)


def test_local_sgd_meets_every_third_step_and_sends_a_third(ranks):
    for found in (rank["meetings"] for rank in ranks):
        assert found["met"] == [False, False, True, False, False, True]
        gradient = 2 * 4 * found["parameters"] * (len(ranks) - 1) / len(ranks)
        assert found["sent"] == pytest.approx(6 * gradient / 3, rel=1e-12)
    mine, theirs = ranks[0]["meetings"]["weights"], ranks[1]["meetings"]["weights"]
    assert [torch.equal(a, b) for a, b in zip(mine, theirs)] == ranks[0]["meetings"]["met"]


def test_local_sgd_with_plain_averages_every_step_is_data_parallel_sgd(ranks):
    model = work.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        work.nats(model, work.windows(step)).backward()
        optimizer.step()
        optimizer.zero_grad()
    for found in ranks:
        for a, b in zip(found["meetings"]["average"], model.parameters()):
            torch.testing.assert_close(a, b.detach(), rtol=1e-4, atol=1e-6)


def test_the_outer_step_is_nesterov_along_the_mean_way(ranks):
    for found in (rank["meetings"] for rank in ranks):
        weight, velocity = 1.0, 0.0
        for _ in range(2):
            velocity = 0.5 * velocity + found["mean way"]
            weight -= 0.5 * (found["mean way"] + 0.5 * velocity)
        assert found["line"] == pytest.approx(weight, rel=1e-6)


PAYLOADS = {
    "all_reduce": [("all_reduce", 64, 2)],
    "reduce_scatter": [("reduce_scatter", 64, 2)],
    "all_gather": [("all_gather", 64, 2)],
    "all_gather of lists": [("all_gather", 64, 2)],
    "broadcast": [("broadcast", 64, 2)],
    "reduce": [("reduce", 64, 2)],
    "gather": [("gather", 64, 2)],
    "scatter": [("scatter", 64, 2)],
    "all_to_all": [("all_to_all", 64, 2)],
    "barrier": [],
    "functional all_reduce": [("all_reduce", 64, 2)],
    "functional all_gather": [("all_gather", 64, 2)],
    "functional reduce_scatter": [("reduce_scatter", 64, 2)],
    "torch's": [("all_reduce", 4 * (16 * 16 + 16), 2)],
    "ours": [("all_reduce", 4 * (16 * 16 + 16), 2)],
}


@pytest.mark.parametrize("ranks", [2], indirect=True)
def test_collectives_are_counted_from_outside(ranks):
    for rank, found in enumerate(ranks):
        for name, calls in PAYLOADS.items():
            assert found["counts"][name][0] == calls, name
            twice = 2 if calls and calls[0][0] == "all_reduce" else 1
            payload = calls[0][1] if calls else 0
            assert found["counts"][name][1] == twice * payload / 2, name
        sends = [("send", 64, 2)] if rank == 0 else []
        assert found["counts"]["send"] == (sends, 64.0 * len(sends))
        solo = [("all_reduce", 64, 1)] if rank == 0 else []
        assert found["counts"]["groups"] == ([("all_reduce", 64, 2), *solo], 64.0)


def test_what_cannot_be_trained_is_refused_on_every_rank(ranks):
    world = len(ranks)
    for rank, found in enumerate(ranks):
        said = found["refusals"]
        assert said["frozen"] == (
            "ValueError: model must have parameters that are trained, and all are frozen"
        )
        assert "model must be the same on all ranks; 0 and 1 differ in" in said["unlike"]
        assert said["rows"] == (
            f"ValueError: batch must divide into {world} equal shares, one for each process, got "
            f"{world + 1} rows: take a multiple of {world}"
        )
        assert said["no rows"].startswith("TypeError: batch must be a tensor with rows")
        assert said["ring"].startswith("TypeError: tensor must be a tensor of floats")
        assert said["shared"] == [4.0 * rank + i for i in range(4)]


def test_without_a_group_there_is_one_sentence():
    model = nn.Linear(2, 2)
    with pytest.raises(ValueError, match="data_parallel needs a process group"):
        data_parallel(model)
    with pytest.raises(ValueError, match="ring_all_reduce_ needs a process group"):
        ring_all_reduce_(torch.ones(2))
    with pytest.raises(ValueError, match="LocalSGD needs a process group"):
        LocalSGD(model, every=2)
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got int"):
        data_parallel(3)
    for bad in (0, -1, float("nan"), True, "25"):
        with pytest.raises(ValueError, match="bucket_mb must be a positive number of MiB"):
            data_parallel(model, bucket_mb=bad)
    for knobs in ({"every": 0}, {"every": 1.5}, {"every": 2, "outer_lr": 0},
                  {"every": 2, "outer_momentum": 1}):  # fmt: skip
        with pytest.raises(ValueError, match=f"{list(knobs)[-1]} must be"):
            LocalSGD(model, **knobs)


@given(
    st.lists(st.tuples(st.integers(0, 40), st.booleans(), st.booleans()), max_size=12),
    st.integers(1, 200),
)
def test_buckets_hold_every_trained_parameter_once_and_stay_under_the_limit(layers, limit):
    model = nn.Module()
    for i, (size, half, trained) in enumerate(layers):
        dtype = torch.float16 if half else torch.float32
        parameter = nn.Parameter(torch.zeros(size, dtype=dtype), requires_grad=trained)
        model.register_parameter(f"p{i}", parameter)
    found = buckets(model, limit / 2**20)
    flat = [p for bucket in found for p in bucket]
    expected = [p for p in model.parameters() if p.requires_grad and p.numel()]
    assert {id(p) for p in flat} == {id(p) for p in expected}
    assert len(flat) == len(expected)
    for bucket in found:
        assert len({p.dtype for p in bucket}) == 1
        assert len(bucket) == 1 or sum(p.numel() * p.element_size() for p in bucket) <= limit
