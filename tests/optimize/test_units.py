"""Units: what goes together is told by exchanging units, which must not change what is computed."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from costlab.compress.quantization import quantize
from costlab.lm.model import MLP, Attention, Config, LanguageModel
from costlab.modules import is_transposed
from costlab.optimize.units import Group, Part, heads, layers, neurons

CONFIG = Config(width=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn=24, context=32)


@pytest.fixture(scope="module")
def models(peers):
    """Tiny models with their inputs, by name."""
    transformers = pytest.importorskip("transformers")
    bert = transformers.BertConfig(
        hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=48,
        vocab_size=99, max_position_embeddings=64, hidden_act="relu",
    )  # fmt: skip
    tokens = torch.randint(0, 99, (2, 12))
    mlp = nn.Sequential(
        nn.Linear(6, 16), nn.Sequential(nn.GELU(), nn.Linear(16, 10, bias=False)), nn.Tanh(),
        nn.Dropout(0.1), nn.Linear(10, 3),
    )  # fmt: skip
    return {
        "book": (LanguageModel(CONFIG).eval(), tokens),
        "llama": (peers["llama"], tokens),
        "gpt2": (peers["gpt2"], tokens),
        "bert": (transformers.BertModel(bert).eval(), tokens),
        "sequential": (mlp.eval(), torch.randn(5, 6)),
    }


def output(model: nn.Module, x: torch.Tensor) -> torch.Tensor:
    out = model(x)
    return out if isinstance(out, torch.Tensor) else out[0]


@torch.no_grad()
def reorder_(model: nn.Module, group: Group, order: torch.Tensor) -> None:
    """Put unit order[i] in the place of unit i, in plain tensor code."""
    for name, dimension, index in group.parts:
        layer = model.get_submodule(name)
        to, source = index.flatten(), index[order].flatten()
        stored = 1 - dimension if is_transposed(layer) else dimension
        old = layer.weight.clone()
        layer.weight.index_copy_(stored, to, old.index_select(stored, source))
        if dimension == 0 and layer.bias is not None:
            layer.bias[to] = layer.bias[source].clone()


ALL = ["book", "llama", "gpt2", "bert", "sequential"]


@pytest.mark.parametrize(
    ("name", "find"), [(n, neurons) for n in ALL] + [(n, heads) for n in ALL[:2]]
)
def test_units_may_change_places(models, name, find):
    model, x = models[name]
    before, state = output(model, x), {n: t.clone() for n, t in model.state_dict().items()}
    try:
        for group in find(model):
            reorder_(model, group, torch.arange(group.count).roll(1))
            assert not all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
            assert torch.allclose(output(model, x), before, atol=1e-5)
        part = group.parts[0]  # one part alone: the property above is not empty
        reorder_(model, Group("", (part,)), torch.arange(group.count).roll(1))
        assert not torch.allclose(output(model, x), before, atol=1e-5)
    finally:
        model.load_state_dict(state)


@given(st.lists(st.integers(1, 9), min_size=3, max_size=6))
def test_every_inner_width_of_a_sequential_is_found(widths):
    chain = [nn.Sequential(nn.Linear(a, b), nn.ReLU()) for a, b in itertools.pairwise(widths)]
    found = neurons(nn.Sequential(*chain))
    assert [group.count for group in found] == widths[1:-1]
    assert [group.name for group in found] == [f"{i}.0" for i in range(len(widths) - 2)]
    for i, group in enumerate(found):
        assert [part[:2] for part in group.parts] == [(f"{i}.0", 0), (f"{i + 1}.0", 1)]


def test_heads_that_share_keys_are_one_unit(models):
    group = heads(models["book"][0])[1]
    assert group.name == "model.layers.1.self_attn"
    assert group.count == 2
    names = [part.module.rpartition(".")[2] for part in group.parts]
    assert names == ["q_proj", "k_proj", "v_proj", "o_proj"]
    assert [part.dimension for part in group.parts] == [0, 0, 0, 1]
    assert [part.index.shape[1] for part in group.parts] == [16, 8, 8, 16]
    assert group.parts[0].index[1].tolist() == list(range(16, 32))


@pytest.mark.parametrize(
    ("name", "chain"),
    [("book", "model.layers"), ("llama", "model.layers"), ("gpt2", "transformer.h")],
)
def test_layers_are_one_group(models, name, chain):
    (group,) = layers(models[name][0])
    assert group.name == chain
    assert group.count == 2
    assert isinstance(group.parts[0], Part)
    assert group.parts[0].module == chain


def test_a_part_alone_is_enough():
    assert [group.count for group in neurons(MLP(CONFIG))] == [24]
    assert [group.count for group in heads(Attention(CONFIG))] == [2]


class Normed(MLP):
    """An MLP with a norm over its inner width."""

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.inner_norm = nn.RMSNorm(config.ffn)


def shared() -> nn.Sequential:
    model = nn.Sequential(nn.Linear(8, 8), nn.ReLU(), nn.Linear(8, 8))
    model[2].weight = model[0].weight
    return model


def twice() -> nn.Sequential:
    layer = nn.Linear(8, 8)
    return nn.Sequential(layer, nn.ReLU(), layer, nn.ReLU(), nn.Linear(8, 2))


def misfit() -> MLP:
    model = MLP(CONFIG)
    model.up_proj = nn.Linear(32, 48)
    return model


REFUSED = {
    "norm between": (
        lambda: nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 2)),
        neurons, "cannot see through LayerNorm before '2'",
    ),
    "norm over neurons": (lambda: Normed(CONFIG), neurons, "'inner_norm.weight'"),
    "shared matrix": (shared, neurons, "must not share"),
    "same layer twice": (twice, neurons, "cannot see through Linear"),
    "other width": (misfit, neurons, "must read"),
    "one linear": (lambda: nn.Linear(4, 4), neurons, "must have a feed-forward part"),
    "quantized": (lambda: quantize(LanguageModel(CONFIG)), neurons, "float weights at"),
    "no attention": (lambda: MLP(CONFIG), heads, "must have attention"),
    "no chain": (lambda: nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4)), layers, "ModuleList"),
    "one block": (lambda: LanguageModel(Config(layers=1, width=8, ffn=8)), layers, "two blocks"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_seen_through_is_refused(case):
    make, find, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as error:
        find(make())
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("find", [neurons, heads, layers])
def test_no_module_is_refused(find):
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got int"):
        find(3)


def test_gpt2_has_no_heads_to_spare(models):
    with pytest.raises(ValueError, match="GPT-2's heads always fill its width"):
        heads(models["gpt2"][0])
