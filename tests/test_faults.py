"""The failure lab's suspects: the right ones against torch, the verdicts, the odd answers."""

import pytest
import torch
from torch import nn

from costlab.exercises import fault_math, fault_money, faults

CASES = range(1, 11)


@pytest.mark.parametrize("case", CASES)
def test_a_pair_is_one_right_and_one_broken(case):
    right, broken = faults.opened(case)
    assert right is not broken
    assert set(faults.suspects(case)) == {right, broken}
    assert broken.__doc__


def test_the_letters_give_nothing_away():
    first = [faults.suspects(case)[0] is faults.opened(case)[1] for case in CASES]
    assert 3 <= sum(first) <= 7


@pytest.mark.parametrize("case", CASES)
def test_exactly_one_letter_is_right(case, capsys):
    broken = faults.opened(case)[1]
    for letter, suspect in zip("ab", faults.suspects(case)):
        assert faults.accuse(case, letter) is (suspect is broken)
        said = capsys.readouterr().out
        assert ("broken." in said) is (suspect is broken)
        assert said.startswith(f"case {case}: ")


@pytest.mark.parametrize("answer", [..., None, "c", "", 1, torch.ones(1), str])
def test_anything_else_is_not_answered_yet(answer, capsys):
    assert faults.accuse(3, answer) is False
    assert "not answered yet" in capsys.readouterr().out


@pytest.mark.parametrize("case", [0, 11, -1, 1.0, True, "1", None])
def test_a_case_that_there_is_not_is_named(case):
    with pytest.raises(ValueError, match="case must be a whole number from 1 to 10"):
        faults.suspects(case)
    with pytest.raises(ValueError, match="case must be"):
        faults.accuse(case, "a")


# --- the right ones, against what others compute


def test_two_processes_do_what_one_does_on_all_of_the_batch():
    alone, (x, y) = fault_math.network(), fault_math.lesson()
    optimizer = torch.optim.SGD(alone.parameters(), lr=0.2)
    for _ in range(10):
        nn.functional.mse_loss(alone(x), y).backward()
        optimizer.step()
        optimizer.zero_grad()
    for net in fault_math.averages_all(10)[0]:
        for p, q in zip(net.parameters(), alone.parameters()):
            torch.testing.assert_close(p, q)


def test_rows_are_quantized_as_torch_does():
    w = fault_math.numbers(5, 7).float()
    scale = w.abs().amax(1) / 127
    zero = torch.zeros(5, dtype=torch.int32)
    theirs = torch.fake_quantize_per_channel_affine(w, scale, zero, 0, -128, 127)
    torch.testing.assert_close(fault_math.scales_rows(w), theirs)


def test_the_right_gradient_is_that_of_the_whole_batch():
    net, (x, y) = fault_math.network(), fault_math.lesson(10)
    found = fault_math.averages_tokens(net, [(x[:7], y[:7]), (x[7:], y[7:])])
    nn.functional.mse_loss(net(x), y).backward()
    for p, g in zip(net.parameters(), found):
        torch.testing.assert_close(g, p.grad)


def test_a_device_waits_only_when_it_is_asked():
    device = fault_money.Device()
    device.launch(2.0)
    assert device.clock == 0.5
    device.synchronize()
    assert device.clock == 2.5
    device.synchronize()
    assert device.clock == 2.5


def test_the_first_launch_is_not_timed():
    assert fault_money.times_to_the_end(fault_money.Device(), 0.01) == pytest.approx(0.01, rel=1e-3)


def test_a_service_costs_what_its_machines_cost():
    price = fault_money.prices_the_day(2e6, machines=3, rate=1.0, price=5.0)
    assert price * 2 == pytest.approx(3 * 5 * 24)
