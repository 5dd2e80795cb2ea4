"""Renting against an interface, the cost curve, and text instead of tokens."""

import pytest

from costlab import catalog
from costlab.estimate.rental import break_even, cost_curve, per_megabyte

CHAT = {"prompt": 500, "generate": 200, "weight_bits": 8, "kv_bits": 8}


def test_a_token_costs_less_the_busier_the_devices_are():
    points = cost_curve("llama-3.1-8b", "l4", price=1.0, **CHAT)
    dollars = [p.dollars_per_million_tokens for p in points]
    assert dollars == sorted(dollars, reverse=True)
    assert dollars[0] / dollars[1] == pytest.approx(points[1].load / points[0].load)
    waits = [p.ttft_p95_seconds for p in points]
    assert waits == sorted(waits)


def test_a_megabyte_of_text_compares_tokenizers():
    assert per_megabyte(8.0, 4.0) == 2.0
    letters, words = (
        cost_curve("llama-3.1-8b", "l4", price=1.0, loads=[0.5], bytes_per_token=b, **CHAT)[0]
        for b in (1.0, 4.0)
    )
    assert letters.dollars_per_megabyte == pytest.approx(4 * words.dollars_per_megabyte)


def test_at_the_break_even_both_cost_the_same():
    e = break_even("llama-3.1-8b", "l4", api="gpt-4o-mini", **CHAT)
    rent = catalog.price("l4").median
    assert e.rent_per_hour == pytest.approx(rent)
    assert e.requests_per_s * e.api_per_request * 3600 == pytest.approx(rent)
    request = (500 * 0.15 + 200 * 0.6) / 1e6
    assert e.api_per_request == pytest.approx(request)
    assert e.api_per_megabyte == pytest.approx(request / 200 / 4 * 1e6)
    assert e.reachable is (e.requests_per_s <= e.most_requests_per_s)


def test_cached_tokens_are_cheaper_there_too_and_a_finer_tokenizer_dearer():
    plain = break_even("llama-3.1-8b", "l4", api="gpt-4o-mini", **CHAT)
    cached = break_even("llama-3.1-8b", "l4", api="gpt-4o-mini", cached_share=0.8, **CHAT)
    assert cached.api_per_request < plain.api_per_request
    finer = break_even("llama-3.1-8b", "l4", api="gpt-4o-mini", api_bytes_per_token=2, **CHAT)
    assert finer.api_per_request == pytest.approx(2 * plain.api_per_request)


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"loads": [1.2]}, "loads must be a number above 0, at most 0.999"),
        ({"loads": [0]}, "loads must be a number above 0"),
        ({"bytes_per_token": 0}, "bytes_per_token must be a number above 0"),
        ({"batch": 3}, "batch and requests_per_s cannot be given"),
        ({"slo_tpot": 1e-6}, "must be promises that an idle service can keep"),
        ({"weight_bits": 64}, "model must fit"),
    ],
)
def test_bad_input_of_a_curve(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        cost_curve("llama-3.1-8b", "l4", **CHAT | asked)


def test_unknown_prices_are_refused():
    with pytest.raises(ValueError, match="unknown item 'gpt-9'"):
        break_even("llama-3.1-8b", "l4", api="gpt-9", **CHAT)
    with pytest.raises(ValueError, match="price must be given: the catalog has none for gaudi3"):
        cost_curve("llama-3.1-8b", "gaudi3", **CHAT)
