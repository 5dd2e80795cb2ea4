"""Keys and values of the past, kept as integers. Taught in notebook 05."""

from __future__ import annotations

import torch
from torch import Tensor

from costlab.compress.rounding import Grid, fit_grid, pack, unpack
from costlab.lm.model import KVCache


class QuantizedKVCache(KVCache):
    """A KVCache of 8- or 4-bit codes, with one float32 scale for each position and head.

    Use it as the float one: `model(tokens, cache=QuantizedKVCache(capacity, bits=8))`. `keys` and
    `values` hold for each layer the codes (batch, kv_heads, capacity, bytes), four bits packed two
    to a byte, and the scales (batch, kv_heads, capacity, 1). It saves memory; time it does not, as
    each step turns all codes to floats again.
    """

    def __init__(self, capacity: int, *, bits: int = 8) -> None:
        if bits not in (4, 8) or isinstance(bits, bool):
            raise ValueError(f"bits must be 4 or 8, got {bits!r}")
        super().__init__(capacity)
        self.bits = bits
        self.keys: dict[int, tuple[Tensor, Tensor]] = {}
        self.values: dict[int, tuple[Tensor, Tensor]] = {}

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Round and store new keys and values (batch, kv_heads, new, head_dim) behind `length`.

        Returns all of that layer's so far, the new ones too, as the floats they were rounded to.
        """
        return self._append(self.keys, layer, keys), self._append(self.values, layer, values)

    def bytes_per_token(self) -> int:
        """Bytes that one position of one sequence takes, over all layers stored so far."""
        held = [t for pair in (*self.keys.values(), *self.values.values()) for t in pair]
        return sum(t.shape[1] * t.shape[3] * t.element_size() for t in held)

    def _append(self, store: dict[int, tuple[Tensor, Tensor]], layer: int, new: Tensor) -> Tensor:
        parts = encode(new, self.bits)
        if layer not in store:
            room = (*new.shape[:2], self.capacity)
            store[layer] = tuple(part.new_empty(*room, part.shape[3]) for part in parts)
        end = self.length + new.shape[2]
        for held, part in zip(store[layer], parts):
            held[:, :, self.length : end] = part
        return decode(tuple(held[:, :, :end] for held in store[layer]), self.bits, new)


def encode(vectors: Tensor, bits: int) -> tuple[Tensor, Tensor]:
    """Codes (…, bytes) of vectors (…, head_dim), packed, and a scale (…, 1) for each of them."""
    rows = vectors.flatten(0, -2)
    grid = fit_grid(rows, bits=bits)
    shape = vectors.shape[:-1]
    return pack(grid.encode(rows), bits).view(*shape, -1), grid.scale.view(*shape, 1)


def decode(parts: tuple[Tensor, Tensor], bits: int, like: Tensor) -> Tensor:
    """What codes and scales stand for, with the head_dim and the kind of number of `like`."""
    codes, scale = parts
    flat = scale.reshape(-1, 1)
    none = torch.zeros_like(flat, dtype=torch.int8)
    rows = unpack(codes.flatten(0, -2), bits, like.shape[-1])
    values = Grid(bits, flat, none).decode(rows)
    return values.view(*codes.shape[:-1], -1).to(like.dtype)
