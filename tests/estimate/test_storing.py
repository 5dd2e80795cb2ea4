"""The storage estimate: sizes, prices, steady state, bad input."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab import catalog
from costlab.estimate import resolve_model, storage

PARAMS = resolve_model("llama-3.1-8b").params


def test_weights_and_checkpoints_are_what_the_parameters_say():
    e = storage("llama-3.1-8b", checkpoints_per_day=2, retention_days=7, copies=3)
    assert e.weights_gb == pytest.approx(3 * 2 * PARAMS / 1e9)
    assert e.checkpoint_gb == pytest.approx(14 * PARAMS / 1e9)
    assert e.checkpoints_kept == 14
    assert e.gb == pytest.approx(e.weights_gb + 14 * e.checkpoint_gb)
    assert e.written_gb == pytest.approx(60 * e.checkpoint_gb)


def test_a_terabyte_at_the_published_price():
    e = storage(data_gb=1000, provider="AWS")
    assert e.dollars_per_month == pytest.approx(23.0)
    assert e.dollars_per_month_low == e.dollars_per_month_high == e.dollars_per_month
    out = storage(data_gb=1000, provider="AWS", egress_gb=100)
    assert out.dollars_egress == pytest.approx(9.0)
    assert out.dollars_per_month == pytest.approx(32.0)


def test_the_range_is_that_of_the_providers():
    e, known = storage(data_gb=1000), catalog.price("object-standard", kind="storage")
    assert e.dollars_per_month_low == pytest.approx(1000 * known.low)
    assert e.dollars_per_month_high == pytest.approx(1000 * known.high)
    assert set(e.providers) == {row.provider for row in known.rows}
    assert e.oldest_price == known.oldest


def test_cold_tiers_charge_for_reading_and_say_so_when_nobody_knows_how_much():
    cold = storage(data_gb=100, tier="object-infrequent", provider="AWS", reads_gb=50)
    assert cold.dollars_retrieval == pytest.approx(0.5)
    assert storage(data_gb=100, reads_gb=50).dollars_retrieval == 0
    with pytest.raises(ValueError, match="no retrieval price"):
        storage(data_gb=100, tier="object-deep-archive", reads_gb=1)


def test_ones_own_price_and_the_words():
    e = storage(data_gb=10, price=0.5)
    assert e.dollars_per_month == pytest.approx(5)
    assert e.providers == ("as given",)
    assert "kept" in str(e)
    assert json.loads(e.to_json())["gb"] == 10


@given(st.floats(0, 1e6), st.floats(0, 24), st.floats(0, 400))
def test_more_is_never_cheaper(data, often, days):
    some = storage("gpt2", data_gb=data, checkpoints_per_day=often, retention_days=days)
    more = storage("gpt2", data_gb=data + 1, checkpoints_per_day=2 * often, retention_days=days)
    assert more.dollars_per_month > some.dollars_per_month
    assert some.dollars_per_month_low <= some.dollars_per_month <= some.dollars_per_month_high


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"tier": "object"}, "tier must be one of .*got 'object'"),
        ({"provider": "Amazon"}, "unknown provider"),
        ({"data_gb": -1}, "data_gb must be a number from 0 to 1e\\+15, got -1"),
        ({"reads_gb": "5"}, "reads_gb must be a number"),
        ({"egress_gb": float("nan")}, "egress_gb must be a number"),
        ({"checkpoints_per_day": True}, "checkpoints_per_day must be a number"),
        ({"copies": 1.5}, "copies must be a whole number"),
        ({"weight_bits": 0}, "weight_bits must be a number above 0"),
        ({"checkpoint_bytes": -2}, "checkpoint_bytes must be a number above 0"),
        ({"price": 0}, "price must be a number above 0"),
        ({"model": "gpt-2"}, "unknown model .*gpt2"),
    ],
)
def test_bad_input_is_one_sentence(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        storage(asked.pop("model", None), **asked)
