"""Integer products are exact, whichever way they are computed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn import functional as F

from costlab.compress import kernels
from costlab.compress.kernels import (
    FEW_ROWS,
    encode,
    integer_matmul,
    kernel_for,
    weight_only_linear,
)

KINDS = ["int8", "int8 padded", "float"]


def go(monkeypatch, kind):
    """Take one way, where this processor can."""
    if kind != "float" and not hasattr(torch, "_int_mm"):
        pytest.skip("this torch cannot multiply 8-bit integers")
    monkeypatch.setattr(kernels, "kernel_for", lambda *_: kind)


def product(x, codes):
    """In 64-bit integers."""
    return x.long() @ codes.long().t()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(
    ("rows", "inputs", "outputs"),
    [(1, 8, 8), (1, 7, 5), (3, 64, 24), (17, 33, 8), (40, 1024, 16), (2, 1025, 9), (5, 4096, 8)],
)
def test_products_are_exact(monkeypatch, kind, rows, inputs, outputs):
    go(monkeypatch, kind)
    x = torch.randint(-127, 128, (rows, inputs), dtype=torch.int8)
    codes = torch.randint(-128, 128, (outputs, inputs), dtype=torch.int8)
    out = integer_matmul(x, codes)
    assert out.shape == (rows, outputs)
    assert torch.equal(out.long(), product(x, codes))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("inputs", [1024, 1032, 8192])
def test_the_largest_sums_are_exact(monkeypatch, kind, inputs):
    """All codes at their ends: sums beyond 2^24, where float32 has no odd numbers, come from 1,033
    inputs on."""
    go(monkeypatch, kind)
    x = torch.full((2, inputs), 127, dtype=torch.int8)
    codes = torch.full((8, inputs), -128, dtype=torch.int8)
    codes[:, 0], x[1, 0] = -127, 126
    assert torch.equal(integer_matmul(x, codes).long(), product(x, codes))


@pytest.mark.parametrize("kind", KINDS)
def test_no_rows_give_no_rows(monkeypatch, kind):
    go(monkeypatch, kind)
    x, codes = torch.zeros(0, 16, dtype=torch.int8), torch.ones(8, 16, dtype=torch.int8)
    assert integer_matmul(x, codes).shape == (0, 8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_order_in_memory_does_not_matter(monkeypatch, kind):
    go(monkeypatch, kind)
    x = torch.randint(-127, 128, (16, 5), dtype=torch.int8).t()
    codes = torch.randint(-128, 128, (16, 8), dtype=torch.int8).t()
    assert torch.equal(integer_matmul(x, codes).long(), product(x, codes))


def test_the_way_depends_on_the_machine(monkeypatch):
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX2")
    cpu = torch.device("cpu")
    assert kernel_for(cpu) == kernel_for(cpu, torch.bfloat16) == "float"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: True)
    assert kernel_for(cpu) == "int8"
    assert kernel_for(cpu, torch.bfloat16) == "int8 weights"
    assert kernel_for(cpu, torch.float32) == kernel_for(cpu, torch.float16) == "float"
    assert kernel_for(torch.device("cuda"), torch.bfloat16) == "float"
    monkeypatch.setattr(torch.cpu, "_is_vnni_supported", lambda: False)
    assert kernel_for(cpu) == "float"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert kernel_for(torch.device("cuda")) == "int8 padded"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert kernel_for(torch.device("cuda")) == "float"


@pytest.fixture
def calls(monkeypatch):
    """Rows of each call of torch's kernel for 8-bit weights, where this processor has it."""
    if kernel_for(torch.device("cpu"), torch.bfloat16) == "float":
        pytest.skip("torch's kernel for 8-bit weights is for AVX-512")
    found, kernel = [], torch._weight_int8pack_mm

    def counting(x, codes, scale):
        found.append(len(x))
        return kernel(x, codes, scale)

    monkeypatch.setattr(torch, "_weight_int8pack_mm", counting)
    return found


def weights(outputs, inputs):
    """Codes at all their ends, scales of many sizes, and the float64 weights they stand for."""
    codes = torch.randint(-128, 128, (outputs, inputs), dtype=torch.int8)
    scale = torch.rand(outputs, 1) * 10.0 ** torch.randint(-6, 3, (outputs, 1))
    return codes, scale, codes.double() * scale.double()


@pytest.mark.parametrize("shape", [(1,), (3,), (2, 1, 5), (FEW_ROWS,), (0,), ()], ids=str)
@pytest.mark.parametrize(("outputs", "inputs"), [(48, 64), (5, 16), (1, 16), (33, 1040)])
@pytest.mark.parametrize("bias", [True, False])
def test_few_rows_of_bfloat16_take_the_codes_as_they_are(calls, shape, outputs, inputs, bias):
    """As close to the exact product as the float layer of the same weights is."""
    codes, scale, exact = weights(outputs, inputs)
    x, bias = torch.randn(*shape, inputs).bfloat16(), torch.randn(outputs).bfloat16() * bias
    y = weight_only_linear(x, codes, scale, bias)
    assert len(calls) == 1
    assert y.dtype == torch.bfloat16
    assert y.shape == (*shape, outputs)
    # each number of inputs, weights and outputs has 8 significant bits; so have the scales
    size = x.double().abs() @ exact.abs().t() + bias.double().abs()
    error = (y.double() - F.linear(x.double(), exact, bias.double())).abs()
    assert (error <= size * 2**-7).all()


@pytest.mark.parametrize("rows", [1, 16, FEW_ROWS + 1])
@pytest.mark.parametrize("kind", [torch.float32, torch.bfloat16, torch.float64])
def test_all_else_multiplies_floats(calls, rows, kind):
    codes, scale, _ = weights(16, 32)
    x, bias = torch.randn(rows, 32).to(kind), torch.randn(16).to(kind)
    y = weight_only_linear(x, codes, scale, bias)
    assert len(calls) == (kind == torch.bfloat16 and rows <= FEW_ROWS)
    if not calls:
        assert torch.equal(y, F.linear(x, (codes * scale).to(kind), bias))


@pytest.mark.parametrize("inputs", [1, 7, 33, 72])
def test_torchs_kernel_would_read_past_the_end_of_other_rows(calls, inputs):
    codes, scale, exact = weights(5, inputs)
    x = torch.randn(2, inputs).bfloat16()
    y = weight_only_linear(x, codes, scale, None)
    assert not calls
    torch.testing.assert_close(
        y.double(), x.double() @ exact.t(), rtol=0.05, atol=0.05 * y.abs().max()
    )


def test_where_a_gradient_is_asked_for_there_is_one(calls):
    codes, scale, exact = weights(16, 32)
    x = torch.randn(2, 32).bfloat16().requires_grad_()
    weight_only_linear(x, codes, scale, None).sum().backward()
    assert not calls
    torch.testing.assert_close(x.grad[0].double(), exact.sum(0), rtol=0.02, atol=0.02)
    with torch.no_grad():
        weight_only_linear(x.detach(), codes, scale, None)
    assert calls == [2]


@given(
    rows=st.integers(1, 6), columns=st.integers(1, 20), seed=st.integers(0, 99),
    size=st.sampled_from([1e-20, 1e-3, 1.0, 1e6, 1e20]),
    kind=st.sampled_from([torch.float32, torch.bfloat16]),
)  # fmt: skip
def test_each_row_is_rounded_by_its_own_largest(rows, columns, seed, size, kind):
    x = torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed)) * size
    x = x.to(kind)
    codes, scale = encode(x)
    assert codes.dtype == torch.int8
    assert scale.shape == (rows, 1)
    assert codes.abs().amax(-1).eq(127).all()
    assert ((codes * scale - x.float()).abs() <= scale * 0.5001).all()


def test_rows_of_zeros_stay_zeros():
    x = torch.randn(2, 3, 8)
    x[1] = 0
    codes, scale = encode(x)
    assert codes.shape == x.shape
    assert scale.shape == (2, 3, 1)
    assert codes[1].eq(0).all()
    assert scale.isfinite().all()


def test_a_scale_known_beforehand_cuts_off_what_lies_beyond():
    codes, scale = encode(torch.tensor([[-300.0, -1.0, 0.4, 0.6, 300.0]]), torch.tensor(1.0))
    assert codes.tolist() == [[-127, -1, 0, 1, 127]]
    assert scale == 1
