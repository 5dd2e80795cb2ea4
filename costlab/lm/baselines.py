"""What a language model must beat: a general compressor, and an n-gram model of bytes.

Taught in notebook 01.
"""

from __future__ import annotations

import lzma

import numpy as np


def lzma_bits_per_byte(text: bytes, *, primer: bytes = b"") -> float:
    """Bits per byte of `text` under lzma at its strongest preset, after having seen `primer`."""

    def size(data: bytes) -> int:
        return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))

    if not text:
        raise ValueError("text is empty: there is nothing to score")
    return 8 * (size(primer + text) - (size(primer) if primer else 0)) / len(text)


def _codes(data: np.ndarray, length: int) -> np.ndarray:
    """Every run of `length` bytes as one integer: element i holds data[i : i + length]."""
    count = len(data) - length + 1
    codes = np.zeros(count, dtype=np.uint64)
    for offset in range(length):
        codes = (codes << np.uint64(8)) | data[offset : offset + count].astype(np.uint64)
    return codes


def _count(table: tuple[np.ndarray, np.ndarray], codes: np.ndarray) -> np.ndarray:
    """How often each code stands in the table of (sorted codes, counts); zero where it does not."""
    keys, counts = table
    at = np.minimum(np.searchsorted(keys, codes), len(keys) - 1)
    return np.where(keys[at] == codes, counts[at], 0)


def ngram_bits_per_byte(text: bytes, training: bytes, *, order: int = 5) -> float:
    """Bits per byte of `text` under an n-gram model of `order` bytes of context (at most 7).

    Witten-Bell smoothing: each context of k bytes backs off to k - 1 with weight (different bytes
    seen after it).
    """
    if not 0 <= order <= 7:
        raise ValueError(f"order must be from 0 to 7 bytes of context, got {order}")
    for name, given in (("text", text), ("training", training)):
        if len(given) <= order:
            raise ValueError(f"{name} must be longer than order ({order}), got {len(given)} bytes")
    seen = np.frombuffer(training, dtype=np.uint8)
    data = np.frombuffer(text, dtype=np.uint8)
    probability = np.full(len(data), 1 / 256)
    for k in range(order + 1):
        grams = np.unique(_codes(seen, k + 1), return_counts=True)
        contexts, first = np.unique(grams[0] >> np.uint64(8), return_index=True)
        totals = np.add.reduceat(grams[1], first)
        kinds = np.diff(np.append(first, len(grams[0])))
        codes = _codes(data, k + 1)
        here = codes >> np.uint64(8)
        total, kind = _count((contexts, totals), here), _count((contexts, kinds), here)
        known = total > 0
        backed = probability[k:].copy()
        mixed = (_count(grams, codes) + kind * backed) / np.maximum(total + kind, 1)
        probability[k:] = np.where(known, mixed, backed)
    return float(-np.log2(probability).mean())
