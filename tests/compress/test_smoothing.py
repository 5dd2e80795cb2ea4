"""Factors change nothing before rounding, and lose less in it."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.calibration import Statistics
from costlab.compress.rounding import fit_grid
from costlab.compress.smoothing import awq_factors, smoothquant_factors


def problem(seed=0, outlier=30.0):
    """Weights, inputs of which a few are far larger than the others, and what was seen of them."""
    generator = torch.Generator().manual_seed(seed)
    weight, x = (torch.randn(n, 24, generator=generator) for n in (16, 100))
    x[:, [3, 11]] *= outlier
    seen = Statistics(hessian=True)
    seen.add(x)
    return weight, x, seen


def loss(weight, factors, seen, **grid):
    """trace(D H D^T) of the weights rounded behind the factors."""
    scaled = weight * factors
    fitted = fit_grid(scaled, **grid)
    change = fitted.decode(fitted.encode(scaled)) / factors - weight
    return float(((change @ seen.hessian) * change).sum())


@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_factors_change_nothing_before_rounding(method):
    weight, x, seen = problem()
    if method == "awq":
        factors = awq_factors(weight, seen, bits=4)
    else:
        factors = smoothquant_factors(weight, seen)
    assert factors.shape == (24,)
    assert (factors > 0).all()
    assert not torch.allclose(factors, torch.ones(24), atol=0.1)
    moved = (x / factors) @ (weight * factors).t()
    torch.testing.assert_close(moved, x @ weight.t(), rtol=1e-4, atol=1e-3)


def test_half_strength_makes_inputs_and_weights_equally_large():
    weight, x, seen = problem()
    factors = smoothquant_factors(weight, seen)
    torch.testing.assert_close((x / factors).abs().amax(0), (weight * factors).abs().amax(0))


@pytest.mark.parametrize("strength", [0.0, 0.5, 0.75, 1.0])
def test_factors_of_smoothquant_are_those_of_the_paper(strength):
    weight, x, seen = problem()
    want = x.abs().amax(0) ** strength / weight.abs().amax(0) ** (1 - strength)
    torch.testing.assert_close(smoothquant_factors(weight, seen, strength=strength), want)


def test_rows_of_smoothed_inputs_round_better():
    weight, x, seen = problem()
    factors = smoothquant_factors(weight, seen)

    def rounded_error(x, w):
        s, t = x.abs().amax(1, keepdim=True) / 127, w.abs().amax(1, keepdim=True) / 127
        return float(((x / s).round() * s @ ((w / t).round() * t).t() - x @ w.t()).pow(2).mean())

    assert rounded_error(x / factors, weight * factors) < 0.5 * rounded_error(x, weight)


@settings(max_examples=20)
@given(
    seed=st.integers(0, 99), outlier=st.sampled_from([1.0, 30.0]), bits=st.integers(2, 8),
    groups=st.sampled_from([1, 3]), symmetric=st.booleans(), per_row=st.booleans(),
)  # fmt: skip
def test_awq_is_never_worse_than_rounding(seed, outlier, bits, groups, symmetric, per_row):
    weight, _, seen = problem(seed, outlier)
    grid = {"bits": bits, "symmetric": symmetric, "per_row": per_row}
    grid["groups"] = groups if per_row else 1
    plain = loss(weight, torch.ones(24), seen, **grid)
    assert loss(weight, awq_factors(weight, seen, **grid), seen, **grid) <= plain * (1 + 1e-5)


def test_awq_is_better_where_some_inputs_are_large():
    weight, _, seen = problem()
    factors = awq_factors(weight, seen, bits=3)
    assert loss(weight, factors, seen, bits=3) < 0.8 * loss(weight, torch.ones(24), seen, bits=3)
    assert factors[[3, 11]].min() > factors[[0, 1, 2]].max()


def test_the_search_takes_the_best_of_its_steps():
    weight, x, seen = problem()
    losses = []
    for step in range(20):
        factors = x.abs().mean(0) ** (step / 20)
        factors = factors / (factors.max() * factors.min()).sqrt()
        losses.append(loss(weight, factors, seen, bits=3))
    best = loss(weight, awq_factors(weight, seen, bits=3), seen, bits=3)
    assert best == pytest.approx(min(losses), rel=1e-4)
    assert min(losses) < min(losses[0], losses[-1])


@pytest.mark.parametrize("method", ["smoothquant", "awq"])
def test_inputs_and_weights_of_zero_leave_finite_factors(method):
    weight, x, _ = problem()
    weight[:, 5], x[:, 5], x[:, 6] = 0, 0, 0
    seen = Statistics(hessian=True)
    seen.add(x)
    if method == "awq":
        factors = awq_factors(weight, seen, bits=4)
    else:
        factors = smoothquant_factors(weight, seen)
    assert factors.isfinite().all()
    assert (factors > 0).all()
    moved = (x / factors) @ (weight * factors).t()
    torch.testing.assert_close(moved, x @ weight.t(), rtol=1e-3, atol=1e-3)
