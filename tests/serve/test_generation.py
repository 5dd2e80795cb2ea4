"""generate: the cache changes the time and nothing else, and bad input gets one sentence."""

import pytest
import torch
from torch import nn

from costlab import generate
from costlab.lm.decoding import pick
from costlab.lm.model import Config, LanguageModel


@pytest.fixture(scope="module")
def model():
    config = Config(width=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn=48, context=64)
    model = LanguageModel(config)
    dice = torch.Generator().manual_seed(0)
    for p in model.parameters():
        nn.init.normal_(p, mean=float(p.ndim == 1), std=0.3, generator=dice)
    return model.eval()


@pytest.mark.parametrize("seed", [None, 5])
def test_the_cache_changes_nothing(model, seed):
    cached = generate(model, "def add(a, b):", tokens=40, seed=seed)
    assert isinstance(cached, bytes)
    assert len(cached) == 40
    assert len(set(cached)) > 3
    assert cached == generate(model, b"def add(a, b):", tokens=40, seed=seed, kv_cache=False)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_models_of_transformers(peers, name):
    prompt = torch.randint(99, (3, 7))
    cached = generate(peers[name], prompt, tokens=20)
    assert torch.equal(cached, generate(peers[name], prompt, tokens=20, kv_cache=False))
    theirs = peers[name].generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=20, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    assert torch.equal(cached, theirs[:, 7:])
    with pytest.raises(ValueError, match=r"^prompt is text, but this model does not read bytes"):
        generate(peers[name], "text", tokens=3)


def test_the_likeliest_is_what_a_full_pass_says(model):
    text = list(b"for i in")
    for _ in range(5):
        with torch.inference_mode():
            text.append(model(torch.tensor([text]))[0, -1].argmax().item())
    assert generate(model, b"for i in", tokens=5) == bytes(text[-5:])


def test_drawing_depends_on_the_seed_alone(model):
    draws = [generate(model, "x", tokens=30, seed=seed) for seed in (1, 1, 2)]
    assert draws[0] == draws[1] != draws[2]
    torch.manual_seed(77)
    dice = torch.get_rng_state()
    assert generate(model, "x", tokens=30, seed=1) == draws[0]
    assert torch.equal(torch.get_rng_state(), dice)
    cold = generate(model, "x", tokens=30, seed=1, temperature=1e-4)
    assert cold == generate(model, "x", tokens=30)


def test_tokens_are_drawn_as_often_as_they_are_likely():
    shares = torch.tensor([0.0, 0.5, 0.0, 0.3, 0.2, 0.0])
    dice = torch.Generator().manual_seed(0)
    logits = shares.log().expand(20_000, -1)
    drawn = pick(logits, dice, 1.0)
    assert drawn.shape == (20_000, 1)
    found = drawn.flatten().bincount(minlength=6) / 20_000
    assert torch.allclose(found, shares, atol=0.02)
    assert not found[shares == 0].any()
    colder = pick(logits, dice, 0.5).flatten().bincount(minlength=6) / 20_000
    assert torch.allclose(colder, shares**2 / (shares**2).sum(), atol=0.02)


def test_a_batch_of_tokens(model):
    prompt = torch.randint(256, (3, 6))
    written = generate(model, prompt, tokens=10)
    assert written.shape == (3, 10)
    for row, new in zip(prompt, written, strict=True):
        assert torch.equal(generate(model, row, tokens=10), new[None])
        assert generate(model, bytes(row.tolist()), tokens=10) == bytes(new.tolist())


def test_the_context_may_be_filled_to_its_end(model):
    assert len(generate(model, "x" * 14, tokens=50)) == 50


def test_dropout_is_off_while_it_writes_and_back_on_after(peers):
    model, modes = peers["gpt2"], set()
    prompt = torch.randint(99, (1, 5))
    calm = generate(model, prompt, tokens=30)
    model.train()
    dropout = model.transformer.drop
    handle = dropout.register_forward_hook(lambda module, *_: modes.add(module.training))
    try:
        assert torch.equal(generate(model, prompt, tokens=30), calm)
        assert modes == {False}
        assert all(m.training for m in model.modules())
    finally:
        handle.remove()
        model.eval()


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"prompt": ""}, ValueError, "prompt is empty: give at least one token"),
        ({"prompt": torch.ones(0, 5, dtype=torch.long)}, ValueError, "prompt is empty"),
        ({"prompt": torch.ones(1, 3)}, ValueError, "prompt must be whole-numbered tokens"),
        ({"prompt": torch.ones(1, 2, 3, dtype=torch.long)}, ValueError, "prompt must be whole-"),
        ({"prompt": torch.tensor([[256]])}, ValueError, "prompt must hold tokens from 0 to 255"),
        ({"prompt": torch.tensor([[-1]])}, ValueError, "prompt must hold tokens from 0 to 255"),
        ({"prompt": 3}, TypeError, "prompt must be text, bytes or a tensor, got int"),
        ({"prompt": "x" * 60}, ValueError, r"prompt \(60\) and tokens \(5\) exceed the model's"),
        ({"tokens": 0}, ValueError, "tokens must be a whole number of at least 1, got 0"),
        ({"tokens": 1.5}, ValueError, "tokens must be a whole number of at least 1, got 1.5"),
        ({"temperature": 0, "seed": 1}, ValueError, "temperature must be positive, got 0"),
        ({"temperature": "1"}, ValueError, "temperature must be positive, got '1'"),
        ({"seed": "x"}, ValueError, "seed must be a whole number from 0, or None, got 'x'"),
        ({"seed": -1}, ValueError, "seed must be a whole number from 0, or None, got -1"),
        ({"model": nn.Linear(2, 2)}, TypeError, "model must be a language model, got Linear"),
        ({"model": "gpt2"}, TypeError, "model must be a language model, got str"),
    ],
    ids=str,
)
def test_bad_input_gets_a_sentence_before_any_work(model, change, error, sentence):
    calls = []
    given = {"model": model, "prompt": "x", "tokens": 5} | change
    handle = model.register_forward_hook(lambda *call: calls.append(call))
    with pytest.raises(error, match=f"^{sentence}") as raised:
        generate(**given)
    handle.remove()
    assert "\n" not in str(raised.value)
    assert not calls
