"""Integer products are exact, whichever way they are computed."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from costlab.compress import kernels
from costlab.compress.kernels import encode, integer_matmul, kernel_for

KINDS = ["int8", "int8 padded", "float"]


def go(monkeypatch, kind):
    """Take one way, where this processor can."""
    if kind != "float" and not hasattr(torch, "_int_mm"):
        pytest.skip("this torch cannot multiply 8-bit integers")
    monkeypatch.setattr(kernels, "kernel_for", lambda device: kind)


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
    assert kernel_for(torch.device("cpu")) == "float"
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "AVX512")
    assert kernel_for(torch.device("cpu")) == "int8"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 5))
    assert kernel_for(torch.device("cuda")) == "int8 padded"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    assert kernel_for(torch.device("cuda")) == "float"


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
