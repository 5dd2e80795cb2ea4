"""What lowers a service's bill: priced by the estimate, ranked by dollars, nothing free."""

import pytest

from costlab import estimate
from costlab.levers import MOST, Service, levers, smaller, table

DAY = {"requests_per_day": 2e6, "prompt": 1500, "generate": 300, "model": "llama-3.1-70b"}


def found(**changes):
    today, ranked = levers(Service(**DAY | changes))
    return today, {lever.name: lever for lever in ranked}


def test_todays_rent_is_a_fleet_for_the_busiest_hour():
    today, _ = found(peak=3.0)
    asked = {"requests_per_s": 3 * 2e6 / 86400, "prompt": 1500, "generate": 300}
    assert today[0] == estimate.fleet("llama-3.1-70b", "h100-sxm", **asked).dollars
    assert today[1] <= today[0] <= today[2]


def test_levers_are_ranked_and_each_saves_what_it_says():
    today, ranked = levers(Service(**DAY, shared=0.4))
    assert 0 < len(ranked) <= MOST
    saved = [lever.saved for lever in ranked]
    assert saved == sorted(saved, reverse=True)
    for lever in ranked:
        assert lever.saved == pytest.approx(today[0] - lever.dollars)
        assert lever.saved > 0
        assert lever.payback_days == pytest.approx(lever.days * 800 / lever.saved * 730 / 24)


def test_eight_bits_are_the_fleet_in_eight_bits():
    _, by_name = found(shared=0.4)
    asked = {"requests_per_s": 2.5 * 2e6 / 86400, "prompt": 1500, "generate": 300}
    eight = estimate.fleet("llama-3.1-70b", "h100-sxm", weight_bits=8, **asked)
    assert by_name["weights_8"].dollars == eight.dollars


def test_another_accelerator_is_named_and_is_the_cheapest():
    _, by_name = found()
    lever = by_name["chip"]
    asked = {"requests_per_s": 2.5 * 2e6 / 86400, "prompt": 1500, "generate": 300}
    assert estimate.fleet(DAY["model"], lever.picked, **asked).dollars == lever.dollars
    assert estimate.fleet(DAY["model"], "h200-sxm", **asked).dollars >= lever.dollars


def test_prefixes_that_nobody_shares_save_nothing():
    none = levers(Service(**DAY, pays="call", api="gpt-4o"))[1]
    some = levers(Service(**DAY, pays="call", api="gpt-4o", shared=0.5))[1]
    assert "cached" not in {lever.name for lever in none}
    assert "cached" in {lever.name for lever in some}


def test_calling_costs_what_the_price_list_says():
    today, _ = found(pays="call", api="gpt-4o")
    each = (1500 * 2.5 + 300 * 10) / 1e6
    assert today == pytest.approx((each * 2e6 * 730 / 24,) * 3)


def test_a_smaller_model_is_recent_and_at_most_half():
    assert estimate.resolve_model(smaller("llama-3.1-405b")).params < 203e9
    assert smaller("qwen2.5-0.5b") is None


def test_what_cannot_be_served_has_no_bill():
    assert levers(Service(**DAY, slo_tpot=1e-6)) == (None, [])
    assert levers(Service(**DAY | {"accelerator": "h800-sxm"}))[0] is None  # nobody's price


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"requests_per_day": -1}, "requests_per_day must be a number above 0"),
        ({"pays": "never"}, "pays must be one of rent, call, got 'never'"),
        ({"api": "gpt-99"}, "api must be one of .* got 'gpt-99'"),
        ({"shared": 2}, "cached_share must be a number from 0 to 1, got 2"),
        ({"generate": 0}, "generate must be a whole number from 1"),
    ],
)
def test_bad_input_gets_a_sentence(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        Service(**DAY | bad)


def test_every_lever_says_what_it_risks():
    for row in table():
        assert row["risk"] in ("none", "low", "medium", "high")
        assert row["label"]
        assert row["why"]
        assert row["days"] > 0
