"""Finding layers and putting others in their place."""

import copy

import pytest
import torch
from torch import nn

from costlab.bill.counting import tensors
from costlab.lm.model import Config, LanguageModel
from costlab.modules import (
    copy_sharing,
    is_transposed,
    layers,
    replace_,
    require_layers,
    weight_of,
    with_weight,
)

BOOK = Config(width=16, layers=2, heads=2, kv_heads=1, head_dim=8, ffn=24, context=16)


def places(model):
    """Where in memory its numbers lie."""
    return {t.untyped_storage().data_ptr() for t in tensors(model)}


def test_layers_come_in_order_and_without_those_ignored(peers):
    book = layers(LanguageModel(BOOK), ignore=("lm_head",))
    parts = ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj", "self_attn.o_proj"]
    parts += ["mlp.gate_proj", "mlp.up_proj", "mlp.down_proj"]
    assert list(book) == [f"model.layers.{i}.{part}" for i in range(2) for part in parts]
    assert len(layers(peers["llama"])) == 2 * 7 + 1
    gpt2 = layers(peers["gpt2"], ignore=("lm_head", "transformer.h.0.mlp.c_fc"))
    assert len(gpt2) == 2 * 4 - 1
    assert "transformer.h.1.mlp.c_fc" in gpt2
    assert all(is_transposed(layer) for layer in gpt2.values())
    assert layers(nn.Linear(2, 2), ignore=("lm_head",)).keys() == {""}


def test_a_part_of_a_name_is_a_whole_one():
    model = nn.ModuleDict({"head": nn.Linear(2, 2), "lm_head": nn.Linear(2, 2)})
    assert list(layers(model, ignore=("head",))) == ["lm_head"]
    assert list(layers(model, ignore=["lm_head"])) == ["head"]


def test_a_module_of_two_names_comes_once():
    one = nn.Linear(2, 2)
    assert list(layers(nn.Sequential(one, nn.ReLU(), one))) == ["0"]


def test_attention_that_reads_a_weight_itself_is_left_alone():
    attention = nn.MultiheadAttention(8, 2)
    assert layers(attention) == {}


def test_what_is_not_a_float_matrix_is_left_alone():
    odd = nn.Linear(2, 2)
    del odd.weight
    odd.register_buffer("weight", torch.ones(2, 2, dtype=torch.int8))
    assert layers(nn.Sequential(nn.Embedding(3, 2), nn.LayerNorm(2), nn.Conv1d(1, 1, 1), odd)) == {}


def test_the_matrix_is_outputs_by_inputs(peers):
    conv = peers["gpt2"].transformer.h[0].mlp.c_fc
    linear = nn.Linear(5, 3)
    x = torch.randn(2, 32)
    torch.testing.assert_close(conv(x), nn.functional.linear(x, weight_of(conv), conv.bias))
    assert weight_of(linear).shape == (3, 5)
    assert weight_of(linear).data_ptr() == linear.weight.data_ptr()
    assert not weight_of(linear).requires_grad


@pytest.mark.parametrize("kind", ["conv", "linear", "bfloat16", "frozen"])
def test_another_weight_makes_another_layer(peers, kind):
    layer = copy.deepcopy(peers["gpt2"].transformer.h[0].mlp.c_fc)
    if kind != "conv":
        layer = nn.Linear(32, 48).requires_grad_(kind != "frozen")
    layer = layer.bfloat16() if kind == "bfloat16" else layer
    before = weight_of(layer).clone()
    weight = torch.randn_like(before.float())
    new = with_weight(layer, weight)
    assert type(new) is type(layer)
    assert torch.equal(weight_of(new), weight.to(layer.weight.dtype))
    assert torch.equal(weight_of(layer), before)
    assert new.weight.dtype == layer.weight.dtype
    assert new.weight.requires_grad == layer.weight.requires_grad
    assert new.weight.is_contiguous()
    assert torch.equal(new.bias, layer.bias)
    assert not places(new) & places(layer)


def test_a_copy_shares_only_the_matrices_to_be_replaced():
    model = LanguageModel(BOOK)
    shared = layers(model, ignore=("lm_head",))
    new = copy_sharing(model, shared)
    matrices = {layer.weight.untyped_storage().data_ptr() for layer in shared.values()}
    assert places(new) & places(model) == matrices
    both = {t.untyped_storage().data_ptr(): t.untyped_storage().nbytes()
            for t in [*tensors(model), *tensors(new)]}  # fmt: skip
    total = sum(t.untyped_storage().nbytes() for t in tensors(model))
    held = sum(layer.weight.untyped_storage().nbytes() for layer in shared.values())
    assert sum(both.values()) == 2 * total - held
    tokens = torch.randint(0, 256, (1, 8))
    assert torch.equal(new(tokens), model(tokens))


@pytest.mark.parametrize("ignore", [(), ("lm_head",)])
def test_a_tied_embedding_is_copied_and_stays_tied(peers, ignore):
    model = peers["gpt2"]
    new = copy_sharing(model, layers(model, ignore=ignore))
    assert new.lm_head.weight is new.transformer.wte.weight
    assert new.transformer.wte.weight is not model.transformer.wte.weight


def test_a_matrix_of_two_layers_is_shared_where_both_go():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    model[1].weight = model[0].weight
    assert copy_sharing(model, layers(model))[0].weight is model[0].weight
    part = copy_sharing(model, layers(model, ignore=("1",)))
    assert part[0].weight is part[1].weight is not model[0].weight


def test_replacing_reaches_every_place_of_a_module():
    one, new = nn.Linear(2, 2), nn.Linear(2, 2)
    model = nn.ModuleDict({"a": one, "b": nn.Sequential(one, nn.Linear(2, 2))})
    kept = model["b"][1]
    assert replace_(model, {"a": new}) is model
    assert model["a"] is model["b"][0] is new
    assert model["b"][1] is kept


def test_replacing_the_whole_model_gives_the_other():
    model, new = nn.Linear(2, 2), nn.Linear(2, 2)
    assert replace_(model, {"": new}) is new


def test_two_can_change_places():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    a, b = model
    replace_(model, {"0": b, "1": a})
    assert model[0] is b
    assert model[1] is a


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_weights_that_are_no_numbers(bad):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[1].weight.data[0, 1] = bad
    with pytest.raises(ValueError, match=r"model must hold finite weights, got NaN .* in '1'"):
        require_layers(model)
    assert list(require_layers(model, ignore=("1",))) == ["0"]


@pytest.mark.filterwarnings("ignore:Initializing zero-element tensors")
@pytest.mark.parametrize(
    ("inputs", "outputs", "device"), [(2, 3, "meta"), (2, 0, "cpu"), (0, 3, "cpu")]
)
def test_weights_that_are_not_there(inputs, outputs, device):
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(inputs, outputs, device=device))
    given = rf"\({outputs}, {inputs}\) on {device} in '1'"
    with pytest.raises(ValueError, match=f"model must hold weights with values, got {given}"):
        require_layers(model)


def test_models_without_layers():
    with pytest.raises(
        ValueError, match=r"model must have layers .* \('0',\); Sequential has none"
    ):
        require_layers(nn.Sequential(nn.Linear(2, 2)), ignore=("0",))
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got dict"):
        require_layers({})


@pytest.mark.parametrize("ignore", ["lm_head", None, 3, ("a", 1)])
def test_what_is_to_be_ignored_is_a_tuple_of_names(ignore):
    with pytest.raises(TypeError, match="ignore must be a tuple of names of layers, got"):
        layers(nn.Linear(2, 2), ignore=ignore)
