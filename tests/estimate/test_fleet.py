"""The cheapest fleet: enough for the busiest hour, no device too many."""

import pytest

from costlab.estimate import fleet, serving
from costlab.estimate.formulas import formula
from costlab.estimate.rental import HOURS

LOAD = {"prompt": 1000, "generate": 300}


@pytest.mark.parametrize("rate", [0.5, 30.0, 200.0])
def test_a_fleet_carries_its_load_and_one_replica_less_does_not(rate):
    f = fleet("llama-3.1-8b", "h100-sxm", requests_per_s=rate, slo_tpot=0.05, **LOAD)
    ask = {"requests_per_s": rate, "tensor": f.tensor, "slo_tpot": 0.05, **LOAD}
    assert serving("llama-3.1-8b", "h100-sxm", devices=f.devices, **ask).utilization <= 1
    if f.replicas > 1:
        fewer = f.devices - f.tensor
        assert serving("llama-3.1-8b", "h100-sxm", devices=fewer, **ask).utilization > 1


def test_a_month_has_the_same_hours_everywhere():
    month = formula("fleet")(rate=1.0, capacity=1.0, replica_devices=1, price=1.0)["per_month"]
    assert month == HOURS


def test_dollars_and_their_range():
    f = fleet("llama-3.1-8b", "h100-sxm", requests_per_s=100, price=2.0, **LOAD)
    assert f.dollars == 2.0 * HOURS * f.devices
    assert f.dollars_low < f.dollars < f.dollars_high
    assert f.devices == f.replicas * f.tensor * f.pipeline


def test_a_model_too_big_for_a_node_goes_through_stages():
    assert fleet("llama-3.1-405b", "h100-sxm", requests_per_s=1, **LOAD).pipeline == 2


def test_what_cannot_be_promised_has_no_fleet():
    assert fleet("llama-3.1-8b", "h100-sxm", requests_per_s=1, slo_tpot=1e-6, **LOAD) is None


def test_without_a_price_there_are_no_dollars():
    assert fleet("llama-3.1-8b", "h800-sxm", requests_per_s=1, **LOAD).dollars is None


def test_bad_input_gets_a_sentence():
    with pytest.raises(ValueError, match="requests_per_s must be a number above 0"):
        fleet("llama-3.1-8b", "h100-sxm", requests_per_s=0, **LOAD)
    with pytest.raises(ValueError, match="prompt must be a whole number"):
        fleet("llama-3.1-8b", "h100-sxm", requests_per_s=1, prompt="x", generate=3)
