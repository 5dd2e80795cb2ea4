"""Adapters beside the dense formula they stand for, and beside models served one at a time."""

import copy
import json
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F

import costlab
from costlab.bill.counting import bytes_in_memory, weights
from costlab.compress.adapted import AdaptedLinear
from costlab.lm.decoding import decode, logits_of
from costlab.lm.model import Config, LanguageModel
from costlab.optimize.adapters import (
    adapter_state,
    add_adapters,
    batch_adapters,
    merge_adapters,
    with_adapters,
)

NAMES = ("book", "llama", "gpt2", "bert", "mlp")


class Perceptron(nn.Sequential):
    """Reads the features that belong to tokens, so that all models here take tokens."""

    def __init__(self):
        super().__init__(nn.Linear(32, 64), nn.GELU(), nn.Linear(64, 96, bias=False))

    def forward(self, tokens):
        return super().forward(F.one_hot(tokens % 32, 32).float())


@pytest.fixture(scope="module")
def models(peers):
    """One model of each kind, with widths that quantization takes, by name."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 64}
    book = LanguageModel(Config(**shape, context=64))
    for p in book.parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1), std=0.2)
    llama = copy.deepcopy(peers["llama"].config)
    llama.intermediate_size = 64
    bert = transformers.BertConfig(
        hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=99, max_position_embeddings=64,
    )  # fmt: skip
    found = {
        "book": book,
        "llama": transformers.LlamaForCausalLM(llama),
        "gpt2": peers["gpt2"],
        "bert": transformers.BertForMaskedLM(bert),
        "mlp": Perceptron(),
    }
    return {name: model.eval() for name, model in found.items()}


TOKENS = torch.arange(60).view(3, 20) * 7 % 99


def run(model, tokens=TOKENS):
    with torch.no_grad():
        return outputs(model, tokens)


def outputs(model, tokens=TOKENS):
    if hasattr(model, "config") and not isinstance(model, LanguageModel):
        return model(input_ids=tokens).logits
    return model(tokens)


def adapted_layers(model):
    return {n: m for n, m in model.named_modules() if isinstance(m, AdaptedLinear)}


def trained(model, seed=0, **knobs):
    """A copy with adapters that are not zero any more, as after training."""
    new = add_adapters(model, **{"rank": 4, "alpha": 8} | knobs)
    dice = torch.Generator().manual_seed(seed)
    for layer in adapted_layers(new).values():
        nn.init.normal_(layer.lora_a, std=0.2, generator=dice)
        nn.init.normal_(layer.lora_b, std=0.2, generator=dice)
    return new


@pytest.mark.parametrize("name", NAMES)
def test_nothing_changes_at_first_and_the_input_stays(models, name):
    model = models[name]
    before = {n: t.clone() for n, t in model.state_dict().items()}
    new = add_adapters(model, rank=2)
    torch.testing.assert_close(run(new), run(model), rtol=1e-5, atol=1e-5)
    assert all(torch.equal(t, before[n]) for n, t in model.state_dict().items())
    assert all(p.requires_grad for p in model.parameters())
    assert not adapted_layers(model)
    shared = {t.data_ptr() for t in model.state_dict().values()}
    assert not shared & {t.data_ptr() for t in new.state_dict().values() if t.numel()}
    assert all(layer.lora_a.abs().sum() > 0 for layer in adapted_layers(new).values())


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quantized", [False, True])
def test_only_the_adapters_learn(models, name, quantized):
    new = trained(models[name], quantized=quantized).train()
    learning = {n for n, p in new.named_parameters() if p.requires_grad}
    assert learning == {n for n, _ in new.named_parameters() if "lora_" in n}
    before = {n: t.clone() for n, t in new.state_dict().items()}
    optimizer = torch.optim.AdamW(new.parameters(), lr=0.1)
    outputs(new).square().mean().backward()
    optimizer.step()
    for n, tensor in new.state_dict().items():
        assert torch.equal(tensor, before[n]) != (n in learning), n


def test_the_head_is_left_alone_unless_asked(models):
    assert type(add_adapters(models["book"], rank=1).lm_head) is nn.Linear
    assert type(add_adapters(models["book"], rank=1, ignore=()).lm_head) is AdaptedLinear
    only = add_adapters(models["book"], rank=1, ignore=("lm_head", "mlp.up_proj"))
    assert len(adapted_layers(only)) == 2 * 6


def test_written_out_by_hand():
    layer = nn.Linear(2, 2)
    layer.weight.data = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    layer.bias.data = torch.tensor([10.0, 20.0])
    new = add_adapters(layer, rank=1, alpha=3)
    new.lora_a.data = torch.tensor([[1.0, -1.0]])
    new.lora_b.data = torch.tensor([[2.0], [5.0]])
    x = torch.tensor([[1.0, 4.0]])  # W x = (9, 19), A x = -3, B A x = (-6, -15)
    assert torch.equal(new(x), torch.tensor([[9 + 10 - 3 * 6.0, 19 + 20 - 3 * 15.0]]))
    merged = merge_adapters(new)
    assert torch.equal(merged.weight, torch.tensor([[7.0, -4.0], [18.0, -11.0]]))


@settings(max_examples=15)
@given(rank=st.integers(1, 16), alpha=st.one_of(st.none(), st.floats(0.5, 64)))
def test_gradients_are_those_of_the_dense_formula(rank, alpha):
    layer = nn.Linear(16, 24).double()
    new = add_adapters(layer, rank=rank, alpha=alpha)
    nn.init.normal_(new.lora_b)
    x = torch.randn(3, 5, 16, dtype=torch.float64, requires_grad=True)
    a, b = (p.detach().clone().requires_grad_() for p in (new.lora_a, new.lora_b))
    scale = 1 if alpha is None else alpha / rank
    dense = x @ (layer.weight.detach() + scale * b @ a).t() + layer.bias.detach()
    y = new(x)
    torch.testing.assert_close(y, dense)
    want = torch.autograd.grad(dense.square().sum(), (x, a, b))
    got = torch.autograd.grad(y.square().sum(), (x, new.lora_a, new.lora_b))
    torch.testing.assert_close(got, want)


def test_gradients_flow_through_a_quantized_base():
    model = nn.Sequential(nn.Linear(64, 96), nn.Tanh(), nn.Linear(96, 8))
    new = trained(model, quantized=True)
    rounded = costlab.quantize(model, bits=4, granularity="group", group_size=32)
    x = torch.randn(5, 64, requires_grad=True)
    parts = []
    for layer, codes in ((new[0], rounded[0]), (new[2], rounded[2])):
        assert layer.base.dtype == torch.uint8
        assert torch.equal(layer.float_weight(), codes.float_weight())
        a, b = (p.detach().clone().requires_grad_() for p in (layer.lora_a, layer.lora_b))
        parts.append((codes.float_weight() + 2 * b @ a, codes.bias.detach(), a, b))
    (w, c, a, b), (v, d, e, f) = parts
    dense = F.linear(torch.tanh(F.linear(x, w, c)), v, d)
    y = new(x)
    torch.testing.assert_close(y, dense)
    want = torch.autograd.grad(dense.square().sum(), (x, a, b, e, f))
    learned = new[0].lora_a, new[0].lora_b, new[2].lora_a, new[2].lora_b
    got = torch.autograd.grad(y.square().sum(), (x, *learned))
    torch.testing.assert_close(got, want, rtol=1e-4, atol=1e-4)


def test_no_floats_of_the_base_wait_for_the_backward_pass():
    new = trained(nn.Linear(64, 96), quantized=True)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        new(torch.randn(5, 64, requires_grad=True)).sum().backward()
    assert kept
    assert max(t.numel() for t in kept) < 96 * 64


def test_a_quantized_base_takes_fewer_bytes():
    model = nn.Sequential(nn.Linear(64, 96), nn.Linear(96, 32))
    held = {q: bytes_in_memory(add_adapters(model, rank=1, quantized=q)) for q in (False, True)}
    # four bits each, and two bytes for 32 of them
    assert held[False] - held[True] == (64 * 96 + 96 * 32) * (4 - 4 / 8 - 2 / 32)


def test_adapters_count_as_parameters(models):
    model = models["book"]
    sides = sum(sum(p.shape) for n, p in model.named_parameters() if "proj" in n)
    for quantized in (False, True):
        new = add_adapters(model, rank=3, quantized=quantized)
        counted = sum(w.numel() for w in weights(new))
        assert counted == sum(p.numel() for p in model.parameters()) + 3 * sides


@pytest.mark.parametrize("name", NAMES)
def test_merged_gives_what_the_adapters_give(models, name):
    model, new = models[name], trained(models[name])
    merged = merge_adapters(new)
    assert adapted_layers(new)
    torch.testing.assert_close(run(merged), run(new), rtol=1e-4, atol=1e-4)
    assert not torch.allclose(run(merged), run(model), atol=1e-2)
    kinds = [(n, type(m)) for n, m in model.named_modules()]
    assert [(n, type(m)) for n, m in merged.named_modules()] == kinds
    assert all(p.requires_grad for p in merged.parameters())


@pytest.mark.parametrize("name", NAMES)
def test_merging_untrained_adapters_gives_the_model_back(models, name):
    model, merged = models[name], merge_adapters(add_adapters(models[name], rank=2))
    old, new = model.state_dict(), merged.state_dict()
    assert old.keys() == new.keys()
    assert all(torch.equal(old[n], new[n]) for n in old)


@pytest.mark.parametrize("name", ["book", "gpt2"])
def test_a_quantized_base_merges_into_floats(models, name):
    new = trained(models[name], quantized=True)
    merged = merge_adapters(new)
    torch.testing.assert_close(run(merged), run(new), rtol=1e-4, atol=1e-4)
    assert bytes_in_memory(merged) == bytes_in_memory(models[name])


def test_peft_gives_the_same_outputs_gradients_and_merged_model(models):
    peft = pytest.importorskip("peft")
    model = copy.deepcopy(models["llama"]).double()
    ours = trained(model, rank=4, alpha=10)
    config = peft.LoraConfig(r=4, lora_alpha=10, target_modules="all-linear")
    theirs = peft.get_peft_model(copy.deepcopy(model), config)
    parts = {"lora_a": "lora_A", "lora_b": "lora_B"}
    learned = {}
    for name, parameter in ours.named_parameters():
        layer, _, part = name.rpartition(".")
        if part in parts:
            learned[f"base_model.model.{layer}.{parts[part]}.default.weight"] = parameter
    assert learned.keys() == {n for n, p in theirs.named_parameters() if p.requires_grad}
    theirs.load_state_dict({n: p.detach() for n, p in learned.items()}, strict=False)
    results = [m(input_ids=TOKENS, labels=TOKENS) for m in (ours, theirs)]
    torch.testing.assert_close(results[0].logits, results[1].logits, rtol=1e-12, atol=1e-12)
    for result in results:
        result.loss.backward()
    for name, parameter in theirs.named_parameters():
        if parameter.requires_grad:
            torch.testing.assert_close(learned[name].grad, parameter.grad, rtol=1e-9, atol=1e-12)
    merged = run(merge_adapters(ours)), run(theirs.merge_and_unload())
    torch.testing.assert_close(*merged, rtol=1e-12, atol=1e-12)


def test_a_tied_head_that_is_adapted_becomes_a_matrix_of_its_own(models):
    model = models["gpt2"]
    table = model.transformer.wte.weight
    assert model.lm_head.weight is table
    left_alone = trained(model)
    assert left_alone.lm_head.weight is left_alone.transformer.wte.weight
    new = trained(model, ignore=())
    merged = merge_adapters(new)
    torch.testing.assert_close(run(merged), run(new), rtol=1e-4, atol=1e-4)
    assert torch.equal(merged.transformer.wte.weight, table)
    assert not torch.equal(merged.lm_head.weight, table)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float64])
def test_the_kind_of_number_stays(models, dtype):
    for quantized in (False, True):
        model = copy.deepcopy(models["book"]).to(dtype)
        new = add_adapters(model, rank=2, quantized=quantized)
        assert run(new).dtype == run(merge_adapters(new)).dtype == dtype
        outputs(new).float().sum().backward()


@pytest.mark.parametrize("quantized", [False, True])
def test_adapters_learn(models, quantized):
    model = models["book"]
    new = add_adapters(model, rank=4, quantized=quantized)
    optimizer = torch.optim.AdamW([p for p in new.parameters() if p.requires_grad], lr=0.01)
    losses = []
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(new(TOKENS[:, :-1]).flatten(0, 1), TOKENS[:, 1:].flatten())
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0] / 2


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("quantized", [False, True])
def test_a_batch_of_adapters_gives_what_each_gives_alone(models, name, quantized):
    tasks = [trained(models[name], seed, quantized=quantized, alpha=5 + seed) for seed in range(4)]
    served = batch_adapters(tasks[0], [adapter_state(task) for task in tasks])
    order = [3, 0, 2]
    with with_adapters(served, order):
        together = run(served)
    for number, sequence, result in zip(order, TOKENS, together):
        alone = run(tasks[number], sequence[None])[0]
        assert (result - alone).abs().max() < 1e-5 * alone.abs().max()
    with with_adapters(served, torch.tensor([1, 1, 1])):
        assert not torch.allclose(run(served)[0], together[0], atol=1e-2)


@pytest.mark.parametrize("name", ["book", "llama", "gpt2"])
def test_a_batch_writes_with_a_cache(models, name):
    tasks = [trained(models[name], seed) for seed in range(2)]
    served = batch_adapters(tasks[0], [adapter_state(task) for task in tasks])
    with with_adapters(served, [1, 0, 0]):
        together = decode(served, TOKENS, tokens=6)
        step = logits_of(served, TOKENS)
    assert together.shape == (3, 6)
    assert torch.equal(together[:1], decode(tasks[1], TOKENS[:1], tokens=6))
    assert torch.equal(together[1:], decode(tasks[0], TOKENS[1:], tokens=6))
    assert step.shape[0] == 3


def test_the_base_is_multiplied_once_for_the_whole_batch(monkeypatch):
    tasks = [trained(nn.Linear(8, 8), seed) for seed in range(5)]
    served = batch_adapters(tasks[0], [adapter_state(task) for task in tasks])
    calls, linear = [], F.linear
    monkeypatch.setattr(F, "linear", lambda *given: calls.append(given) or linear(*given))
    with with_adapters(served, [4, 3, 2, 1, 0]):
        served(torch.randn(5, 8))
    assert len(calls) == 1
    assert not any(p.requires_grad for p in served.parameters())


@pytest.mark.parametrize("name", ["book", "llama", "gpt2", "bert"])
@pytest.mark.parametrize("quantized", [False, True])
def test_saved_and_loaded_bit_for_bit(models, name, quantized, tmp_path):
    new = trained(models[name], quantized=quantized)
    costlab.save(new, tmp_path / "adapted")
    again = costlab.load(tmp_path / "adapted")
    assert torch.equal(run(again), run(new))
    assert adapted_layers(again).keys() == adapted_layers(new).keys()
    torch.testing.assert_close(run(merge_adapters(again)), run(new), rtol=1e-4, atol=1e-4)


def test_several_adapters_are_saved_and_loaded(models, tmp_path):
    tasks = [trained(models["book"], seed) for seed in range(3)]
    served = batch_adapters(tasks[0], [adapter_state(task) for task in tasks])
    costlab.save(served, tmp_path / "served")
    again = costlab.load(tmp_path / "served")
    with with_adapters(served, [2, 1, 0]), with_adapters(again, [2, 1, 0]):
        assert torch.equal(run(served), run(again))


def test_the_state_is_a_copy(models):
    new = trained(models["book"])
    state = adapter_state(new)
    assert len(state) == 2 * len(adapted_layers(new))
    for tensor in state.values():
        tensor.zero_()
    assert all(layer.lora_b.abs().sum() > 0 for layer in adapted_layers(new).values())


def test_other_techniques_do_not_take_it_for_a_plain_layer(models):
    with pytest.raises(ValueError, match="model must have layers"):
        costlab.quantize(add_adapters(models["book"], rank=1))


@pytest.mark.parametrize(
    ("knobs", "error", "said"),
    [
        ({"rank": 0}, ValueError, "rank must be a whole number of at least 1, got 0"),
        ({"rank": 1.5}, ValueError, "rank must be a whole number of at least 1, got 1.5"),
        ({"rank": True}, ValueError, "rank must be a whole number"),
        ({"rank": 9}, ValueError, r"rank must be at most 8, the width of '1', got 9"),
        ({"rank": 1, "alpha": 0}, ValueError, "alpha must be None or a finite number above 0"),
        ({"rank": 1, "alpha": float("inf")}, ValueError, "alpha must be .*, got inf"),
        ({"rank": 1, "alpha": "2"}, ValueError, "alpha must be .*, got '2'"),
        ({"rank": 1, "quantized": True}, ValueError, "multiple of 32 inputs, got 40 of '0'"),
        ({"rank": 1, "ignore": "0"}, TypeError, "ignore must be a tuple"),
        ({"rank": 1, "ignore": ("0", "1")}, ValueError, "model must have layers"),
    ],
)
def test_knobs_that_cannot_be_meant(knobs, error, said):
    model = nn.Sequential(nn.Linear(40, 32), nn.Linear(32, 8))
    with pytest.raises(error, match=said):
        add_adapters(model, **knobs)


def test_models_that_cannot_be_meant():
    plain = nn.Sequential(nn.Linear(8, 8))
    one = add_adapters(plain, rank=1)
    two = batch_adapters(one, [adapter_state(one)] * 2)
    with pytest.raises(ValueError, match="has adapters already, in '0'; use merge_adapters first"):
        add_adapters(one, rank=1)
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got dict"):
        add_adapters({}, rank=1)
    for function in (merge_adapters, adapter_state):
        with pytest.raises(ValueError, match=r"must have adapters, .*; Sequential has none"):
            function(plain)
        with pytest.raises(ValueError, match="one adapter, not several"):
            function(two)
        with pytest.raises(TypeError, match="got int"):
            function(3)
    hidden = nn.Sequential(torch.nn.utils.parametrizations.weight_norm(nn.Linear(8, 8)))
    for model in (hidden, nn.MultiheadAttention(8, 2)):  # their matrices are not read by a layer
        with pytest.raises(
            ValueError, match=r"must have layers of nn.Linear or Conv1D .* has none"
        ):
            add_adapters(model, rank=1)
    plain[0].weight.data[0, 0] = float("nan")
    with pytest.raises(ValueError, match="finite weights, got NaN"):
        add_adapters(plain, rank=1)


def test_states_and_indices_that_cannot_be_meant():
    one = add_adapters(nn.Sequential(nn.Linear(8, 8)), rank=1)
    other = add_adapters(nn.Sequential(nn.Linear(8, 8)), rank=2)
    for states in ([], adapter_state(one), None):
        with pytest.raises(ValueError, match=r"states must be a list .* at least one"):
            batch_adapters(one, states)
    for wrong in (adapter_state(other), {}, None, {"0.lora_a": 3, "0.lora_b": 4}):
        with pytest.raises(ValueError, match=r"states must have the names .* number 1 has others"):
            batch_adapters(one, [adapter_state(one), wrong])
    two = batch_adapters(one, [adapter_state(one)] * 2)
    for wrong in ([2], [-1], [0.5], "a", None, 0, torch.tensor(1), torch.tensor([[0], [1]])):
        with pytest.raises(ValueError, match="indices must be a list of whole numbers from 0 to 1"):
            with_adapters(two, wrong).__enter__()
    with pytest.raises(ValueError, match="several adapters, from batch_adapters"):
        with_adapters(one, [0]).__enter__()
    with pytest.raises(ValueError, match="name an adapter for each of 3 sequences, got none"):
        two(torch.randn(3, 8))
    with with_adapters(two, [0, 1]):
        with pytest.raises(ValueError, match="for each of 3 sequences, got 2"):
            two(torch.randn(3, 8))
        assert two(torch.randn(2, 8)).shape == (2, 8)
    assert two[0].chosen is None


EXPERIMENT = Path(__file__).parents[2] / "experiments" / "adapters.py"


def test_the_experiment_runs_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    torch.manual_seed(0)
    shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 4, "head_dim": 8, "ffn": 64}
    tiny = LanguageModel(Config(**shape, context=512)).eval()
    monkeypatch.setattr(costlab, "load_model", lambda: tiny, raising=False)
    recorded = costlab.results.names()
    main, path = runpy.run_path(str(EXPERIMENT))["main"], tmp_path / "runs.json"
    found = main(["--quick", "--keep", str(path)])
    runs = {run["kind"]: run for run in found["runs"]}
    trained = {kind: run["trained_parameters"] for kind, run in runs.items()}
    assert trained["rank 8"] == trained["rank 8, 4 bits"] == 8 * trained["rank 1"]
    assert trained["all weights"] == sum(p.numel() for p in tiny.parameters())
    assert all(0 < run[text] < 12 for run in runs.values() for text in ("docs", "code"))
    assert "0 of 5 runs are there" in capsys.readouterr().out
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"runs": kept["runs"][:2]}))
    again = main(["--quick", "--keep", str(path)])
    assert "2 of 5 runs are there" in capsys.readouterr().out
    assert [run["docs"] for run in again["runs"]] == [run["docs"] for run in found["runs"]]
    path.write_text(json.dumps(kept | {"setup": {}}))
    main(["--quick", "--keep", str(path), "--steps", "1"])
    assert "0 of 5 runs are there" in capsys.readouterr().out
    assert costlab.results.names() == recorded
