"""Floating formats against torchao's own, and against a search through every value they have."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from costlab.compress.formats import bits_per_weight, round_to
from costlab.compress.rounding import noise_db

E2M1 = torch.tensor([0, 0.5, 1, 1.5, 2, 3, 4, 6])
E2M1 = torch.cat([E2M1, -E2M1[1:]])
SIZES = [1e-9, 1e-3, 1.0, 77.0, 1e9]


def random(rows=8, columns=64, seed=0, size=1.0):
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(rows, columns, generator=generator) * size
    return x * torch.exp(torch.randn(rows, columns, generator=generator))  # long tails


def by_search(x, scale):
    """The value of E2M1, times the scale, that lies nearest; its distance."""
    return (x[..., None] - E2M1 * scale[..., None]).abs().amin(-1)


def by_torchao(x, format):
    if format == "mxfp4":
        mx = pytest.importorskip("torchao.prototype.mx_formats.mx_tensor")
        made = mx.MXTensor.to_mx(x, torch.float4_e2m1fn_x2, 32)
        return made.dequantize(torch.float32)
    nv = pytest.importorskip("torchao.prototype.mx_formats.nvfp4_tensor")
    whole = nv.per_tensor_amax_to_scale(x.abs().amax())
    return nv.NVFP4Tensor.to_nvfp4(x, per_tensor_scale=whole).dequantize(torch.float32)


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("format", ["mxfp4", "nvfp4"])
def test_four_bit_formats_are_those_of_torchao(format, size):
    x = random(size=size)
    want = by_torchao(x, format)
    got = round_to(x, format)
    same = torch.isclose(got, want, rtol=1e-5, atol=0)
    assert same.float().mean() > 0.99  # torchao multiplies by 1 / scale: other sides of a tie
    torch.testing.assert_close((got - x).norm(), (want - x).norm(), rtol=1e-3, atol=0)


@given(seed=st.integers(0, 99), size=st.sampled_from(SIZES))
def test_mxfp4_is_the_nearest_value_of_its_power_of_two(seed, size):
    x = random(4, 64, seed, size)
    largest = x.view(4, 2, 32).abs().amax(-1, keepdim=True)
    scale = torch.exp2(torch.log2(largest.double()).floor() - 2).float().expand(4, 2, 32)
    scale = scale.reshape(4, 64)
    got = round_to(x, "mxfp4")
    torch.testing.assert_close((got - x).abs(), by_search(x, scale), rtol=1e-4, atol=1e-6 * size)
    assert torch.isin(got / scale, E2M1).all()


def test_ties_go_to_the_even_code_and_beyond_the_end_is_cut_off():
    x = torch.zeros(1, 32)
    x[0, :10] = torch.tensor([0.25, 0.75, 1.25, 1.75, 2.5, 3.5, 5, 7, -7, 7.9])
    want = [0, 1, 1, 2, 2, 4, 4, 6, -6, 6]
    assert round_to(x, "mxfp4")[0, :10].tolist() == want


def test_every_power_of_two_is_exact():
    x = torch.exp2(torch.arange(-120, 121).float())[:, None].repeat(1, 32)
    assert torch.equal(round_to(x, "mxfp4"), x)


@given(seed=st.integers(0, 99), size=st.sampled_from(SIZES))
def test_nvfp4_rounds_to_at_most_the_half_step_of_its_blocks(seed, size):
    x = random(4, 64, seed, size)
    blocks = x.view(4, 4, 16)
    largest = blocks.abs().amax(-1, keepdim=True)
    error = (round_to(x, "nvfp4").view(4, 4, 16) - blocks).abs()
    # steps end at 2 of 6; a block's scale is one of E4M3: off by a sixteenth, or, for blocks far
    # below the largest, by half its least value
    least = x.abs().max() / 448 * 2**-6
    assert (error <= largest * (1 / 6 + 1 / 16) + least).all()


def test_scales_in_eight_bits_fit_better_than_powers_of_two():
    x = torch.randn(64, 64)
    loss = {f: noise_db(x, round_to(x, f)) for f in ("mxfp4", "nvfp4", "fp8")}
    assert loss["mxfp4"] + 1 < loss["nvfp4"] < loss["fp8"] - 8


@pytest.mark.parametrize("granularity", ["channel", "tensor"])
@pytest.mark.parametrize("size", SIZES)
def test_fp8_is_the_nearest_value_of_e4m3(granularity, size):
    x = random(size=size)
    x[0] *= 100
    every = torch.arange(256, dtype=torch.uint8).view(torch.float8_e4m3fn).float()
    every = every[every.isfinite()]
    assert every.max() == 448
    largest = x.abs().amax(1, keepdim=True) if granularity == "channel" else x.abs().amax()
    scale = largest / 448
    got = round_to(x, "fp8", granularity=granularity)
    nearest = (x[..., None] - every * (scale[..., None] if scale.ndim else scale)).abs().amin(-1)
    torch.testing.assert_close((got - x).abs(), nearest, rtol=1e-3, atol=1e-6 * size)
    assert got.abs().max() == pytest.approx(float(x.abs().max()), rel=1e-6)


def test_one_scale_for_all_loses_small_rows():
    x = random()
    x[0] *= 1e6
    loss = {
        g: noise_db(x[1:], round_to(x, "fp8", granularity=g)[1:]) for g in ("channel", "tensor")
    }
    assert loss["channel"] > loss["tensor"] + 10


@pytest.mark.parametrize("format", ["fp8", "mxfp4", "nvfp4"])
def test_shape_kind_zeros_and_what_is_rounded_already(format):
    x = random(6, 32).bfloat16().view(2, 3, 32)
    x[0, 0] = 0
    before, once = x.clone(), round_to(x, format)
    assert once.shape == x.shape
    assert once.dtype == torch.bfloat16
    assert once[0, 0].eq(0).all()
    assert torch.equal(x, before)
    assert not torch.equal(once, x)
    assert round_to(torch.zeros(2, 32), format).eq(0).all()
    other_order = x.float().transpose(0, 2).contiguous().transpose(0, 2)
    assert torch.equal(round_to(other_order, format), round_to(x.float(), format))
    once = round_to(x.float(), format)
    torch.testing.assert_close(round_to(once, format), once, rtol=1e-5, atol=0)


def test_bits_count_the_scales_of_blocks():
    bits = {format: bits_per_weight(format) for format in ("fp8", "mxfp4", "nvfp4")}
    assert bits == {"fp8": 8, "mxfp4": 4.25, "nvfp4": 4.5}


@pytest.mark.parametrize(
    ("x", "format", "granularity", "sentence"),
    [
        (torch.ones(2, 32), "fp4", "channel", r"format must be one of .*'mxfp4'.* got 'fp4'"),
        (torch.ones(2, 32), None, "channel", "format must be one of .* got None"),
        (torch.ones(2, 32), "fp8", "group", "must be 'channel' or 'tensor', got 'group'"),
        (torch.ones(2, 48), "mxfp4", "channel", "32 divides, the block of 'mxfp4', got 48"),
        (torch.ones(2, 24), "nvfp4", "channel", "16 divides, the block of 'nvfp4', got 24"),
        (torch.full((2, 32), float("nan")), "nvfp4", "channel", "x must be finite, got NaN"),
        (torch.full((2, 32), float("inf")), "fp8", "channel", "x must be finite, got NaN"),
        (torch.ones(2, 32, dtype=torch.int8), "fp8", "channel", "floats .* got torch.int8"),
        (torch.tensor(1.0), "fp8", "channel", r"floats \(..., columns\), got torch.float32"),
        (torch.ones(0, 32), "mxfp4", "channel", r"tensor of floats .* \(0, 32\)"),
        ([1.0], "fp8", "channel", "tensor of floats .* got list"),
    ],
)  # fmt: skip
def test_bad_input_gets_one_sentence(x, format, granularity, sentence):
    with pytest.raises(ValueError, match=sentence):
        round_to(x, format, granularity=granularity)


def test_bits_of_an_unknown_format():
    with pytest.raises(ValueError, match=r"format must be one of .* got 'int4'"):
        bits_per_weight("int4")
