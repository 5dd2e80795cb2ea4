"""The integer layer beside the float layer that its codes stand for, and beside whole numbers."""

import copy

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from costlab.compress import kernels
from costlab.compress.quantized import QuantizedLinear, RoundedLinear, rounded
from costlab.compress.rounding import fit_grid

GRIDS = [
    {"bits": bits, "symmetric": symmetric, **extra}
    for bits in (2, 4, 5, 8)
    for symmetric in (True, False)
    for extra in ({}, {"per_row": False}, {"groups": 4})
]


def layer_of(weight, bias=None, *, activations=None, input_scale=None, smooth=None, **grid):
    fitted = fit_grid(weight, **grid)
    return QuantizedLinear(
        fitted.encode(weight), fitted, bias, activations=activations, input_scale=input_scale,
        smooth=smooth,
    )  # fmt: skip


@pytest.fixture(params=["int8", "float"])
def kernel(request, monkeypatch):
    """Both ways of the product."""
    monkeypatch.setattr(kernels, "kernel_for", lambda *_: request.param)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("bias", [True, False])
def test_weights_alone_give_what_their_values_give(grid, bias):
    weight, x = torch.randn(24, 32) + 0.2, torch.randn(3, 5, 32)
    bias = torch.randn(24) if bias else None
    layer = layer_of(weight, bias, **grid)
    fitted = fit_grid(weight, **grid)
    assert torch.equal(layer.codes(), fitted.encode(weight))
    assert torch.equal(layer.float_weight(), fitted.decode(fitted.encode(weight)))
    torch.testing.assert_close(layer(x), F.linear(x, layer.float_weight(), bias))
    assert not torch.allclose(layer(x), F.linear(x, weight, bias), atol=1e-4)


@pytest.mark.usefixtures("kernel")
@pytest.mark.parametrize("activations", ["dynamic", "static"])
@pytest.mark.parametrize("grid", [g for g in GRIDS if "groups" not in g], ids=str)
def test_integers_are_multiplied_exactly(grid, activations):
    """By hand, in 64-bit integers, and scaled in float64 at the very end."""
    weight, x, bias = torch.randn(24, 32) + 0.2, torch.randn(7, 32), torch.randn(24)
    static = torch.tensor(2 / 127) if activations == "static" else None
    layer = layer_of(weight, bias, activations=activations, input_scale=static, **grid)
    assert layer.integer
    scale = x.abs().amax(1, keepdim=True) / 127 if static is None else static
    codes = (x / scale).round().clamp(-127, 127).long()
    zero = layer.grid.zero_point.long()
    whole = codes @ (layer.codes().long() - zero).t()
    want = whole.double() * scale.double() * layer.scale.double().view(1, -1) + bias.double()
    torch.testing.assert_close(layer(x).double(), want, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("smooth", [True, False])
@pytest.mark.parametrize("rows", [2, 40])
def test_in_bfloat16_the_layer_is_as_exact_as_a_float_one(grid, smooth, rows):
    weight, x, bias = torch.randn(24, 32) + 0.2, torch.randn(rows, 32), torch.randn(24)
    smooth = torch.rand(32) + 0.5 if smooth else None
    layer = layer_of(weight, bias, smooth=smooth, **grid).bfloat16()
    exact = layer_of(weight, bias, smooth=smooth, **grid)(x)
    assert layer.scale.dtype == torch.bfloat16
    error = (layer(x.bfloat16()).float() - exact).norm() / exact.norm()
    assert error < 0.01


@pytest.mark.parametrize("activations", ["dynamic", "static"])
@pytest.mark.parametrize("grid", GRIDS, ids=str)
@pytest.mark.parametrize("smooth", [True, False])
def test_floats_with_rounded_inputs_give_the_same(grid, activations, smooth):
    weight, x, bias = torch.randn(24, 32), torch.randn(2, 3, 32), torch.randn(24)
    smooth = torch.rand(32) + 0.5 if smooth else None
    static = torch.tensor(3 / 127) if activations == "static" else None
    layer = layer_of(
        weight, bias, activations=activations, input_scale=static, smooth=smooth, **grid
    )
    assert layer.integer == ("groups" not in grid)
    twin = RoundedLinear(layer, torch.float32)
    torch.testing.assert_close(layer(x), twin(x), rtol=1e-4, atol=1e-4)
    inputs = x if smooth is None else x / smooth
    assert not torch.allclose(layer(x), F.linear(inputs, layer.float_weight(), bias), atol=1e-5)


def test_inputs_are_divided_by_the_factors():
    weight, x, smooth = torch.randn(8, 16), torch.randn(4, 16), torch.rand(16) + 0.5
    layer = layer_of(weight * smooth, smooth=smooth, bits=8)
    want = F.linear(x, layer.float_weight() / smooth)
    torch.testing.assert_close(layer(x), want, rtol=1e-4, atol=1e-4)


@given(
    bits=st.integers(2, 8), outputs=st.integers(1, 9), inputs=st.integers(1, 21),
    activations=st.sampled_from([None, "dynamic"]), symmetric=st.booleans(),
)  # fmt: skip
def test_any_width_and_number_of_bits(bits, outputs, inputs, activations, symmetric):
    weight, x = torch.randn(outputs, inputs), torch.randn(2, inputs)
    layer = layer_of(weight, bits=bits, activations=activations, symmetric=symmetric)
    given_ = x if activations is None else rounded(x, None)
    want = F.linear(given_, layer.float_weight())
    torch.testing.assert_close(layer(x), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("activations", [None, "dynamic"])
@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float64])
def test_the_kind_of_number_of_the_inputs_stays(kind, activations):
    weight, bias, x = torch.randn(8, 16), torch.randn(8).to(kind), torch.randn(4, 16).to(kind)
    layer = layer_of(weight, bias, bits=8, activations=activations)
    assert layer(x).dtype == kind
    want = F.linear(x.double(), layer.float_weight().double(), bias.double())
    torch.testing.assert_close(layer(x).double(), want, rtol=0.05, atol=0.1)


@pytest.mark.parametrize("activations", [None, "dynamic", "static"])
def test_shapes_of_inputs(activations):
    static = torch.tensor(0.02) if activations == "static" else None
    layer = layer_of(torch.randn(6, 8), bits=4, activations=activations, input_scale=static)
    x = torch.randn(4, 8)
    many = layer(x)
    assert layer(x[0]).shape == (6,)
    assert layer(x[:0]).shape == (0, 6)
    torch.testing.assert_close(layer(x.view(2, 1, 2, 8)).view(4, 6), many)
    torch.testing.assert_close(layer(x.t().contiguous().t()), many)


@pytest.mark.parametrize("bits", [3, 4, 8])
def test_stored_bytes_are_those_of_the_codes_and_scales(bits):
    layer = layer_of(torch.randn(24, 32), bits=bits)
    held = {name: t.numel() * t.element_size() for name, t in layer.state_dict().items()}
    assert held == {"weight": 24 * 32 * bits // 8, "scale": 24 * 4}
    layer = layer_of(torch.randn(24, 32), bits=bits, groups=4, symmetric=False)
    held = {name: t.numel() * t.element_size() for name, t in layer.state_dict().items()}
    assert held == {"weight": 24 * 32 * bits // 8, "scale": 24 * 4 * 2, "zero_point": 24 * 4}


@pytest.mark.parametrize("activations", [None, "dynamic"])
def test_it_can_be_copied_and_its_state_loaded(activations):
    layer, other = (
        layer_of(torch.randn(8, 16), torch.randn(8), bits=4, activations=activations)
        for _ in range(2)
    )
    x = torch.randn(4, 16)
    assert torch.equal(copy.deepcopy(layer)(x), layer(x))
    assert not torch.equal(other(x), layer(x))
    other.load_state_dict(layer.state_dict())
    assert torch.equal(other(x), layer(x))


def test_it_says_what_it_is():
    layer = layer_of(torch.randn(8, 16), bits=4, groups=2, activations="dynamic")
    assert layer.extra_repr() == "16, 8, 4 bits, 2 groups, dynamic activations"


def test_gradients_reach_what_lies_before_it():
    layer = layer_of(torch.randn(8, 16), bits=4)
    x = torch.randn(4, 16, requires_grad=True)
    layer(x).sum().backward()
    torch.testing.assert_close(x.grad[0], layer.float_weight().sum(0))
