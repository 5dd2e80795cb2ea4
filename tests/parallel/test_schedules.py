"""Schedules and cuts, in one process: against theory, brute force and a real clock."""

from itertools import combinations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab import parallel
from costlab.lm.model import Config, LanguageModel
from costlab.parallel.schedules import (
    SCHEDULES,
    Action,
    Span,
    actions,
    before,
    bubble,
    most_held,
    rehearse,
    replay,
    simulate,
)
from costlab.parallel.stages import Stage, cut, slowest, unit_costs

SIZES = st.integers(1, 8).flatmap(lambda p: st.tuples(st.just(p), st.integers(p, 20)))


@given(SIZES, st.sampled_from(SCHEDULES), st.floats(0.1, 10), st.floats(0.1, 10))
@settings(max_examples=40, deadline=None)
def test_equal_stages_idle_for_the_bubble_of_theory(sizes, schedule, forward, backward):
    stages, microbatches = sizes
    orders = actions(schedule, stages, microbatches)
    spans = simulate(orders, [forward] * stages, [backward] * stages)
    assert len(spans) == 2 * stages * microbatches
    assert bubble(spans) == pytest.approx((stages - 1) / (microbatches + stages - 1), abs=1e-9)
    when = {span.action: span for span in spans}
    for action, span in when.items():
        if earlier := before(action, stages):
            assert span.start >= when[earlier].stop - 1e-12


@given(SIZES)
def test_1f1b_holds_as_many_micro_batches_as_stages_that_follow(sizes):
    stages, microbatches = sizes
    for stage, order in enumerate(actions("1f1b", stages, microbatches)):
        assert most_held(order) == stages - stage
    for order in actions("gpipe", stages, microbatches):
        assert most_held(order) == microbatches
        assert sorted(order, key=str) == sorted(set(order), key=str)


def test_two_stages_and_three_micro_batches_by_hand():
    words = [[f"{a.kind[0]}{a.micro}" for a in order] for order in actions("1f1b", 2, 3)]
    assert words == [["f0", "f1", "b0", "f2", "b1", "b2"], ["f0", "b0", "f1", "b1", "f2", "b2"]]


def test_an_order_that_waits_forever_is_refused():
    orders = actions("gpipe", 2, 2)
    orders[0].reverse()
    with pytest.raises(ValueError, match="wait for each other forever"):
        simulate(orders, [1, 1], [1, 1])


def test_sleeping_stages_take_the_time_that_was_simulated():
    orders = actions("1f1b", 4, 6)
    # the best of three: a busy machine lengthens sleeps, and nothing shortens them
    tries = [rehearse(orders, [0.02] * 4, [0.04] * 4) for _ in range(3)]
    spans = min(tries, key=bubble)
    assert [s.action for s in sorted(spans, key=lambda s: s.stop) if s.action.stage == 0] == orders[
        0
    ]
    assert bubble(spans) == pytest.approx(bubble(simulate(orders, [1] * 4, [2] * 4)), abs=0.15)


@given(SIZES, st.sampled_from(SCHEDULES), st.randoms())
@settings(max_examples=40, deadline=None)
def test_a_replay_takes_out_what_lies_between_passes(sizes, schedule, random):
    """Where nothing held stages up, nothing changes; where it did, it shows how they would run."""
    orders = actions(schedule, *sizes)
    forward, backward = ([random.uniform(1, 3) for _ in orders] for _ in range(2))
    clean = simulate(orders, forward, backward)
    again = {span.action: span for span in replay(clean)}
    assert all(again[s.action].start == pytest.approx(s.start) for s in clean)
    late = [Span(s.action, 3 * s.start, 3 * s.start + s.stop - s.start) for s in clean]
    found = {span.action: span for span in replay(late)}
    assert all(found[s.action].start == pytest.approx(s.start) for s in clean)
    assert bubble(late) >= bubble(clean) - 1e-12


@given(st.lists(st.integers(0, 30), min_size=1, max_size=9), st.data())
def test_the_cut_is_the_best_of_all_cuts(costs, data):
    stages = data.draw(st.integers(1, len(costs)))
    sizes = cut(costs, stages)
    assert len(sizes) == stages
    assert sum(sizes) == len(costs)
    every = [
        [b - a for a, b in zip((0, *inner), (*inner, len(costs)))]
        for inner in combinations(range(1, len(costs)), stages - 1)
    ]
    assert slowest(sizes, costs) == min(slowest(other, costs) for other in every)


def test_costs_of_units_by_hand():
    model = LanguageModel(Config(width=8, layers=2, heads=2, kv_heads=1, head_dim=4, ffn=16,
                                 context=32))  # fmt: skip
    block = 2 * 8 * 8 + 2 * 8 * 4 + 3 * 8 * 16
    attended = 4 * 8 * 32 / 2
    assert unit_costs(model, "parameters") == [2048, block + 16, block + 16, 2048 + 8]
    assert unit_costs(model, "flops") == [0, *[2 * block + attended] * 2, 4096]
    seconds = unit_costs(model, "time", torch.zeros(2, 32, dtype=torch.int64))
    assert len(seconds) == 4
    assert min(seconds) > 0


def test_stages_one_behind_the_other_are_the_model():
    model = LanguageModel(Config(width=8, layers=3, heads=2, kv_heads=1, head_dim=4, ffn=16,
                                 context=32))  # fmt: skip
    tokens = torch.randint(0, 256, (2, 9))
    for sizes in ([5], [1, 4], [2, 2, 1], [1, 1, 1, 1, 1]):
        stages = [Stage(model, sizes, i) for i in range(len(sizes))]
        x = tokens
        for stage in stages:
            x = stage(x)
        assert torch.equal(x, model(tokens))
        names = [name for stage in stages for name in stage.state_dict()]
        assert sorted(names) == sorted(model.state_dict())


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        (("zigzag", 2, 2), "schedule must be one of 1f1b, gpipe"),
        (("gpipe", 0, 2), "stages must be a whole number of at least 1, got 0"),
        (("gpipe", 2, 2.0), "microbatches must be a whole number of at least 1, got 2.0"),
        (("1f1b", 4, 3), "microbatches must be at least the 4 stages"),
    ],
)
def test_bad_schedules_are_refused(bad, words):
    with pytest.raises(ValueError, match=words):
        actions(*bad)


def test_bad_cuts_are_refused():
    with pytest.raises(ValueError, match="stages must be at most the 2 units, got 3"):
        cut([1.0, 2.0], 3)
    assert before(Action(0, 0, "forward"), 2) is None


def test_names_that_a_reader_types_are_functions_whatever_was_imported_before():
    assert callable(parallel.pipeline)
    assert callable(parallel.tensor_parallel)
    assert callable(parallel.expert_parallel)
