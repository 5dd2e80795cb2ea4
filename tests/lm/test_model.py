"""The model: equal to transformers' Llama, its cache equal to computing everything anew."""

import pytest
import torch

from costlab.lm.decoding import Session, context_of, decode, is_language_model, vocabulary_of
from costlab.lm.model import Config, KVCache, LanguageModel
from costlab.lm.pretrained import export

SHAPE = {"width": 32, "layers": 2, "heads": 4, "head_dim": 8, "ffn": 48, "context": 64}


def tiny(**changes) -> LanguageModel:
    """A model whose weights are large enough that every part of it moves the logits."""
    torch.manual_seed(0)
    model = LanguageModel(Config(**SHAPE | {"kv_heads": 2} | changes)).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, mean=float(parameter.ndim == 1), std=0.2)
    return model


def tokens(batch: int = 2, length: int = 24, vocab: int = 256) -> torch.Tensor:
    return torch.randint(vocab, (batch, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(
    "changes",
    [{"kv_heads": 2}, {"kv_heads": 4}, {"kv_heads": 1}, {"rope_theta": 50.0, "norm_eps": 1e-2}],
    ids=["grouped-query", "multi-head", "multi-query", "other rotation and norm"],
)
def test_transformers_gives_equal_logits(tmp_path, changes):
    transformers = pytest.importorskip("transformers")
    model = tiny(**changes)
    peer = transformers.LlamaForCausalLM.from_pretrained(export(model, tmp_path)).eval()
    with torch.inference_mode():
        ours, theirs = model(tokens()), peer(tokens()).logits
    assert ours.abs().max() > 0.5  # or equality would mean little
    torch.testing.assert_close(ours, theirs, atol=1e-4, rtol=1e-4)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


@pytest.mark.parametrize("kv_heads", [1, 2, 4])
@pytest.mark.parametrize("chunks", [[1] * 24, [10, 14], [1, 7, 1, 15], [23, 1], [8, 8, 8]], ids=str)
def test_cache_equals_full_recomputation(kv_heads, chunks):
    model, text, cache = tiny(kv_heads=kv_heads), tokens(), KVCache(24)
    with torch.inference_mode():
        whole = model(text)
        parts = [model(piece, cache=cache) for piece in text.split(chunks, dim=1)]
    torch.testing.assert_close(torch.cat(parts, dim=1), whole, atol=1e-5, rtol=1e-4)
    assert cache.length == 24


def test_later_bytes_change_nothing_before_them():
    model, text = tiny(), tokens()
    other = text.clone()
    other[:, 12:] = (other[:, 12:] + 1) % 256
    with torch.inference_mode():
        a, b = model(text), model(other)
    torch.testing.assert_close(a[:, :12], b[:, :12])
    assert not torch.allclose(a[:, 12:], b[:, 12:])


def test_position_matters():
    model = tiny()
    with torch.inference_mode():
        logits = model(torch.tensor([[7, 9, 11, 13], [9, 7, 11, 13]]))[:, -1]
    assert not torch.allclose(logits[0], logits[1])


def test_cached_decoding_writes_what_the_naive_loop_writes():
    model, prompt = tiny(), tokens(3, 9)
    naive = decode(model, prompt, tokens=30, kv_cache=False)
    assert naive.shape == (3, 30)
    assert len(naive.unique()) > 3
    assert torch.equal(decode(model, prompt, tokens=30), naive)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
@pytest.mark.parametrize("kv_cache", [True, False])
def test_decoding_a_transformers_model_equals_its_own_greedy_loop(peers, name, kv_cache):
    model, prompt = peers[name], tokens(2, 9, 99)
    ours = decode(model, prompt, tokens=12, kv_cache=kv_cache)
    theirs = model.generate(
        prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=12, do_sample=False,
        pad_token_id=0,
    )  # fmt: skip
    assert torch.equal(ours, theirs[:, 9:])


def test_what_is_known_of_a_model(peers):
    for model in peers.values():
        assert is_language_model(model)
        assert (context_of(model), vocabulary_of(model)) == (64, 99)
    assert (context_of(tiny()), vocabulary_of(tiny())) == (64, 256)
    assert not is_language_model(torch.nn.Linear(2, 2))


def test_an_encoder_decoder_is_no_language_model_of_this_kind():
    transformers = pytest.importorskip("transformers")
    config = transformers.T5Config(
        d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2, vocab_size=16
    )
    assert not is_language_model(transformers.T5ForConditionalGeneration(config))


def test_text_beyond_the_context_is_refused():
    with pytest.raises(ValueError, match=r"^tokens reach position 65, .* context is 64 bytes$"):
        tiny()(tokens(1, 65))
    model, session = tiny(), Session(tiny())
    session.feed(tokens(1, 60))
    with pytest.raises(ValueError, match="position 65"):
        session.feed(tokens(1, 5))
    with pytest.raises(ValueError, match="position 9, the cache holds 8"):
        model(tokens(1, 9), cache=KVCache(8))


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"width": 0}, "width must be positive, got 0"),
        ({"layers": -1}, "layers must be positive, got -1"),
        ({"ffn": 1.5}, "ffn must be a whole number, got 1.5"),
        ({"vocab": "256"}, "vocab must be a whole number, got '256'"),
        ({"heads": True}, "heads must be a whole number, got True"),
        ({"rope_theta": float("nan")}, "rope_theta must be positive, got nan"),
        ({"norm_eps": float("inf")}, "norm_eps must be positive, got inf"),
        ({"kv_heads": 3}, "heads must be a multiple of kv_heads, got 4 and 3"),
        ({"head_dim": 7}, "head_dim must be even"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        Config(**SHAPE | {"kv_heads": 2} | changes)


def test_the_default_shape_is_what_the_book_says():
    model = LanguageModel()
    size = 2 * sum(p.numel() for p in model.parameters())
    assert 384 <= model.config.width <= 512
    assert size < 20e6  # bytes in bf16: it ships in the package
