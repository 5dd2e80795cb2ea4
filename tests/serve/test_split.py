"""split: seconds worked out by hand, the most company a promise allows, machines without a rest."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.lm.model import Config, LanguageModel
from costlab.serve import Pace, Policy, at_rate, replay, split
from costlab.workload.trace import Trace

PACE = Pace(8e-3, 5e-4, 1e-6, 1e-2, 2e-4, 1e-8)


@pytest.fixture(scope="module")
def model():
    """Never passed: a pace stands for it."""
    torch.manual_seed(0)
    shape = {"width": 16, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 8, "ffn": 16}
    return LanguageModel(Config(**shape, context=512))


def trace(requests=12, seed=0, written=None):
    """Requests of many lengths; all begin with the same 50 bytes."""
    dice = np.random.default_rng(seed)
    outputs = dice.integers(2, 40, requests) if written is None else np.full(requests, written)
    return Trace(
        arrival_seconds=np.sort(dice.random(requests)),
        prompt_tokens=dice.integers(60, 300, requests),
        output_tokens=outputs,
        prefix_id=np.full(requests, 3),
        prefix_tokens=np.full(requests, 50),
        tenant=np.zeros(requests),
        stop=10,
    )


def test_seconds_are_those_worked_out_by_hand(model):
    flat = Pace(0.1, 0.0, 0.0, 0.5, 0.0, 0.0)  # 0.1 s a step, 0.5 s a prompt
    found = split(model, trace(8, written=11), pace=flat, most=4, price=3600)
    assert found.places == 4
    assert found.read_seconds == pytest.approx(8 * 0.5)
    assert found.tokens == 8 * 11  # the first of each comes with its prompt
    # one prompt enters between two steps: the first two requests start one step apart, and so on
    assert found.write_seconds == pytest.approx(0.1 * (8 * 10 / 4), rel=0.4)
    spent = found.read_seconds + found.write_seconds
    assert found.dollars_per_million_tokens == pytest.approx(spent / 88 * 1e6)


@given(seed=st.integers(0, 9))
@settings(max_examples=5)
def test_without_company_it_is_one_machine_that_never_rests(model, seed):
    asked = trace(seed=seed)
    found = split(model, asked, pace=PACE, most=1, price=1)
    one = replay(model, at_rate(asked, 1e6), pace=PACE, policy=Policy(places=1), price=1)
    assert found.read_seconds + found.write_seconds == pytest.approx(one.busy_seconds)
    assert found.tpot == pytest.approx(one.tpot(95))
    assert found.keeps_promise


@given(seed=st.integers(0, 9), times=st.floats(1.05, 3))
@settings(max_examples=5)
def test_one_more_would_break_the_promise(model, seed, times):
    asked = trace(24, seed=seed)
    promise = times * split(model, asked, pace=PACE, most=1, price=1).tpot
    found = split(model, asked, pace=PACE, tpot=promise, most=16, price=1)
    instant = replace(PACE, read_fixed=0.0, read_token=0.0, read_position=0.0)
    assert found.tpot <= promise
    assert found.keeps_promise
    if found.places < 16:
        more = Policy(places=found.places + 1)
        assert replay(model, at_rate(asked, 1e6), pace=instant, policy=more,
                      price=1).tpot(95) > promise  # fmt: skip


def test_kept_prefixes_shorten_reading_alone(model):
    plain, kept = (
        split(model, trace(), pace=PACE, most=4, prefixes=n, price=1) for n in (0, 2)
    )  # fmt: skip
    assert kept.read_seconds < plain.read_seconds
    assert kept.write_seconds == plain.write_seconds


def test_a_promise_that_nobody_keeps_is_told(model):
    found = split(model, trace(), pace=PACE, tpot=1e-6, price=1)
    assert (found.places, found.keeps_promise) == (1, False)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tpot": 0}, "tpot must be a positive number of seconds, got 0"),
        ({"tpot": float("nan")}, "tpot must be a positive number"),
        ({"tpot": "1"}, "tpot must be a positive number of seconds, got '1'"),
        ({"most": 0}, "most must be a whole number from 1, got 0"),
        ({"most": True}, "most must be a whole number from 1, got True"),
        ({"prefixes": -1}, "prefixes must be a whole number from 0, got -1"),
        ({"trace": [1]}, "trace must be a Trace with at least one request, got list"),
        ({"price": -1}, "price must be a positive number"),
    ],
)
def test_bad_input_gets_a_sentence(model, change, sentence):
    given = {"trace": trace(), "pace": PACE, "price": 1} | change
    with pytest.raises(ValueError, match=f"^{sentence}"):
        split(model, given.pop("trace"), **given)
