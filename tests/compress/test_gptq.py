"""GPTQ between nearest rounding and exhaustive search, and beside the surgeon's dense inverse."""

import itertools

import pytest
import torch

from costlab.compress import gptq as module
from costlab.compress.gptq import gptq, inverse_factor
from costlab.compress.rounding import fit_grid


def problem(rows=6, columns=40, seed=0, samples=200):
    """Weights and the Hessian of inputs that depend on each other."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator) / columns**0.5
    x = torch.randn(samples, columns, generator=generator) @ (mix + 0.5 * torch.eye(columns))
    return torch.randn(rows, columns, generator=generator), x.t() @ x / samples


def loss(weight, values, hessian):
    """Mean squared change of the output, summed over the outputs."""
    change = (values - weight).double()
    return float(((change @ hessian.double()) * change).sum())


def by_surgeon(weight, hessian, grid, damping):
    """The same codes by a dense inverse for each column, in float64 (arXiv:2210.17323, eq. 2)."""
    w, h = weight.double().clone(), hessian.double()
    h = h + torch.eye(len(h)).double() * h.diagonal().mean() * damping
    codes = torch.zeros_like(w)
    step = w.shape[1] // grid.scale.shape[1]
    for i in range(w.shape[1]):
        inverse = torch.linalg.inv(h[i:, i:])
        scale, zero = (t[:, i // step].double() for t in (grid.scale, grid.zero_point))
        codes[:, i] = (w[:, i] / scale + zero).round().clamp(grid.lowest, -grid.lowest - 1)
        error = w[:, i] - scale * (codes[:, i] - zero)
        w[:, i:] -= error[:, None] / inverse[0, 0] * inverse[0]
    return codes.to(torch.int8)


@pytest.mark.parametrize("bits", [2, 4, 8])
@pytest.mark.parametrize("options", [{}, {"groups": 4}, {"symmetric": False}], ids=str)
def test_inputs_that_do_not_depend_on_each_other_leave_nearest_rounding(bits, options):
    weight, hessian = problem()
    grid = fit_grid(weight, bits=bits, **options)
    assert torch.equal(gptq(weight, hessian.diagonal().diag(), grid), grid.encode(weight))
    assert not torch.equal(gptq(weight, hessian, grid), grid.encode(weight))


def test_the_factor_is_that_of_the_inverse():
    _, hessian = problem()
    factor = inverse_factor(hessian, damping=0.01).double()
    h = hessian.double() + torch.eye(40) * hessian.diagonal().double().mean() * 0.01
    assert torch.equal(factor, factor.triu())
    torch.testing.assert_close(factor.t() @ factor @ h, torch.eye(40).double(), rtol=0, atol=1e-5)


def test_tiny_rows_lie_between_the_best_codes_and_rounding():
    every = torch.tensor(list(itertools.product(range(-2, 2), repeat=5)), dtype=torch.int8)
    totals = {"best": 0.0, "gptq": 0.0, "rounding": 0.0}
    for seed in range(30):
        weight, hessian = problem(rows=1, columns=5, seed=seed)
        grid = fit_grid(weight, bits=2)
        codes = {
            "gptq": gptq(weight, hessian, grid), "rounding": grid.encode(weight),
        }  # fmt: skip
        found = {name: loss(weight, grid.decode(c), hessian) for name, c in codes.items()}
        found["best"] = min(loss(weight, grid.decode(c[None]), hessian) for c in every)
        assert found["best"] <= found["gptq"] + 1e-12
        for name in totals:
            totals[name] += found[name]
    assert totals["best"] < totals["gptq"] < 0.9 * totals["rounding"]


@pytest.mark.parametrize("damping", [0.01, 0.1])
@pytest.mark.parametrize("bits", [2, 3, 4])
def test_the_codes_are_those_of_the_optimal_brain_surgeon(bits, damping):
    weight, hessian = problem()
    grid = fit_grid(weight, bits=bits, symmetric=False)
    ours = gptq(weight, hessian, grid, damping=damping)
    assert torch.equal(ours, by_surgeon(weight, hessian, grid, damping))


@pytest.mark.parametrize("groups", [1, 2, 3, 4, 9])
def test_groups_inside_and_across_blocks(groups):
    """288 columns: two blocks of 128 and a rest; groups of 288, 144, 96, 72 and 32."""
    weight, hessian = problem(rows=4, columns=288, samples=600)
    grid = fit_grid(weight, bits=3, groups=groups)
    assert torch.equal(gptq(weight, hessian, grid), by_surgeon(weight, hessian, grid, 0.01))


@pytest.mark.parametrize("block", [1, 7, 40, 1000])
def test_the_size_of_the_block_changes_nothing(monkeypatch, block):
    weight, hessian = problem()
    grid = fit_grid(weight, bits=3, groups=5)
    want = by_surgeon(weight, hessian, grid, 0.01)
    monkeypatch.setattr(module, "BLOCK", block)
    assert torch.equal(gptq(weight, hessian, grid), want)


@pytest.mark.parametrize("size", [1e-6, 1e6])
def test_the_size_of_the_inputs_changes_nothing(size):
    weight, hessian = problem()
    grid = fit_grid(weight, bits=3)
    assert torch.equal(gptq(weight, hessian * size, grid), gptq(weight, hessian, grid))


@pytest.mark.parametrize("samples", [3, 200])
def test_inputs_that_never_come_are_rounded_to_nearest(samples):
    """And fewer samples than columns, which leave the Hessian singular, are enough to go on."""
    weight, hessian = problem(samples=samples)
    dead = [0, 7, 39]
    hessian[dead], hessian[:, dead] = 0, 0
    grid = fit_grid(weight, bits=3)
    codes, nearest = gptq(weight, hessian, grid), grid.encode(weight)
    assert torch.equal(codes[:, dead], nearest[:, dead])
    values = [grid.decode(c) for c in (codes, nearest)]
    assert loss(weight, values[0], hessian) < loss(weight, values[1], hessian)


def test_nothing_known_about_the_inputs_leaves_nearest_rounding():
    weight, hessian = problem()
    grid = fit_grid(weight, bits=3)
    assert torch.equal(gptq(weight, torch.zeros_like(hessian), grid), grid.encode(weight))


def test_weights_and_hessian_stay_as_they_were():
    weight, hessian = problem()
    before = weight.clone(), hessian.clone()
    gptq(weight, hessian, fit_grid(weight, bits=3))
    assert torch.equal(weight, before[0])
    assert torch.equal(hessian, before[1])


def test_what_lies_on_the_grid_stays_there():
    weight, hessian = problem()
    grid = fit_grid(weight, bits=4)
    codes = grid.encode(weight)
    assert torch.equal(gptq(grid.decode(codes), hessian, grid), codes)
