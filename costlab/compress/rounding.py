"""Round a matrix to b-bit codes and back: scale, zero point, groups, packing.

A weight w becomes the code q = round(w / s) + z, and q stands for the value s (q - z): s is the
scale, z the zero point. Codes are signed, from -2^(b-1) to 2^(b-1) - 1. Taught in notebook 05.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Grid:
    """Where the codes lie: one scale, and one zero point, for each group of a row's weights.

    `scale` and `zero_point` have the shape (rows or 1, groups); the zero points are 0 where the
    grid is symmetric.
    """

    bits: int
    scale: Tensor
    zero_point: Tensor

    @property
    def lowest(self) -> int:
        """The smallest code."""
        return -(2 ** (self.bits - 1))

    def encode(self, weight: Tensor) -> Tensor:
        """The nearest codes, int8, of `weight` (rows, columns)."""
        scaled = self._grouped(weight.float()) / self.scale[..., None] + self.zero_point[..., None]
        codes = scaled.round_().clamp_(self.lowest, -self.lowest - 1)
        return codes.to(torch.int8).view(weight.shape)

    def decode(self, codes: Tensor) -> Tensor:
        """The float32 values that `codes` (rows, columns) stand for."""
        values = self._grouped(codes.float()) - self.zero_point[..., None].float()
        return (values * self.scale[..., None].float()).view(codes.shape)

    def column(self, number: int, width: int) -> Grid:
        """The grid of one column of a matrix of `width` columns."""
        group = number * self.scale.shape[1] // width
        part = slice(group, group + 1)
        return Grid(self.bits, self.scale[:, part], self.zero_point[:, part])

    def _grouped(self, values: Tensor) -> Tensor:
        return values.reshape(values.shape[0], self.scale.shape[1], -1)


def fit_grid(
    weight: Tensor, *, bits: int, groups: int = 1, per_row: bool = True, symmetric: bool = True
) -> Grid:
    """The grid that just reaches the largest weight of each group.

    weight: float (rows, columns), cut into `groups` along its columns; per_row=False gives one
    scale for the whole matrix. Symmetric: s = max |w| / (2^(b-1) - 1/2), so that the codes cover
    as much on both sides. Otherwise s = (max w - min w) / (2^b - 1), with a zero point for 0 to
    lie on the grid.
    """
    w = weight.float().reshape(weight.shape[0], groups, -1)
    if not per_row:
        w = w.reshape(1, 1, -1)
    # A scale per group is a cost, and 8 significant bits are enough for it. Not float16: it has
    # no normal numbers below 6e-5, and scales can be smaller.
    kind = torch.bfloat16 if groups > 1 else torch.float32
    tiny = torch.finfo(kind).smallest_normal  # zeros have codes of zero, whatever their scale
    if symmetric:
        scale = w.abs().amax(-1) / (2 ** (bits - 1) - 0.5)
        scale = scale.clamp(min=tiny).to(kind)
        return Grid(bits, scale, torch.zeros_like(scale, dtype=torch.int8))
    low, high = w.amin(-1).clamp(max=0), w.amax(-1).clamp(min=0)
    scale = ((high - low) / (2**bits - 1)).clamp(min=tiny).to(kind)
    zero = (-low / scale.float()).round().clamp(0, 2**bits - 1) - 2 ** (bits - 1)
    return Grid(bits, scale, zero.to(torch.int8))


def pack(codes: Tensor, bits: int) -> Tensor:
    """Signed codes (rows, columns) as a stream of `bits` bits each: uint8 (rows, bytes).

    Each row is filled up to whole bytes; eight bits are stored as they are, as int8.
    """
    if bits == 8:
        return codes.contiguous()
    unsigned = (codes.to(torch.int16) + 2 ** (bits - 1)).to(torch.uint8)
    shifts = torch.arange(bits, device=codes.device, dtype=torch.uint8)
    stream = (unsigned[..., None] >> shifts) & 1
    stream = stream.flatten(-2)
    stream = torch.nn.functional.pad(stream, (0, -stream.shape[-1] % 8))
    powers = 2 ** torch.arange(8, device=codes.device, dtype=torch.uint8)
    return (stream.unflatten(-1, (-1, 8)) * powers).sum(-1, dtype=torch.uint8)


def unpack(packed: Tensor, bits: int, columns: int) -> Tensor:
    """The signed codes, int8 (rows, columns), that `pack` was given."""
    if bits == 8:
        return packed
    if bits in (2, 4):  # no code crosses a byte: a shift does it
        shifts = torch.arange(0, 8, bits, device=packed.device, dtype=torch.uint8)
        codes = (packed[..., None] >> shifts) & (2**bits - 1)
        return codes.flatten(-2)[:, :columns].to(torch.int8) - 2 ** (bits - 1)
    stream = (packed[..., None] >> torch.arange(8, device=packed.device, dtype=torch.uint8)) & 1
    stream = stream.flatten(-2)[:, : columns * bits].unflatten(-1, (columns, bits))
    powers = 2 ** torch.arange(bits, device=packed.device, dtype=torch.uint8)
    return (stream * powers).sum(-1, dtype=torch.uint8).to(torch.int8) - 2 ** (bits - 1)


def noise_db(exact: Tensor, rounded: Tensor) -> float:
    """Signal over rounding noise in decibels, 10 log10(sum x^2 / sum (x - y)^2)."""
    error = (exact.float() - rounded.float()).pow(2).sum()
    return float(10 * torch.log10(exact.float().pow(2).sum() / error))
