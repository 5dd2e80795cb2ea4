"""The one place that chooses how a matrix product with integers is computed.

Every way of multiplying integers gives the same ones; they differ in speed. Taught in notebook 05.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

FEW_ROWS = 32  # beyond, torch's kernel for 8-bit weights is slower than turning them into floats


def kernel_for(device: torch.device, inputs: torch.dtype = torch.int8) -> str:
    """The way a product of such inputs with 8-bit codes goes on this device.

    For int8: "int8", "int8 padded" or "float". torch multiplies 8-bit integers fast on processors
    with AVX-512 and its instructions for them (VNNI), and on GPUs with tensor cores for them
    (compute capability 7.5, a T4, and newer). Elsewhere floats that hold every sum exactly give the
    same integers, at no gain in speed. For bfloat16: "int8 weights" on processors with AVX-512,
    where torch turns the codes into floats on their way to the arithmetic. Otherwise "float".
    """
    if inputs != torch.int8:
        cpu = device.type == "cpu" and "AVX512" in torch.backends.cpu.get_cpu_capability()
        return "int8 weights" if cpu and inputs == torch.bfloat16 else "float"
    if device.type == "cpu" and "AVX512" in torch.backends.cpu.get_cpu_capability():
        return "int8" if torch.cpu._is_vnni_supported() else "float"
    if device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 5):
        return "int8 padded"
    return "float"


def integer_matmul(x: Tensor, codes: Tensor) -> Tensor:
    """x (rows, inputs) times codes (outputs, inputs) transposed, both int8: exact whole numbers.

    int32, or floats of the same values.
    """
    kernel = kernel_for(x.device)
    if kernel == "int8":
        return torch._int_mm(x, codes.t())  # the view: a copy in the other order is slower
    if kernel == "int8 padded" and not (codes.shape[0] % 8 or codes.shape[1] % 8):
        rows = x.shape[0]
        x = F.pad(x, (0, 0, 0, max(32, rows + -rows % 8) - rows))  # CUDA wants more than 16 rows
        return torch._int_mm(x, codes.t())[:rows]
    # a product is at most 2^14, and a float of m bits adds them exactly up to 2^m
    kind = torch.float32 if x.shape[1] <= 2**10 else torch.float64
    return x.to(kind) @ codes.t().to(kind)


def weight_only_linear(x: Tensor, codes: Tensor, scale: Tensor, bias: Tensor | None) -> Tensor:
    """Float x (..., inputs) through the layer that int8 codes (outputs, inputs) stand for.

    scale: one for each output, (outputs, 1).
    """
    rows = x.reshape(-1, x.shape[-1])
    # torch's kernel reads 16 inputs at a time, past the end of a row too, and has no gradient
    fits = len(rows) <= FEW_ROWS and x.shape[-1] % 16 == 0 and not x.requires_grad
    if fits and kernel_for(x.device, x.dtype) == "int8 weights":
        y = torch._weight_int8pack_mm(rows.contiguous(), codes, scale.view(-1).to(x.dtype))
        y = y.view(*x.shape[:-1], len(codes))
        return y if bias is None else y + bias
    return F.linear(x, (codes * scale).to(x.dtype), bias)


def encode(x: Tensor, scale: Tensor | None = None) -> tuple[Tensor, Tensor]:
    """Activations (..., inputs) as int8 codes, and their scale.

    Without a scale each row gets its own, (..., 1), that just reaches its largest value. With one,
    known beforehand, what lies beyond it is cut off.
    """
    if scale is None:
        scale = x.abs().amax(-1, keepdim=True).float().div_(127).clamp_(min=1e-30)
        return (x / scale).round_().to(torch.int8), scale
    return (x / scale).round_().clamp_(-127, 127).to(torch.int8), scale
