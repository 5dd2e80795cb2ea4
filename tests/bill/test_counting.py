"""Counting, against torch's own counter on the attention backend that it can see into."""

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from costlab.bill import counting
from costlab.lm.decoding import Session


def counted(work, without: str = "") -> int:
    """Operations that torch counts while `work` runs, less those of one named submodule."""
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), counter:
        work()
    counts = counter.get_flop_counts()
    left_out = sum(n for name in counts if without and name.endswith(without)
                   for n in counts[name].values())  # fmt: skip
    return counter.get_total_flops() - left_out


@pytest.mark.parametrize("shape", [{}, {"kv_heads": 4}, {"width": 40, "layers": 3, "ffn": 24}])
@pytest.mark.parametrize("length", [1, 17, 64])
def test_one_pass_computes_the_whole_square(tiny, shape, length):
    model, tokens = tiny(**shape).eval(), torch.randint(256, (3, length))
    per_token = counting.flops_per_token(model) + counting.attention_flops(model, length)
    assert counted(lambda: model(tokens)) == 3 * length * per_token


def test_step_by_step_a_token_sees_half_the_text_on_average(tiny):
    model, n, session = tiny().eval(), 24, Session(tiny().eval())
    steps = counted(lambda: [session.feed(torch.ones(1, 1, dtype=torch.long)) for _ in range(n)])
    mean = counting.attention_flops(model, (n + 1) / 2)
    assert steps == n * (counting.flops_per_token(model) + mean)


def test_transformers_models_agree_with_torchs_counter(llama, gpt2):
    tokens = torch.randint(99, (2, 20))
    for model in (llama.eval(), gpt2.eval()):
        per_token = counting.flops_per_token(model) + counting.attention_flops(model, 20)
        total = counted(lambda m=model: m(input_ids=tokens, use_cache=False), "rotary_emb")
        assert total == 40 * per_token


@given(st.lists(st.integers(1, 40), min_size=2, max_size=6), st.integers(1, 5))
def test_any_stack_of_linear_layers(widths, batch):
    pairs = list(itertools.pairwise(widths))
    model = nn.Sequential(*(layer for a, b in pairs for layer in (nn.Linear(a, b), nn.ReLU())))
    total = counted(lambda: model(torch.ones(batch, widths[0])))
    assert batch * counting.flops_per_token(model) == total
    parameters = sum(a * b + b for a, b in pairs)
    assert counting.bytes_in_memory(model) == 4 * parameters


def test_a_layer_used_twice_works_twice_and_is_stored_once():
    layer = nn.Linear(8, 8)
    model = nn.Sequential(layer, nn.ReLU(), layer)
    assert counting.flops_per_token(model) == counted(lambda: model(torch.ones(1, 8))) == 256
    assert counting.bytes_in_memory(model) == 4 * 72
    assert [name for name, *_ in counting.matrices(model)] == ["0"]


def test_tied_weights_are_stored_once(gpt2):
    assert gpt2.lm_head.weight is gpt2.transformer.wte.weight
    unique = sum(p.numel() for p in {id(p): p for p in gpt2.parameters()}.values())
    buffers = sum(b.numel() * b.element_size() for b in gpt2.buffers())
    assert counting.bytes_in_memory(gpt2) == 4 * unique + buffers
    names = {name for name, *_ in counting.matrices(gpt2)}
    assert "lm_head" in names  # it multiplies, though its weights belong to the embedding
    assert "transformer.h.0.attn.c_attn" in names


def test_buffers_and_small_types_count_as_they_are():
    model = nn.BatchNorm1d(10)
    assert counting.bytes_in_memory(model) == 4 * 40 + 8
    assert counting.bytes_in_memory(nn.Linear(10, 10).bfloat16()) == 2 * 110


def test_what_has_no_matrix_or_no_known_shape_is_unknown():
    assert counting.flops_per_token(nn.Embedding(5, 5)) is None
    assert counting.attention_flops(nn.Linear(2, 2), 10) is None
    assert counting.kv_bytes_per_token(nn.Linear(2, 2)) is None


def test_bytes_of_the_cache(tiny, llama, gpt2):
    model = tiny()
    session = Session(model, capacity=10)
    session.feed(torch.ones(1, 10, dtype=torch.long))
    stored = [*session.cache.keys.values(), *session.cache.values.values()]
    assert sum(t.numel() * t.element_size() for t in stored) == 10 * counting.kv_bytes_per_token(
        model
    )
    for peer, heads in ((llama, 2), (gpt2, 4)):
        assert counting.kv_bytes_per_token(peer) == 2 * 4 * heads * 8 * 2
    assert counting.kv_bytes_per_token(tiny().bfloat16()) == counting.kv_bytes_per_token(model) / 2


def test_modes_are_put_back_even_after_an_error(gpt2):
    gpt2.train()
    gpt2.transformer.h[0].eval()
    before = [m.training for m in gpt2.modules()]
    with counting.evaluating(gpt2) as model:
        assert not any(m.training for m in model.modules())
    assert [m.training for m in gpt2.modules()] == before
    with pytest.raises(RuntimeError, match="stop"), counting.evaluating(gpt2):
        raise RuntimeError("stop")
    assert [m.training for m in gpt2.modules()] == before
