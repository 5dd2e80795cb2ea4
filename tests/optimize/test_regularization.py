"""Penalties and proximal steps: softshrink, closed forms, and the conditions of an optimum."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import costlab
from costlab.modules import layers
from costlab.optimize.regularization import (
    group_lasso_penalty,
    l1_penalty,
    neuron_groups,
    prox_group_lasso_,
    prox_l1_,
)
from costlab.optimize.shearing import shear


def mlp(bias=True):
    return nn.Sequential(nn.Linear(8, 16, bias=bias), nn.ReLU(), nn.Linear(16, 4, bias=bias))


def regression(groups=8, size=3, samples=120):
    """Inputs and outputs of which only some weights, in some groups, are any use; float64."""
    x = torch.randn(samples, groups * size, dtype=torch.float64)
    truth = torch.randn(groups, size, dtype=torch.float64)
    truth[2:] = 0
    return x, x @ truth.flatten() + 0.1 * torch.randn(samples, dtype=torch.float64)


def gradient(w, x, y):
    return (x.t() @ (x @ w.flatten() - y) / len(y)).view_as(w)


def descend(w, x, y, prox_, strength, steps=3000):
    """Proximal gradient descent at the rate that never overshoots."""
    lr = float(len(y) / torch.linalg.matrix_norm(x, 2) ** 2)
    for _ in range(steps):
        w -= lr * gradient(w, x, y)
        prox_([w], strength=strength, lr=lr)
    return w


def test_the_penalties_by_hand(tiny, peers):
    model = mlp()
    up, down = model[0].weight, model[2].weight
    torch.testing.assert_close(
        l1_penalty(model, strength=0.3), 0.3 * (up.abs().sum() + down.abs().sum())
    )
    norms = (up.pow(2).sum(1) + down.pow(2).sum(0)).sqrt()
    torch.testing.assert_close(group_lasso_penalty(model, strength=0.3), 0.3 * norms.sum())
    layer = nn.Linear(6, 5)
    want = 2 * layer.weight.norm(dim=1).sum()
    torch.testing.assert_close(group_lasso_penalty(layer, strength=2), want)
    model, gpt2 = tiny(), peers["gpt2"]
    want = sum(m.weight.abs().sum() for n, m in layers(model).items() if n != "lm_head")
    torch.testing.assert_close(l1_penalty(model, strength=1), want)
    want = torch.zeros(())
    for block in model.model.layers:
        parts = [block.mlp.gate_proj.weight, block.mlp.up_proj.weight]
        want += torch.cat([*parts, block.mlp.down_proj.weight.t()], 1).norm(dim=1).sum()
    torch.testing.assert_close(group_lasso_penalty(model, strength=1), want)
    want = torch.zeros(())
    for block in gpt2.transformer.h:  # Conv1D: (inputs, outputs)
        parts = [block.mlp.c_fc.weight.t(), block.mlp.c_proj.weight]
        want += torch.cat(parts, 1).norm(dim=1).sum()
    torch.testing.assert_close(group_lasso_penalty(gpt2, strength=1), want)


def test_a_tied_matrix_counts_once():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    torch.testing.assert_close(l1_penalty(model, strength=1), model[0].weight.abs().sum())


@pytest.mark.parametrize("penalty", [l1_penalty, group_lasso_penalty])
def test_gradients_are_those_of_finite_differences(penalty):
    model = mlp(bias=False).double()

    def value(up, down):
        with torch.no_grad():
            model[0].weight.copy_(up), model[2].weight.copy_(down)
        return penalty(model, strength=0.7)

    point = [model[0].weight.detach().clone(), model[2].weight.detach().clone()]
    value(*point).backward()
    for number, layer in enumerate((model[0], model[2])):
        moved = [t.clone() for t in point]
        moved[number][1, 2] += 1e-6
        rise = (value(*moved) - value(*point)).item() / 1e-6
        assert rise == pytest.approx(layer.weight.grad[1, 2].item(), abs=1e-5)


@pytest.mark.parametrize("penalty", [l1_penalty, group_lasso_penalty])
def test_zeros_have_a_gradient_of_zero(penalty):
    model = mlp()
    for layer in layers(model).values():
        nn.init.zeros_(layer.weight)
    total = penalty(model, strength=0.7)
    total.backward()
    assert total.item() == 0
    assert not any(layer.weight.grad.any() for layer in layers(model).values())


@given(st.floats(0, 3), st.floats(0, 1), st.integers(0, 5))
def test_the_proximal_step_of_the_lasso_is_softshrink(strength, lr, seed):
    w = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    want = F.softshrink(w, lr * strength)
    prox_l1_(w, strength=strength, lr=lr)
    assert torch.equal(w, want)


@given(st.floats(0, 3), st.floats(0, 1), st.integers(0, 5))
def test_the_proximal_step_of_the_group_lasso_shortens_each_row(strength, lr, seed):
    w = torch.randn(5, 4, generator=torch.Generator().manual_seed(seed))
    w[2] = 0
    old, norms = w.clone(), w.norm(dim=1)
    prox_group_lasso_(w, strength=strength, lr=lr)
    torch.testing.assert_close(w.norm(dim=1), F.softshrink(norms, lr * strength))
    for new, before in zip(w, old):
        assert not new.any() or F.cosine_similarity(new, before, dim=0) > 0.9999


def test_what_is_given_twice_is_shrunk_once():
    w = torch.ones(2, 2)
    prox_l1_([w, w], strength=0.25, lr=1)
    assert torch.equal(w, torch.full((2, 2), 0.75))
    w, groups = torch.full((2, 4), 2.0), (torch.zeros(2, 1),)
    prox_group_lasso_([(w, *groups), (w, *groups)], strength=2, lr=1)
    torch.testing.assert_close(w, torch.full((2, 4), 1.0))


@pytest.mark.parametrize("prox_", [prox_l1_, prox_group_lasso_])
def test_no_other_point_is_better_than_the_proximal_one(prox_):
    """It minimizes strength |w| + (w - w_old)^2 / (2 lr)."""
    old = torch.randn(6, 4).double()
    old[0] *= 0.1
    strength, lr = 0.8, 0.9

    def objective(w):
        size = w.abs().sum() if prox_ is prox_l1_ else w.norm(dim=1).sum()
        return float(strength * size + (w - old).pow(2).sum() / (2 * lr))

    best = old.clone()
    prox_(best, strength=strength, lr=lr)
    assert (best == 0).any()
    assert (best != 0).any()
    for scale in (1e-4, 1e-2, 1):
        for _ in range(50):
            assert objective(best) < objective(best + scale * torch.randn(6, 4).double())


def test_the_lasso_meets_the_conditions_of_its_optimum():
    x, y = regression()
    w = descend(torch.zeros(24).double(), x, y, prox_l1_, strength=0.2)
    g, kept = gradient(w, x, y), w != 0
    assert 0 < int(kept.sum()) < 24
    torch.testing.assert_close(g[kept], -0.2 * w[kept].sign(), rtol=0, atol=1e-9)
    assert (g[~kept].abs() <= 0.2).all()


def test_the_lasso_is_that_of_scikit_learn():
    """Coordinate descent arrives at the same weights, and at the same zeros."""
    theirs = pytest.importorskip("sklearn.linear_model")
    x, y = regression()
    for strength in (0.02, 0.2, 1.0):
        w = descend(torch.zeros(24).double(), x, y, prox_l1_, strength=strength)
        lasso = theirs.Lasso(alpha=strength, fit_intercept=False, tol=1e-12, max_iter=10**5)
        want = torch.from_numpy(lasso.fit(x.numpy(), y.numpy()).coef_)
        torch.testing.assert_close(w, want, rtol=0, atol=1e-6)
        assert torch.equal(w == 0, want == 0)


def test_the_group_lasso_meets_the_conditions_of_its_optimum():
    x, y = regression()
    w = descend(torch.zeros(8, 3).double(), x, y, prox_group_lasso_, strength=0.2)
    g, norms = gradient(w, x, y), w.norm(dim=1)
    kept = norms > 0
    assert 0 < int(kept.sum()) < 8
    assert w[kept].all(), "groups go whole or not at all"
    torch.testing.assert_close(g[kept], -0.2 * w[kept] / norms[kept, None], rtol=0, atol=1e-9)
    assert (g[~kept].norm(dim=1) <= 0.2).all()


def test_an_orthonormal_design_has_a_closed_form():
    x = torch.linalg.qr(torch.randn(60, 12).double())[0] * 60**0.5
    y = torch.randn(60).double() * 3
    least_squares = (x.t() @ y / 60).view(4, 3)
    strength = float(least_squares.norm(dim=1).median()) * 1.01
    w = descend(torch.zeros(4, 3).double(), x, y, prox_group_lasso_, strength, steps=50)
    norms = least_squares.norm(dim=1, keepdim=True)
    torch.testing.assert_close(w, least_squares * (1 - strength / norms).clamp(min=0))
    assert 0 < int((w == 0).all(1).sum()) < 4


def test_the_gradient_of_the_penalty_never_arrives_and_the_proximal_step_does():
    x, y = torch.randn(200, 8), torch.randn(200, 4)
    found = {}
    for kind in ("penalty", "proximal"):
        torch.manual_seed(0)
        model = mlp()
        optimizer = torch.optim.SGD(model.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            value = F.mse_loss(model(x), y)
            if kind == "penalty":
                value = value + l1_penalty(model, strength=0.02)
            value.backward()
            optimizer.step()
            if kind == "proximal":
                prox_l1_((layer.weight for layer in layers(model).values()), strength=0.02, lr=0.05)
        found[kind] = sum(int((layer.weight == 0).sum()) for layer in layers(model).values())
    assert found["penalty"] == 0
    assert found["proximal"] > 60


@pytest.mark.parametrize("kind", ["mlp", "book", "gpt2"])
def test_neurons_that_the_group_lasso_empties_are_removed(kind, tiny, peers):
    torch.manual_seed(0)
    model = {"mlp": mlp, "book": tiny, "gpt2": lambda: peers["gpt2"]}[kind]()
    groups = neuron_groups(model)
    norms = [torch.cat(parts, 1).norm(dim=1) for parts in groups]
    if kind != "gpt2":  # one number for all layers, so that the same must go in each
        middle = norms[0].median().item()
        state = {n: p.detach().clone() for n, p in model.named_parameters()}
        prox_group_lasso_(groups[:1], strength=middle, lr=1)
        gone = (torch.cat(neuron_groups(model)[0], 1) == 0).all(1)
        assert torch.equal(gone, norms[0] <= middle)
        assert gone.any()
        assert not gone.all()
        changed = [n for n, p in model.named_parameters() if not torch.equal(p, state[n])]
        assert len(changed) == len(groups[0])
        assert all(n.endswith("weight") for n in changed)
    if kind == "mlp":
        model[0].bias.data[gone] = 0
        x = torch.randn(20, 8)
        cut = shear(model, threshold=0, score="weight", round_to=1)
        assert cut[0].out_features == int((~gone).sum())
        torch.testing.assert_close(cut(x), model(x))
    assert all(part.data_ptr() in {p.data_ptr() for p in model.parameters()}
               for parts in groups for part in parts)  # fmt: skip


@pytest.mark.parametrize("prox_", [prox_l1_, prox_group_lasso_])
@pytest.mark.parametrize(
    ("params", "error", "sentence"),
    [
        ([], ValueError, "params must hold at least one tensor, got none"),
        ([()], ValueError, "params must hold at least one tensor, got none"),
        (nn.Linear(2, 2), TypeError, "params must be tensors, got Linear"),
        (3, TypeError, "params must be tensors, got int"),
        ([torch.ones(2, 2), 3], TypeError, "params must be float tensors, got int"),
        ([torch.ones(2, 2).long()], TypeError, "params must be float tensors, got torch.int64"),
        ([torch.full((2, 2), float("nan"))], ValueError, "params must hold finite weights, got N"),
    ],
)
def test_params_that_are_none(prox_, params, error, sentence):
    with pytest.raises(error, match=f"^{sentence}"):
        prox_(params, strength=1, lr=1)


def test_rows_that_are_none():
    first = torch.ones(3, 2)
    for bad, shapes in (
        (torch.ones(3), "[(3,)]"),
        ((torch.ones(3, 2), torch.ones(4, 2)), "[(3, 2), (4, 2)]"),
    ):
        with pytest.raises(ValueError) as refused:
            prox_group_lasso_([first, bad], strength=1, lr=1)
        assert str(refused.value).endswith(f"as many rows, got {shapes}")
    assert torch.equal(first, torch.ones(3, 2)), "nothing was changed"


@pytest.mark.parametrize("bad", [-1, float("nan"), float("inf"), "1", True, None])
def test_numbers_that_are_none(bad):
    for call in (
        lambda: l1_penalty(mlp(), strength=bad),
        lambda: group_lasso_penalty(mlp(), strength=bad),
        lambda: prox_l1_([torch.ones(2)], strength=bad, lr=1),
        lambda: prox_group_lasso_([torch.ones(2, 2)], strength=bad, lr=1),
    ):
        with pytest.raises(
            ValueError, match=r"^strength must be a finite number of at least 0, go"
        ):
            call()
    with pytest.raises(ValueError, match=r"^lr must be a finite number of at least 0, got"):
        prox_l1_([torch.ones(2)], strength=1, lr=bad)


def test_models_without_neurons_or_with_numbers_that_are_none():
    with pytest.raises(ValueError, match=r"^model must have a feed-forward part"):
        group_lasso_penalty(nn.ModuleList([nn.Linear(2, 2), nn.Linear(2, 2)]), strength=1)
    with pytest.raises(ValueError, match=r"^model must have layers of nn.Linear"):
        l1_penalty(nn.ReLU(), strength=1)
    model = mlp()
    model[0].weight.data[0, 0] = float("nan")
    for penalty in (l1_penalty, group_lasso_penalty):
        with pytest.raises(ValueError, match=r"^model must hold finite weights, got NaN"):
            penalty(model, strength=1)


def test_the_names_are_public():
    assert costlab.l1_penalty is l1_penalty
    assert costlab.prox_l1_ is prox_l1_
    assert costlab.group_lasso_penalty is group_lasso_penalty
    assert costlab.prox_group_lasso_ is prox_group_lasso_
