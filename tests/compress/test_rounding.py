"""Grids and packing, against torchao and torch, and what must hold for any matrix."""

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from costlab.compress.rounding import Grid, fit_grid, noise_db, pack, unpack

BITS = st.integers(2, 8)


def random(rows=12, columns=64, seed=0):
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def by_torchao(weight, grid, block, symmetric, convention=None):
    """Scale, codes and values by torchao's primitives, on the codes of `grid`."""
    prims = pytest.importorskip("torchao.quantization.quant_primitives")
    low, high = grid.lowest, -grid.lowest - 1
    kind = prims.MappingType.SYMMETRIC if symmetric else prims.MappingType.ASYMMETRIC
    if convention == "no clipping":  # max / 127: nothing lies beyond the last code
        kind = prims.MappingType.SYMMETRIC_NO_CLIPPING_ERR
    given = {"block_size": block, "quant_min": low, "quant_max": high}
    scale, zero = prims.choose_qparams_affine(
        weight, kind, target_dtype=torch.int8, eps=1e-30, scale_dtype=torch.float32,
        zero_point_dtype=torch.int32, **given,
    )  # fmt: skip
    arguments = (block, scale, zero, torch.int8, low, high)
    codes = prims.quantize_affine(weight, *arguments)
    values = prims.dequantize_affine(codes, *arguments, output_dtype=torch.float32)
    return scale, zero, codes, values


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [2, 3, 4, 8])
@pytest.mark.parametrize("block", [(1, 64), (12, 64), (1, 16)], ids=["channel", "tensor", "group"])
def test_scales_and_codes_are_those_of_torchao(bits, block, symmetric):
    weight = random() + 0.3
    groups = 64 // block[1]
    ours = fit_grid(weight, bits=bits, groups=groups, per_row=block[0] == 1, symmetric=symmetric)
    scale, zero, codes, values = by_torchao(weight, ours, block, symmetric)
    close = 2**-8 if groups > 1 else 1e-6  # groups keep 8 significant bits of their scale
    torch.testing.assert_close(ours.scale.float().view(-1), scale.view(-1), rtol=close, atol=0)
    zero = zero.view(ours.scale.shape)
    assert (ours.zero_point - zero).abs().max() <= (groups > 1)
    exact = replace(ours, scale=scale.view(ours.scale.shape), zero_point=zero)
    assert_same_codes(exact, weight, codes)
    torch.testing.assert_close(exact.decode(codes), values, rtol=1e-6, atol=1e-7)


def assert_same_codes(grid, weight, codes):
    """Equal, but where a weight lies midway between codes: torchao multiplies by 1 / scale."""
    scaled = (weight.view(len(weight), grid.scale.shape[1], -1) / grid.scale[..., None]).flatten(1)
    middle = ((scaled - scaled.floor()) - 0.5).abs() < 1e-4
    ours = grid.encode(weight)
    assert middle.float().mean() < 0.1
    assert torch.equal(ours[~middle], codes[~middle])
    assert (ours.int() - codes.int()).abs().max() <= 1


@pytest.mark.parametrize("bits", [4, 8])
def test_the_other_convention_of_torchao_is_a_matter_of_the_scale(bits):
    """Ours ends half a step beyond the last code (/127.5), others on it (/127)."""
    weight = random()
    weight[:, 0] = weight.abs().amax(1) + 0.1  # torchao spends the last code below on negative ones
    ours = fit_grid(weight, bits=bits)
    last = 2 ** (bits - 1) - 1
    scale, _, codes, _ = by_torchao(weight, ours, (1, 64), True, "no clipping")
    torch.testing.assert_close(scale, weight.amax(1) / last)
    other = replace(ours, scale=scale.view(-1, 1))
    assert_same_codes(other, weight, codes)
    assert not torch.equal(ours.encode(weight), codes)
    torch.testing.assert_close(ours.scale, other.scale * last / (last + 0.5))


@pytest.mark.parametrize("symmetric", [True, False])
def test_values_are_those_of_torchs_fake_quantization(symmetric):
    weight = random() + 0.5
    grid = fit_grid(weight, bits=5, symmetric=symmetric)
    values = torch.fake_quantize_per_channel_affine(
        weight, grid.scale.view(-1), grid.zero_point.view(-1).int(), 0, -16, 15
    )
    torch.testing.assert_close(grid.decode(grid.encode(weight)), values, rtol=1e-6, atol=1e-7)


@given(
    bits=BITS, rows=st.integers(1, 5), groups=st.integers(1, 4), width=st.integers(1, 9),
    symmetric=st.booleans(), per_row=st.booleans(), seed=st.integers(0, 99),
    size=st.sampled_from([1e-6, 1.0, 1e6]),
)  # fmt: skip
def test_rounding_is_to_the_nearest_for_any_matrix(
    bits, rows, groups, width, symmetric, per_row, seed, size
):
    weight = random(rows, groups * width, seed) * size
    groups = groups if per_row else 1
    grid = fit_grid(weight, bits=bits, groups=groups, per_row=per_row, symmetric=symmetric)
    codes = grid.encode(weight)
    assert codes.dtype == torch.int8
    assert codes.shape == weight.shape
    assert -(2 ** (bits - 1)) <= int(codes.min()) <= int(codes.max()) < 2 ** (bits - 1)
    every = torch.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)).view(-1, 1, 1)
    error = (grid.decode(codes) - weight).abs()
    nearest = torch.stack([(grid.decode(e.expand(weight.shape)) - weight).abs() for e in every])
    torch.testing.assert_close(error, nearest.amin(0), rtol=1e-4, atol=1e-6 * size)
    again = grid.encode(grid.decode(codes))
    assert torch.equal(again, codes), "what is rounded already stays as it is"


@given(size=st.sampled_from([1e-9, 1e-4, 1e4, 1e9]), bits=BITS, symmetric=st.booleans())
def test_the_size_of_the_weights_does_not_matter(size, bits, symmetric):
    weight = random(4, 32)
    loss = [
        noise_db(w, grid.decode(grid.encode(w)))
        for w in (weight, weight * size)
        for grid in [fit_grid(w, bits=bits, groups=2, symmetric=symmetric)]
    ]
    assert abs(loss[0] - loss[1]) < 1


def test_scales_of_groups_take_two_bytes_and_cost_nothing():
    weight = random(64, 64)
    grid = fit_grid(weight, bits=8, groups=4)
    assert grid.scale.element_size() == 2
    exact = replace(grid, scale=weight.view(64, 4, 16).abs().amax(-1) / 127.5)
    ours, best = (noise_db(weight, g.decode(g.encode(weight))) for g in (grid, exact))
    assert abs(ours - best) < 0.3


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("groups", [1, 4])
def test_zeros_stay_zeros(symmetric, groups):
    weight = random(4, 16)
    weight[1] = 0
    weight[0, 3] = 0
    grid = fit_grid(weight, bits=4, groups=groups, symmetric=symmetric)
    values = grid.decode(grid.encode(weight))
    assert values[weight == 0].eq(0).all()
    assert values[0].ne(0).any()


@pytest.mark.parametrize("groups", [1, 4])
def test_the_order_in_memory_and_the_kind_of_number_do_not_matter(groups):
    weight = random(8, 16).bfloat16()
    options = {"bits": 4, "groups": groups, "symmetric": False}
    straight = fit_grid(weight.float(), **options)
    for given_ in (weight, weight.t().contiguous().t(), torch.stack([weight] * 2, 1)[:, 1]):
        grid = fit_grid(given_, **options)
        assert torch.equal(grid.encode(given_), straight.encode(weight.float()))


def test_one_column_has_the_grid_of_its_group():
    weight = random(3, 12)
    grid = fit_grid(weight, bits=3, groups=3, symmetric=False)
    codes = grid.encode(weight)
    for number in range(12):
        one = grid.column(number, 12)
        part = weight[:, number : number + 1]
        assert torch.equal(one.encode(part), codes[:, number : number + 1])


def test_an_asymmetric_grid_spends_its_codes_on_one_sided_weights():
    weight = random().abs() + 1
    loss = {}
    for symmetric in (True, False):
        grid = fit_grid(weight, bits=4, symmetric=symmetric)
        loss[symmetric] = noise_db(weight, grid.decode(grid.encode(weight)))
    assert loss[False] - loss[True] > 4


@pytest.mark.parametrize("kind", ["uniform", "gaussian"])
def test_a_bit_is_worth_six_decibels(kind):
    generator = torch.Generator().manual_seed(0)
    make = torch.rand if kind == "uniform" else torch.randn
    weight = make(8, 4096, generator=generator)
    weight = weight * 2 - 1 if kind == "uniform" else weight
    by_bits = []
    for bits in range(4, 9):  # with fewer, the half step cut off shows
        grid = fit_grid(weight, bits=bits)
        by_bits.append(noise_db(weight, grid.decode(grid.encode(weight))))
    steps = [b - a for a, b in pairwise(by_bits)]
    assert all(5.9 < step < 6.4 for step in steps), steps
    if kind == "uniform":  # step^2 / 12 of noise under 1/3 of signal: 2^(2b)
        assert by_bits[-1] == pytest.approx(20 * math.log10(2**8), abs=0.2)


@given(bits=BITS, rows=st.integers(1, 4), columns=st.integers(1, 19), seed=st.integers(0, 99))
def test_packing_keeps_every_code_in_exactly_its_bits(bits, rows, columns, seed):
    generator = torch.Generator().manual_seed(seed)
    half = 2 ** (bits - 1)
    codes = torch.randint(-half, half, (rows, columns), generator=generator, dtype=torch.int8)
    codes[0, 0], codes[-1, -1] = -half, half - 1
    packed = pack(codes, bits)
    assert packed.numel() * packed.element_size() == rows * math.ceil(columns * bits / 8)
    assert torch.equal(unpack(packed, bits, columns), codes)
    assert unpack(packed, bits, columns).dtype == torch.int8


def test_packed_codes_lie_in_order_even_when_the_matrix_did_not():
    codes = torch.arange(-6, 6, dtype=torch.int8).view(3, 4).t()
    for bits in (4, 8):
        assert pack(codes, bits).is_contiguous()
        assert torch.equal(unpack(pack(codes, bits), bits, 3), codes)


def test_four_bits_are_packed_low_half_first():
    codes = torch.tensor([[-8, 7, 0]], dtype=torch.int8)
    assert pack(codes, 4).tolist() == [[0xF0, 0x08]]


def test_noise_in_decibels():
    x = torch.tensor([3.0, 4.0])
    assert noise_db(x, x * 0.9) == pytest.approx(20, abs=1e-3)
    assert noise_db(x, torch.zeros(2)) == pytest.approx(0)


def test_a_grid_without_zero_point_is_centered():
    grid = Grid(4, torch.ones(1, 1), torch.zeros(1, 1, dtype=torch.int8))
    assert grid.lowest == -8
    assert grid.encode(torch.tensor([[-9.0, -0.4, 2.6, 9.0]])).tolist() == [[-8, 0, 3, 7]]
