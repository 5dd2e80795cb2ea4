"""Twins of 22_failure_lab: what each measurement says of the other suspect of its pair."""

import torch

from costlab import catalog
from costlab.exercises import faults
from costlab.exercises.fault_math import full_attention, lesson, network, numbers
from costlab.exercises.fault_money import Device

RUN = (7e9, 3500, 312e12)
SERVICE = {"tokens_per_day": 4e9, "machines": 12, "rate": 8000, "price": 2.0}
BEST = catalog.accelerator("h100-sxm").best_matmul_tflops * 1e12


def apart(train):
    one, two = (list(net.parameters()) for net in train(20)[0])
    return max((p - q).abs().max().item() for p, q in zip(one, two))


def surplus(quantize):
    w = numbers(64, 64) * torch.logspace(-2, 0, 64, dtype=torch.float64)[:, None]
    noise = (quantize(w) - w).square().mean(1)
    return (noise / (w.abs().amax(1) / 127).square() * 12).mean()


def worse(fit):
    error = fit(numbers(60, 40, seed=1), test := numbers(60, 40, seed=2))
    return error(numbers(600, 40, seed=3)) / error(test)


def zeros(train):
    weights = torch.cat([p.flatten() for p in train(10).parameters()])
    return (weights == 0).double().mean()


def moves(report):
    return report(*RUN, recompute=True) / report(*RUN, recompute=False)


def grows(stopwatch):
    return stopwatch(Device(), 0.008) / stopwatch(Device(), 0.004)


def off(attend):
    q, k, v = (numbers(12, 8, seed=s) for s in (1, 2, 3))
    return (attend(q, k, v) - full_attention(q, k, v)).abs().max()


def differs(gradients):
    x, y = lesson(32)
    pieces = [(x[:24], y[:24]), (x[24:30], y[24:30]), (x[30:], y[30:])]
    whole, parts = (gradients(network(), batches) for batches in ([(x, y)], pieces))
    gap = sum((p - w).square().sum() for p, w in zip(parts, whole))
    return (gap / sum(w.square().sum() for w in whole)).sqrt()


def doubles(per_million):
    return per_million(**SERVICE | {"tokens_per_day": 2e9}) / per_million(**SERVICE)


def other(case, measure, *, right):
    """The measurement of the suspect that the claim is not about."""
    return lambda: measure(faults.opened(case)[right])


TWINS = {
    "With every gradient averaged, both hold the same weights": other(1, apart, right=1),
    "With some left out, they have drifted apart": other(1, apart, right=0),
    "With a scale for each row the noise is as predicted, to a fifth": other(2, surplus, right=1),
    "With scales along the other axis it is a hundred times as large": other(2, surplus, right=0),
    "Calibrated on another text, a fresh one is no surprise": other(3, worse, right=1),
    "Calibrated on the test text, a fresh one has over three times the error": other(
        3, worse, right=0
    ),
    "Put back after each step, half of the weights stay zero": other(4, zeros, right=1),
    "With masked gradients alone, not one in twenty is left": other(4, zeros, right=0),
    "The best product reaches three quarters of the right peak": other(
        5, lambda share: share(BEST, "h100-sxm"), right=1
    ),
    "Of the other peak it seems to reach less than a half": other(
        5, lambda share: share(BEST, "h100-sxm"), right=0
    ),
    "At equal progress the right number does not move": other(6, moves, right=1),
    "The other rises by three tenths and more, for the same tokens": other(6, moves, right=0),
    "Twice the work takes twice the time, to a hundredth": other(
        7, lambda watch: abs(grows(watch) - 2), right=1
    ),
    "Without waiting for the end, the work makes no difference": other(7, grows, right=0),
    "With the cache, the answers are those without it": other(8, off, right=1),
    "With the mask off by one, they are not": other(8, off, right=0),
    "Averaged over tokens, pieces give the gradient of the whole": other(9, differs, right=1),
    "Averaged over pieces, they are off by more than a hundredth": other(9, differs, right=0),
    "At half of the traffic each token costs twice as much": other(10, doubles, right=1),
    "A price from a benchmark does not notice": other(10, doubles, right=0),
}
