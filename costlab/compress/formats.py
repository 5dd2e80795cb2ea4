"""Floating formats of 8 and 4 bits by simulation: what is left of numbers that are stored in them.

An integer code has the same step everywhere; a floating one has fine steps near 0 and coarse ones
far away. Taught in notebook 05.
"""

from __future__ import annotations

import torch
from torch import Tensor

FP8_MAX, FP4_MAX = 448.0, 6.0  # the largest values of E4M3 and E2M1
BLOCK = {"fp8": None, "mxfp4": 32, "nvfp4": 16}  # neighbors that share a scale of 8 bits


def round_to(x: Tensor, format: str, *, granularity: str = "channel") -> Tensor:
    """x (..., columns), each number replaced by the nearest that `format` can hold.

    "fp8": E4M3 with a float32 scale for each row, or with granularity="tensor" one for all.
    "mxfp4": E2M1 (0, 0.5, 1, 1.5, 2, 3, 4, 6 and their negatives), 32 neighbors sharing a power of
    two (Open Compute Project, Microscaling Formats v1.0). "nvfp4": E2M1, 16 neighbors sharing a
    scale in E4M3, all of them one in float32 (NVIDIA, with Blackwell).

    The shape and kind of number stay. Raises ValueError.
    """
    _check(x, format, granularity)
    values = x.float()
    if format == "fp8":
        out = _fp8(values, granularity)
    else:
        blocks = values.unflatten(-1, (-1, BLOCK[format]))
        scale = _power_of_two(blocks) if format == "mxfp4" else _two_scales(blocks)
        out = (_e2m1(blocks / scale) * scale).flatten(-2)
    return out.to(x.dtype)


def bits_per_weight(format: str) -> float:
    """Bits that a number takes in `format`, the scales of its blocks included.

    The float32 scales of a row or a whole tensor are too few to count.
    """
    _check_format(format)
    block = BLOCK[format]
    return 8.0 if block is None else 4 + 8 / block


def _fp8(x: Tensor, granularity: str) -> Tensor:
    largest = x.abs().amax(-1, keepdim=True) if granularity == "channel" else x.abs().amax()
    scale = (largest / FP8_MAX).clamp(min=torch.finfo(torch.float32).smallest_normal)
    return (x / scale).to(torch.float8_e4m3fn).float() * scale


def _e2m1(x: Tensor) -> Tensor:
    """The nearest values of E2M1, ties to the even code; beyond 6 it saturates."""
    exponent = torch.frexp(x).exponent - 1  # of |x|'s leading bit
    step = torch.exp2(exponent.clamp(0, 2) - 1.0)  # one bit behind it; 0.5 all the way below 2
    return ((x / step).round() * step).clamp(-FP4_MAX, FP4_MAX)


def _power_of_two(blocks: Tensor) -> Tensor:
    """E8M0: brings the block's largest into E2M1's last binade, from 4; beyond 6 is cut off."""
    largest = blocks.abs().amax(-1, keepdim=True)
    exponent = torch.frexp(largest).exponent - 1 - 2
    return torch.exp2(exponent.clamp(-126, 127).float())  # -127 is no normal float32


def _two_scales(blocks: Tensor) -> Tensor:
    """One scale in float32 that makes the largest block's scale 448, and each block's in E4M3."""
    largest = blocks.abs().amax(-1, keepdim=True)
    whole = (largest.amax() / (FP8_MAX * FP4_MAX)).clamp(min=1e-30)
    least = torch.finfo(torch.float8_e4m3fn).tiny
    scale = (largest / FP4_MAX / whole).clamp(least, FP8_MAX)
    return scale.to(torch.float8_e4m3fn).float() * whole


def _check_format(format: str) -> None:
    if format not in BLOCK:
        raise ValueError(f"format must be one of {tuple(BLOCK)}, got {format!r}")


def _check(x: Tensor, format: str, granularity: str) -> None:
    _check_format(format)
    if granularity not in ("channel", "tensor"):
        raise ValueError(f"granularity must be 'channel' or 'tensor', got {granularity!r}")
    if not isinstance(x, Tensor) or not x.is_floating_point() or x.ndim == 0 or not x.numel():
        given = f"{x.dtype} {tuple(x.shape)}" if isinstance(x, Tensor) else type(x).__name__
        raise ValueError(f"x must be a tensor of floats (..., columns), got {given}")
    block = BLOCK[format]
    if block and x.shape[-1] % block:
        raise ValueError(
            f"x must have a last dimension that {block} divides, the block of {format!r}, "
            f"got {x.shape[-1]}"
        )
    if not x.isfinite().all():
        raise ValueError("x must be finite, got NaN or infinity")
