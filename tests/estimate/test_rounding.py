"""Size and noise of rounded weights, beside weights that are really rounded."""

import math

import pytest
import torch

from costlab.compress.rounding import fit_grid, noise_db
from costlab.estimate import quantized, resolve_model
from costlab.estimate.formulas import formula


@pytest.mark.parametrize("bits", [3, 4, 6, 8])
@pytest.mark.parametrize("group", [16, 128, 1024])
def test_the_noise_is_that_of_rounding_normal_weights(bits, group):
    weight = torch.randn(64, 8192, generator=torch.Generator().manual_seed(bits))
    grid = fit_grid(weight, bits=bits, groups=8192 // group)
    measured = noise_db(weight, grid.decode(grid.encode(weight)))
    assert quantized("gpt2", bits=bits, group=group).noise_db == pytest.approx(measured, abs=0.2)


def test_uniform_weights_are_another_matter():
    """The formula says for which weights it holds: of evenly spread ones, less is lost."""
    weight = torch.rand(64, 8192, generator=torch.Generator().manual_seed(0)) - 0.5
    grid = fit_grid(weight, bits=4, groups=64)
    measured = noise_db(weight, grid.decode(grid.encode(weight)))
    assert measured > quantized("gpt2", bits=4, group=128).noise_db + 3


def test_the_size_counts_scales_and_what_stays_wide():
    m = resolve_model("llama-3.1-8b")
    e = quantized(m, bits=4, group=128)
    wide = m.embedding_params + m.head_params
    assert e.gb == pytest.approx((2 * wide + (m.params - wide) * (0.5 + 2 / 128)) / 1e9)
    assert e.gb_before == pytest.approx(2 * m.params / 1e9)
    assert e.times_smaller == pytest.approx(e.gb_before / e.gb)
    assert e.noise_db == pytest.approx(-20 * math.log10(e.error))
    assert quantized(m, bits=4, group=None).group == m.hidden
    assert e.to_dict()["bits"] == 4


def test_a_bit_is_six_decibels():
    noise = [quantized("gpt2", bits=b).noise_db for b in (6, 7, 8)]
    assert noise[1] - noise[0] == pytest.approx(6, abs=0.3)
    assert noise[2] - noise[1] == pytest.approx(6, abs=0.2)


@pytest.mark.parametrize(
    ("bad", "sentence"),
    [
        ({"bits": 2}, "bits must be a whole number from 3 to 8, got 2"),
        ({"bits": 4.5}, "bits must be a whole number, got 4.5"),
        ({"group": 4}, "group must be a whole number from 8"),
    ],
)
def test_bad_input_gets_a_sentence(bad, sentence):
    with pytest.raises(ValueError, match=sentence):
        quantized("gpt2", **bad)


def test_serving_pays_for_the_scales_of_narrow_weights():
    held = formula("serving_memory")
    given = dict.fromkeys(("params", "kv_values", "attended", "memory_gib", "memory_share"), 8.0)
    given |= dict.fromkeys(("embedding_params", "batch", "workspace_gib", "moe"), 0.0)
    given |= {"kv_bits": 16, "kv_limit": 8, "tensor": 1, "pipeline": 1}
    bits = {b: held(**given, weight_bits=b)["bits"] for b in (16, 8, 5, 4.5, 4)}
    assert bits == {16: 16, 8: 8, 5: 5, 4.5: 5, 4: 4.5}
