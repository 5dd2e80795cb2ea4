"""The page of schemes: against sums done by hand, and against published memory."""

import pytest

from costlab import estimate
from costlab.parallel.schemes import schemes

MODEL = estimate.resolve_model("llama-3.1-8b")


def by_name(**given):
    return {s.name: s for s in schemes(MODEL, **given)}


def test_one_device_sends_nothing_and_never_idles():
    for scheme in schemes(MODEL, devices=1, tokens=100):
        assert (scheme.sent, scheme.bubble) == (0, 0)
        assert scheme.memory == 16 * MODEL.params


def test_by_hand_on_four_devices():
    found = by_name(devices=4, tokens=1000, microbatches=8)
    p, state = MODEL.params, 2 * 1000 * 4096
    assert found["data"].memory == 16 * p
    assert found["gradient"].memory == pytest.approx(2 * p + 14 * p / 4)
    assert found["fsdp"].memory == found["tensor"].memory == found["pipeline"].memory == 4 * p
    assert found["data"].sent == found["gradient"].sent == 4 * p * 3 / 4
    assert found["fsdp"].sent == 8 * 6 * p * 3 / 4
    assert found["tensor"].sent == 32 * 4 * 2 * state * 3 / 4  # four all-reduces of each block
    assert found["pipeline"].sent * 4 == 3 * 2 * state  # three borders, there and back
    assert found["pipeline"].bubble == 3 / 11


@pytest.mark.parametrize("name", ["devices", "tokens", "microbatches"])
@pytest.mark.parametrize("value", [0, 1.5, True])
def test_bad_numbers_are_refused(name, value):
    given = {"devices": 2, "tokens": 10, "microbatches": 2} | {name: value}
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got"):
        schemes(MODEL, **given)
