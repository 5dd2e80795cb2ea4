"""How one tensor is written in fewer bytes, and got back bit for bit. Taught in notebook 03.

Everything works on the bits of the numbers, so a negative zero stays negative (it is no zero here:
its sign is a bit that is set) and a NaN keeps its payload.
"""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

import torch
from torch import Tensor

from costlab.compress.rounding import pack, unpack

INTEGERS = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
ENCODINGS = {"safetensors": (), "packed": ("bf16", "levels"), "sparse": ("bitmask",)}
# what each encoding hangs on a tensor's name, for the parts that it stores
PARTS = {"bf16": ("",), "levels": ("", "#levels"), "bitmask": ("", "#mask")}

Parts = dict[str, Tensor]


def bit_patterns(tensor: Tensor) -> Tensor:
    """The numbers' bits, read as integers of the same width, in one row."""
    return tensor.detach().contiguous().reshape(-1).view(INTEGERS[tensor.element_size()])


def entropy_bits(tensor: Tensor) -> float:
    """Shannon's entropy in bits per value: no code that writes value for value takes fewer.

    H = - sum p log2 p over the share p of each distinct value, told apart by its bits: codes for
    integers, bytes for packed codes (https://doi.org/10.1002/j.1538-7305.1948.tb01338.x). A
    code that uses how values follow one another may go below. 0 for an empty tensor.
    """
    if not isinstance(tensor, Tensor):
        raise TypeError(f"tensor must be a torch.Tensor, got {type(tensor).__name__}")
    counts = bit_patterns(tensor).unique(return_counts=True)[1].double()
    share = counts / counts.sum()
    return float(-(share * share.log2()).sum()) + 0.0  # never -0.0


def encode(tensor: Tensor, format: str) -> tuple[str, Parts]:
    """The smallest encoding that `format` knows for `tensor`, and the tensors to store.

    "plain" where none is smaller.
    """
    best = "plain", {"": tensor}
    if tensor.numel() == 0 or tensor.element_size() not in INTEGERS:
        return best
    for name in ENCODINGS[format]:
        parts = _ENCODE[name](tensor)
        if parts is not None and _size(parts) < _size(best[1]):
            best = name, parts
    return best


def decode(how: str, parts: Parts, dtype: torch.dtype, shape: list[int]) -> Tensor:
    """The tensor of that `dtype` and `shape` that `encode` was given."""
    bits = _DECODE[how](parts, dtype, torch.Size(shape).numel())
    return bits.view(dtype).reshape(shape)


def _size(parts: Parts) -> int:
    return sum(part.nbytes for part in parts.values())


def _to_bf16(tensor: Tensor) -> Parts | None:
    """The upper half of each float32, where the lower half is empty everywhere."""
    if tensor.dtype != torch.float32:
        return None
    bits = bit_patterns(tensor)
    if (bits & 0xFFFF).any():
        return None
    return {"": (bits >> 16).to(torch.int16).view(torch.bfloat16)}


def _from_bf16(parts: Parts, dtype: torch.dtype, count: int) -> Tensor:
    return bit_patterns(parts[""]).to(torch.int32) << 16


def _to_levels(tensor: Tensor) -> Parts | None:
    """Up to 256 distinct values as a table, and for each number its place there in few bits."""
    bits = bit_patterns(tensor)
    most = 128 if tensor.element_size() == 1 else 256  # more would need the bits that they have
    if len(bits[:4096].unique()) > most:  # a look at the first spares sorting them all
        return None
    levels, places = bits.unique(return_inverse=True)
    if len(levels) > most:
        return None
    width = _width(levels)
    codes = (places - 2 ** (width - 1)).to(torch.int8)
    return {"": pack(codes[None], width)[0], "#levels": levels}


def _from_levels(parts: Parts, dtype: torch.dtype, count: int) -> Tensor:
    width = _width(parts["#levels"])
    codes = unpack(parts[""][None], width, count)[0]
    return parts["#levels"][codes.long() + 2 ** (width - 1)]


def _width(levels: Tensor) -> int:
    """Bits that tell so many levels apart."""
    return max(1, (len(levels) - 1).bit_length())


def _to_bitmask(tensor: Tensor) -> Parts:
    """One bit for each number, set where it is not zero, and those that are not."""
    bits = bit_patterns(tensor)
    mask = bits != 0
    return {"": bits[mask].view(tensor.dtype), "#mask": pack(mask.to(torch.int8)[None] - 1, 1)[0]}


def _from_bitmask(parts: Parts, dtype: torch.dtype, count: int) -> Tensor:
    mask = unpack(parts["#mask"][None], 1, count)[0] == 0
    values = bit_patterns(parts[""])
    return values.new_zeros(count).masked_scatter_(mask, values)


_ENCODE = {"bf16": _to_bf16, "levels": _to_levels, "bitmask": _to_bitmask}
_DECODE = {"bf16": _from_bf16, "levels": _from_levels, "bitmask": _from_bitmask}


def codec(name: str) -> ModuleType:
    """The module whose `compress` and `decompress` go by that name: "zlib" or "zstd".

    Raises ValueError for other names, ModuleNotFoundError where zstd is not installed.
    """
    if name not in ("zlib", "zstd"):
        raise ValueError(f"compress must be None, 'zlib' or 'zstd', got {name!r}")
    for module in ("zlib",) if name == "zlib" else ("compression.zstd", "zstandard"):
        try:
            return import_module(module)
        except ModuleNotFoundError:
            continue
    raise ModuleNotFoundError(
        "compress='zstd' needs Python 3.14 or the package zstandard, and neither is here; "
        "'zlib' needs nothing"
    )


def squeeze(tensor: Tensor, by: ModuleType) -> Tensor | None:
    """The bytes of `tensor` compressed, as uint8; None where that is not smaller."""
    data = by.compress(tensor.detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return (
        torch.frombuffer(bytearray(data), dtype=torch.uint8) if len(data) < tensor.nbytes else None
    )


def expand(stream: Tensor, by: ModuleType, dtype: torch.dtype, shape: list[int]) -> Tensor:
    """The tensor that `squeeze` was given."""
    data = by.decompress(stream.numpy())
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype).reshape(shape)
