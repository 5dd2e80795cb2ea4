"""The integer cache beside the float one."""

import pytest
import torch

from costlab.compress.cache import QuantizedKVCache
from costlab.compress.rounding import fit_grid, pack
from costlab.lm.model import KVCache


def pieces(tokens, *lengths):
    return tokens.split(lengths, dim=1)


def logits(model, tokens, cache, *lengths):
    """What the model says while it reads `tokens` in pieces."""
    with torch.no_grad():
        return torch.cat([model(part, cache=cache) for part in pieces(tokens, *lengths)], dim=1)


@pytest.fixture
def tokens():
    return torch.randint(0, 256, (3, 20), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize(("bits", "most"), [(8, 0.03), (4, 0.5)])
def test_logits_stay_close_to_those_of_the_float_cache(tiny, tokens, bits, most):
    model, lengths = tiny(), (9, 1, 1, 9)
    exact = logits(model, tokens, KVCache(20), *lengths)
    got = logits(model, tokens, QuantizedKVCache(20, bits=bits), *lengths)
    error = float((got - exact).norm() / exact.norm())
    assert 0 < error < most


@pytest.mark.parametrize("bits", [4, 8])
def test_codes_and_scales_are_those_of_each_position_and_head(bits):
    cache, exact = QuantizedKVCache(12, bits=bits), KVCache(12)
    for length in (5, 1, 3):
        keys, values = (torch.randn(2, 3, length, 8) for _ in range(2))
        got, want = cache.append(0, keys, values), exact.append(0, keys, values)
        for c in (cache, exact):
            c.length += length
    for floats, held, back in zip(want, (cache.keys[0], cache.values[0]), got):
        rows = floats.flatten(0, 2)
        grid = fit_grid(rows, bits=bits)
        codes, scales = (t[:, :, :9] for t in held)
        assert torch.equal(codes.flatten(0, 2), pack(grid.encode(rows), bits))
        assert torch.equal(scales.flatten(0, 2), grid.scale)
        assert torch.equal(back.flatten(0, 2), grid.decode(grid.encode(rows)))
        assert back.shape == floats.shape


def test_one_piece_or_many_give_the_same(tiny, tokens):
    model = tiny()
    whole = logits(model, tokens, QuantizedKVCache(20), 20)
    parts = logits(model, tokens, QuantizedKVCache(20), *[1] * 20)
    assert float((whole - parts).norm() / whole.norm()) < 1e-3  # a code may fall on the other side


def test_keys_and_values_are_rounded_apart():
    keys, values = torch.randn(1, 2, 4, 8), 100 * torch.randn(1, 2, 4, 8)
    cache = QuantizedKVCache(4)
    got = cache.append(1, keys, values)
    for exact, back in zip((keys, values), got):
        assert ((back - exact).abs() <= exact.abs().amax(-1, keepdim=True) * 0.51 / 127).all()
    assert list(cache.keys) == [1]


@pytest.mark.parametrize(("bits", "dim"), [(8, 8), (4, 8), (4, 64)])
def test_memory_is_what_it_says(tiny, tokens, bits, dim):
    model, cache = tiny(head_dim=dim), QuantizedKVCache(20, bits=bits)
    assert cache.bytes_per_token() == 0
    logits(model, tokens, cache, 20)
    held = [t for store in (cache.keys, cache.values) for pair in store.values() for t in pair]
    total = sum(t.numel() * t.element_size() for t in held)
    assert cache.bytes_per_token() * len(tokens) * cache.capacity == total
    layers, heads = 2, 2
    assert cache.bytes_per_token() == 2 * layers * heads * (dim * bits // 8 + 4)


def test_the_kind_of_number_of_the_model_comes_back(tiny, tokens):
    model = tiny().bfloat16()
    assert logits(model, tokens, QuantizedKVCache(20), 10, 10).dtype == torch.bfloat16


@pytest.mark.parametrize("bits", [0, 3, 16, True, "8", 8.5, None])
def test_bits_out_of_range(bits):
    with pytest.raises(ValueError, match="bits must be 4 or 8, got"):
        QuantizedKVCache(20, bits=bits)


def test_more_tokens_than_it_holds(tiny, tokens):
    with pytest.raises(ValueError, match="tokens reach position 20, the cache holds 12"):
        tiny()(tokens, cache=QuantizedKVCache(12))
