"""Clipping by threshold: torch's hardshrink is the oracle, copies and bad input the rest."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import costlab
from costlab import clip_weights
from costlab.lm.model import Config, LanguageModel
from costlab.modules import layers


def mlp(dtype: torch.dtype = torch.float32) -> nn.Sequential:
    return nn.Sequential(nn.Linear(16, 24), nn.LayerNorm(24), nn.ReLU(), nn.Linear(24, 4)).to(dtype)


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


@given(st.integers(0, 100), st.floats(0, 2), st.sampled_from([torch.float32, torch.bfloat16]))
def test_equals_hardshrink(seed, threshold, dtype):
    torch.manual_seed(seed)
    model = mlp(dtype)
    new = clip_weights(model, threshold=threshold)
    for name, layer in layers(model).items():
        assert torch.equal(new.get_submodule(name).weight, F.hardshrink(layer.weight, threshold))
        assert torch.equal(new.get_submodule(name).bias, layer.bias)
    assert torch.equal(new[1].weight, model[1].weight)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.float16, torch.bfloat16])
def test_a_weight_at_the_threshold_becomes_zero(dtype):
    layer = nn.Linear(4, 1, bias=False, dtype=dtype)
    layer.weight.data = torch.tensor([[0.1, -0.1, 0.11, -0.11]], dtype=dtype)
    assert (clip_weights(layer, threshold=0.1).weight != 0).tolist() == [[False, False, True, True]]


@given(st.integers(0, 100), st.floats(0, 1), st.floats(0, 1))
def test_twice_is_once_and_a_higher_threshold_keeps_less(seed, one, other):
    torch.manual_seed(seed)
    model, (low, high) = mlp(), sorted((one, other))
    once = clip_weights(model, threshold=low)
    assert same(state(once), state(clip_weights(once, threshold=low)))
    more = clip_weights(model, threshold=high)
    assert same(state(more), state(clip_weights(once, threshold=high)))
    kept, fewer = costlab.masks(once), costlab.masks(more)
    assert all((fewer[name] <= kept[name]).all() for name in kept)


def test_zero_changes_nothing_and_a_large_threshold_leaves_nothing():
    for dtype in (torch.float32, torch.float16):
        model = mlp(dtype)
        assert same(state(model), state(clip_weights(model, threshold=0)))
        new = clip_weights(model, threshold=1e30)
        assert not any(layer.weight.any() for layer in layers(new).values())


def test_the_input_stays_and_shares_nothing_with_what_comes_out():
    model = mlp()
    before = state(model)
    new = clip_weights(model, threshold=0.1)
    assert isinstance(new, nn.Sequential)
    assert not same(before, state(new))
    with torch.no_grad():
        for parameter in new.parameters():
            parameter.fill_(7)
    assert same(before, state(model))


def test_mode_and_what_may_be_trained_are_kept():
    model = mlp().eval()
    model[0].weight.requires_grad = False
    new = clip_weights(model, threshold=0.1)
    assert not new.training
    assert not new[0].weight.requires_grad
    assert new[3].weight.requires_grad


def test_the_head_is_left_alone_unless_asked():
    model = LanguageModel(Config(width=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn=16))
    before = state(model)
    new, all_of_it = clip_weights(model, threshold=9), clip_weights(model, threshold=9, ignore=())
    assert torch.equal(new.lm_head.weight, before["lm_head.weight"])
    assert not all_of_it.lm_head.weight.any()
    assert not all_of_it.model.layers[0].mlp.up_proj.weight.any()
    assert torch.equal(all_of_it.model.embed_tokens.weight, before["model.embed_tokens.weight"])


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_works_on_transformers(peers, name):
    model = peers[name]
    before, tokens = state(model), torch.arange(12)[None]
    new = clip_weights(model, threshold=0.01)
    found = layers(model, ignore=("lm_head",))
    assert len(found) == {"llama": 14, "gpt2": 8}[name]
    changed = {n for n, value in new.state_dict().items() if not torch.equal(value, before[n])}
    assert changed == {f"{n}.weight" for n in found}
    assert same(before, state(model))
    for part, layer in found.items():
        assert torch.equal(new.get_submodule(part).weight, F.hardshrink(layer.weight, 0.01))
    reference = copy.deepcopy(model)
    with torch.no_grad():
        for part in found:
            reference.get_submodule(part).weight.copy_(new.get_submodule(part).weight)
        assert torch.equal(new(tokens).logits, reference(tokens).logits)


def test_a_tied_head_that_is_asked_for_leaves_the_embedding(peers):
    model = peers["gpt2"]
    assert model.lm_head.weight is model.transformer.wte.weight
    new = clip_weights(model, threshold=9, ignore=())
    assert not new.lm_head.weight.any()
    assert torch.equal(new.transformer.wte.weight, model.transformer.wte.weight)
    assert new.transformer.wte.weight is not model.transformer.wte.weight


def test_tied_layers_stay_tied():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    new = clip_weights(model, threshold=0.1)
    assert new[0].weight is new[1].weight
    assert (new[0].weight == 0).any()
    model = nn.Sequential(model[0], nn.ReLU(), model[0])
    new = clip_weights(model, threshold=0.1)
    assert new[0] is new[2]
    assert (new[2].weight == 0).any()


def test_a_weight_that_is_not_contiguous():
    layer = nn.Linear(8, 6, bias=False)
    layer.weight = nn.Parameter(torch.randn(8, 6).t())
    new = clip_weights(layer, threshold=0.5)
    assert torch.equal(new.weight, F.hardshrink(layer.weight, 0.5))
    assert new.weight.is_contiguous()


def test_a_row_of_zeros():
    model = nn.Sequential(nn.Linear(4, 3), nn.Linear(3, 2))
    with torch.no_grad():
        model[0].weight[1] = 0
    new = clip_weights(model, threshold=0)
    assert same(state(model), state(new))


@pytest.mark.parametrize(
    "bad", [-0.1, float("nan"), float("inf"), True, "0.1", None, torch.ones(1)]
)
def test_a_threshold_that_is_none(bad):
    with pytest.raises(ValueError, match=r"^threshold must be a finite number of at least 0, got "):
        clip_weights(mlp(), threshold=bad)


def test_a_model_that_cannot_be_clipped():
    model = mlp()
    model[3].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"^model must hold finite weights, got NaN .* '3'$"):
        clip_weights(model, threshold=0.1)
    with pytest.raises(ValueError, match=r"^model must have layers of nn.Linear or Conv1D"):
        clip_weights(nn.Conv2d(1, 1, 3), threshold=0.1)
    with pytest.raises(TypeError, match=r"^model must be a torch.nn.Module, got dict"):
        clip_weights({}, threshold=0.1)
    with pytest.raises(TypeError, match=r"^ignore must be a tuple"):
        clip_weights(mlp(), threshold=0.1, ignore="lm_head")
