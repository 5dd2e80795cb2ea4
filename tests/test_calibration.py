"""What flows into layers, seen in one pass or block by block."""

import pytest
import torch
from torch import nn

from costlab import calibration
from costlab.calibration import (
    Statistics,
    blocks,
    calibration_batches,
    call,
    observe,
    walk,
    watching,
)
from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.modules import copy_sharing, layers, replace_, weight_of, with_weight

BOOK = {"width": 16, "heads": 2, "kv_heads": 1, "head_dim": 8, "ffn": 24, "context": 32}


def book(number=2):
    return LanguageModel(Config(layers=number, **BOOK)).eval()


def tokens(vocabulary, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, vocabulary, (3, 12), generator=generator)


class ByKeyword(nn.Module):
    """Blocks that are handed everything by name."""

    class Block(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(8, 8)

        def forward(self, hidden, *, scale):
            return hidden + scale * torch.tanh(self.inner(hidden)), "and something else"

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(self.Block() for _ in range(3))

    def forward(self, x, scale=0.5):
        for block in self.blocks:
            x, _ = block(hidden=x, scale=scale)
        return x


class Between(nn.Module):
    """Something happens between the layers: their own outputs are not the next ones' inputs."""

    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            x = x + torch.relu(layer(x))
        return x


class Skipping(Between):
    """The last layer is never run, or the first is run again."""

    def __init__(self, order):
        super().__init__()
        self.order = order

    def forward(self, x):
        for number in self.order:
            x = self.layers[number](x)
        return x


def halve(name, layer, seen):
    return with_weight(layer, weight_of(layer) / 2)


def assert_walk_is_right(model, batches, *, in_order=True):
    """Each layer's statistics are those of a model in which the blocks before it are changed."""
    names = list(layers(model))
    found = {}

    def change(name, layer, seen):
        found[name] = seen
        return halve(name, layer, seen)

    walked = walk(copy_sharing(model, layers(model)), batches, names, change, desc="")
    assert list(found) == names
    chain = blocks(model) if in_order else [""]
    changed = copy_sharing(model, layers(model))
    for block in [*chain, None]:
        prefix = f"{block}." if block else ""
        part = [n for n in names if block is None or n == block or n.startswith(prefix)]
        for name, seen in observe(changed, batches, part).items():
            torch.testing.assert_close(found[name].mean, seen.mean, rtol=1e-4, atol=1e-6)
            torch.testing.assert_close(found[name].largest, seen.largest, rtol=1e-4, atol=1e-6)
            assert found[name].rows == seen.rows
        for name in part:
            replace_(changed, {name: halve(name, changed.get_submodule(name), None)})
        names = [name for name in names if name not in part]
    assert not names
    for ours, theirs in zip(layers(walked).values(), layers(model).values()):
        assert torch.equal(weight_of(ours), weight_of(theirs) / 2)
    return found


def test_statistics_are_those_of_all_rows():
    x = torch.randn(3, 4, 5)
    parts, rows = Statistics(hessian=True), x.reshape(-1, 5)
    for part in (x[:0], x[:1], x[1:], x[:0]):
        parts.add(part)
    assert parts.rows == 12
    torch.testing.assert_close(parts.largest, rows.abs().amax(0))
    torch.testing.assert_close(parts.mean, rows.abs().mean(0))
    torch.testing.assert_close(parts.hessian, rows.t() @ rows / 12)


def test_statistics_are_float32_and_hold_no_history():
    seen = Statistics(hessian=True)
    seen.add(torch.randn(4, 5, dtype=torch.bfloat16, requires_grad=True))
    for value in (seen.largest, seen.mean, seen.hessian):
        assert value.dtype == torch.float32
        assert not value.requires_grad
    plain = Statistics()
    plain.add(torch.randn(4, 5))
    assert plain.hessian.ndim == 0


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_statistics_take_numbers_only(bad):
    with pytest.raises(ValueError, match="calibration must lead to finite activations, got NaN"):
        Statistics().add(torch.tensor([[1.0, bad]]))


def test_watching_ends_with_the_work():
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4))
    found = {"1": Statistics()}
    with watching(model, found):
        model(torch.randn(5, 4))
    model(torch.randn(5, 4))
    assert found["1"].rows == 5
    with pytest.raises(ZeroDivisionError), watching(model, {"0": Statistics()}):
        raise ZeroDivisionError
    assert not model[0]._forward_pre_hooks


def test_layers_are_seen_when_they_are_called_by_keyword():
    layer, x = nn.Linear(4, 4), torch.randn(5, 4)
    found = {"0": Statistics()}
    with watching(nn.Sequential(layer), found):
        y = layer(input=x)
    torch.testing.assert_close(found["0"].mean, x.abs().mean(0))
    assert torch.equal(y, layer(x)), "what flows stays as it is"


def test_layers_that_nothing_reaches():
    model = Skipping([0, 1])
    with pytest.raises(ValueError, match=r"every layer, but it never reached 'layers.2'"):
        observe(model, [torch.randn(2, 8)], list(layers(model)))
    with pytest.raises(ValueError, match=r"every layer, but it never reached 'layers.2'"):
        walk(model, [torch.randn(2, 8)], list(layers(model)), halve, desc="")


def test_observing_runs_the_model_once_in_evaluation_and_puts_its_mode_back():
    model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.5), nn.Linear(4, 4)).train()
    x = torch.randn(50, 4)
    seen = observe(model, [x[:20], x[20:]], ["0", "2"])
    torch.testing.assert_close(seen["2"].largest, model[0](x).detach().abs().amax(0))
    assert model.training
    assert model[1].training
    assert seen["0"].rows == 50


def test_batches_of_every_form_are_called(peers):
    model, ids = peers["llama"], tokens(99)
    want = model(input_ids=ids).logits
    assert torch.equal(call(model, ids).logits, want)
    assert torch.equal(call(model, (ids,)).logits, want)
    assert torch.equal(call(model, {"input_ids": ids}).logits, want)


def test_the_books_text_calibrates_models_that_read_bytes():
    batches = calibration_batches(book(), None, windows=12, context=256)
    assert [batch.shape for batch in batches] == [(8, 31), (4, 31)]
    again = calibration_batches(book(), None, windows=12)
    assert all(torch.equal(a, b) for a, b in zip(batches, again))
    assert bytes(batches[0][0].tolist()) in corpus.training_text()


@pytest.mark.parametrize("name", ["llama", "mlp"])
def test_other_models_need_data(peers, name):
    model = peers["llama"] if name == "llama" else nn.Linear(2, 2)
    with pytest.raises(ValueError, match="calibration is needed: the model does not read bytes"):
        calibration_batches(model, None)


@pytest.mark.parametrize(
    ("given", "error", "sentence"),
    [
        ("text", TypeError, "calibration must be a batch .* or batches, got str"),
        (3, TypeError, "calibration must be a batch .* or batches, got int"),
        ([], ValueError, "calibration must hold at least one batch, got none"),
        (torch.zeros(0, 4, dtype=torch.long), ValueError, "calibration must be .* not empty"),
        ([torch.zeros(2, 4)], ValueError, "calibration for a language model must be int64 tokens"),
        (torch.full((2, 4), 99), ValueError, "calibration holds tokens from 99 to 99; .* 0 to 98"),
        (torch.full((2, 4), -1), ValueError, "calibration holds tokens from -1 to -1; .* 0 to 98"),
        (torch.zeros(2, 99, dtype=torch.long), ValueError, "calibration has 99 positions; .* 64"),
        ({"ids": torch.zeros(2, 4)}, ValueError, "calibration .* its tokens as 'input_ids'"),
    ],
)
def test_calibration_that_cannot_be_read(peers, given, error, sentence):
    with pytest.raises(error, match=sentence):
        calibration_batches(peers["llama"], given)


def test_batches_may_come_from_a_generator():
    made = calibration_batches(nn.Linear(4, 4), (torch.randn(2, 4) for _ in range(3)))
    assert len(made) == 3


def test_the_chain_of_blocks_of_each_kind_of_model(peers):
    assert blocks(book(3)) == [f"model.layers.{i}" for i in range(3)]
    assert blocks(peers["llama"]) == ["model.layers.0", "model.layers.1"]
    assert blocks(peers["gpt2"]) == ["transformer.h.0", "transformer.h.1"]
    assert blocks(nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2))) == ["0", "1", "2"]
    assert blocks(nn.Linear(2, 2)) == [""]
    assert blocks(nn.Sequential(nn.Linear(2, 2))) == [""]
    wide = nn.ModuleDict({"chain": nn.Sequential(nn.Linear(2, 2), nn.ReLU()), "a": nn.Linear(2, 2)})
    assert blocks(wide) == [""], "the chain must hold most of the matrices"


@pytest.mark.parametrize("name", ["llama", "gpt2", "book"])
@pytest.mark.parametrize("form", ["tensor", "dict"])
def test_walking_a_language_model(peers, name, form):
    model = book() if name == "book" else peers[name]
    batches = [tokens(99, seed) for seed in range(2)]
    if form == "dict":
        key = "tokens" if name == "book" else "input_ids"
        batches = [{key: batch} for batch in batches]
    assert_walk_is_right(model, batches)


def test_walking_an_encoder():
    transformers = pytest.importorskip("transformers")
    config = transformers.BertConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=99, max_position_embeddings=64,
    )  # fmt: skip
    model = transformers.BertModel(config, add_pooling_layer=False).eval()
    mask = torch.ones(3, 12, dtype=torch.long)
    mask[1, 6:] = 0
    batch = {"input_ids": tokens(99), "attention_mask": mask}
    assert blocks(model) == ["encoder.layer.0", "encoder.layer.1"]
    assert_walk_is_right(model, [batch])


def test_walking_blocks_that_are_called_by_keyword():
    assert_walk_is_right(ByKeyword(), [torch.randn(6, 8), torch.randn(3, 8)])


def test_walking_a_plain_stack():
    model = nn.Sequential(nn.Linear(8, 8), nn.GELU(), nn.Linear(8, 6), nn.ReLU(), nn.Linear(6, 2))
    assert_walk_is_right(model, [torch.randn(6, 8)])


def test_walking_a_single_layer():
    layer = nn.Linear(8, 4)
    walked = walk(layer, [torch.randn(6, 8)], [""], halve, desc="")
    assert torch.equal(walked.weight, layer.weight / 2)


@pytest.mark.parametrize(
    "model",
    [Between(), Skipping([0, 1, 2, 0]), Skipping([2, 0, 1])],
    ids=["between", "shared", "order"],
)  # fmt: skip
def test_what_is_no_chain_is_seen_as_a_whole(model):
    assert blocks(model) == ["layers.0", "layers.1", "layers.2"]
    assert_walk_is_right(model, [torch.randn(6, 8), torch.randn(2, 8)], in_order=False)


def test_a_block_of_two_places_is_seen_as_a_whole():
    block = nn.Sequential(nn.Linear(8, 8), nn.ReLU())
    model = nn.Sequential(block, nn.Linear(8, 8), block)
    assert_walk_is_right(model, [torch.randn(6, 8)], in_order=False)


def count_calls(number, batches):
    """How often each block runs."""
    model, counted = book(number), [0] * number
    for i, block in enumerate(model.model.layers):
        block.register_forward_hook(
            lambda *_, i=i: counted.__setitem__(i, counted[i] + 1),
        )
    walk(model, batches, list(layers(model, ignore=("lm_head",))), halve, desc="")
    return counted


def test_the_work_grows_with_the_number_of_blocks():
    batches = [tokens(256, seed) for seed in range(2)]
    for number in (2, 5):
        # once to record, once to watch, once to hand on; nothing follows the last
        assert count_calls(number, batches) == [6] * (number - 1) + [4]


def test_one_blocks_statistics_are_held_at_a_time(monkeypatch):
    held, most = set(), []

    class Counting(Statistics):
        def add(self, x):
            held.add(id(self))
            most.append(len(held))
            super().add(x)

        def __del__(self):
            held.discard(id(self))

    monkeypatch.setattr(calibration, "Statistics", Counting)
    model = book(4)
    walk(model, [tokens(256)], list(layers(model, ignore=("lm_head",))), halve, desc="")
    assert max(most) == 7


def test_walking_puts_modes_and_configuration_back(peers):
    model = peers["llama"]
    model.train()
    try:
        copied = copy_sharing(model, layers(model))
        walk(copied, [tokens(99)], list(layers(copied)), lambda n, layer, s: layer, desc="")
        assert copied.training
        assert copied.config.use_cache is True
        assert not any(m._forward_hooks or m._forward_pre_hooks for m in copied.modules())
    finally:
        model.eval()


def test_a_walk_that_fails_leaves_no_hooks():
    model = book()

    def fail(name, layer, seen):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        walk(model, [tokens(256)], list(layers(model)), fail, desc="")
    assert not any(m._forward_hooks or m._forward_pre_hooks for m in model.modules())
