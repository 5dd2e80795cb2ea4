"""Mixture of experts: against its definition, token by token, and against dense layers."""

import sys
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.lm.model import MLP, Config
from costlab.parallel.experts import Experts, balance_loss, experts_read, parameter_counts

sys.path.insert(0, str(Path(__file__).parent))
CONFIG = Config(width=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn=12, context=32)


def layer(experts=6, active=2, seed=0):
    torch.manual_seed(seed)
    return Experts(CONFIG, experts=experts, active=active)


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=20, deadline=None)
def test_a_token_gets_the_weighted_sum_of_its_experts(active, tokens, seed):
    net = layer(active=active, seed=seed).double()
    x = torch.randn(1, tokens, 16, dtype=torch.float64)
    found = net(x)[0]
    for t in range(tokens):
        scores = net.router(x[0, t])
        best = scores.argsort(descending=True)[:active]
        parts = scores[best].exp() / scores[best].exp().sum()
        expected = sum(p * net.experts[int(e)](x[0, t]) for p, e in zip(parts, best))
        assert torch.allclose(found[t], expected, atol=1e-12)


def test_one_expert_is_a_dense_layer():
    net = layer(experts=1, active=1)
    x = torch.randn(3, 5, 16)
    assert torch.allclose(net(x), net.experts[0](x), atol=1e-6)


def test_parameters_by_hand():
    one = sum(p.numel() for p in MLP(CONFIG).parameters())
    net = layer(experts=6, active=2)
    assert parameter_counts(net) == {"total": 96 + 6 * one, "active": 96 + 2 * one}
    assert sum(p.numel() for p in net.parameters()) == 96 + 6 * one


def test_gradients_reach_chosen_experts_and_the_router_alone():
    net = layer()
    net(torch.randn(1, 1, 16)).sum().backward()
    used = [any(p.grad is not None for p in e.parameters()) for e in net.experts]
    assert sum(used) == 2
    assert net.router.weight.grad.abs().sum() > 0


def test_experts_read_is_the_mean_of_random_draws():
    generator = torch.Generator().manual_seed(0)
    for experts, active, tokens in [(8, 2, 1), (8, 2, 5), (64, 6, 10)]:
        draws = torch.rand(2000, tokens, experts, generator=generator).topk(active).indices
        counts = [len(draw.unique()) for draw in draws]
        found = sum(counts) / len(counts)
        assert experts_read(experts, active, tokens) == pytest.approx(found, rel=0.02)


def test_balance_is_one_where_all_are_used_alike_and_more_where_not():
    chosen = torch.arange(8).view(4, 2)
    assert balance_loss(torch.zeros(4, 8), chosen) == pytest.approx(1.0)
    scores = torch.zeros(4, 8)
    scores[:, :2] = 9.0
    assert balance_loss(scores, torch.tensor([[0, 1]] * 4)) > 3


def test_bad_input_gets_one_sentence():
    for active in (0, 7):
        with pytest.raises(
            ValueError, match=f"active must be from 1 to the 6 experts, got {active}"
        ):
            layer(active=active)
        with pytest.raises(ValueError, match="active must be from 1 to the 6 experts"):
            experts_read(6, active, 3)
    with pytest.raises(ValueError, match="tokens must be at least 0, got -1"):
        experts_read(6, 2, -1)
