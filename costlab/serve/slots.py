"""One cache for many sequences of different lengths, each in a place of its own.

Taught in notebook 17.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costlab.compress.cache import decode, encode
from costlab.lm.model import LanguageModel


class SlotCache:
    """Keys and values of up to `places` sequences; the first `rows` places are in use.

    Place i is filled to `lengths[i]`. Every new token goes behind its own row's last one, and a
    mask hides what lies behind a row's end, so that rows of different lengths share one pass of the
    model. With `bits` (8 or 4) codes and scales are kept instead of floats. The book's model takes
    it as any cache, and so do decoders of `transformers` (`feed` says what else they need).
    """

    def __init__(self, places: int, capacity: int, *, bits: int | None = None) -> None:
        self.places, self.capacity, self.bits, self.rows = places, capacity, bits, 0
        self.lengths = torch.zeros(places, dtype=torch.long)
        self.stored: dict[int, tuple[Tensor, ...]] = {}

    @property
    def length(self) -> int:
        """Positions that the longest row fills."""
        return int(self.lengths[: self.rows].max()) if self.rows else 0

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values (rows, heads, new, dim), each behind its own row's end.

        Returns all rows of that layer up to the longest (rows, heads, longest + new, dim): what
        lies behind a shorter row's end is there to be masked.
        """
        parts = (*self._encode(keys), *self._encode(values))
        if layer not in self.stored:
            self.stored[layer] = tuple(self._room(part) for part in parts)
        new, end = keys.shape[2], self.length + keys.shape[2]
        at = self.positions(new)[:, 0].to(keys.device)
        row = torch.arange(self.rows, device=keys.device)[:, None]
        for held, part in zip(self.stored[layer], parts):
            held[row, :, at] = part.transpose(1, 2)
        shown = [held[: self.rows, :, :end] for held in self.stored[layer]]
        half = len(shown) // 2
        return self._decode(shown[:half], keys), self._decode(shown[half:], values)

    def update(self, keys: Tensor, values: Tensor, layer: int, *_: object) -> tuple:
        """`append`, as `transformers` calls it."""
        return self.append(layer, keys, values)

    def get_seq_length(self, layer: int = 0) -> int:
        """`length`, as `transformers` asks for it."""
        return self.length

    def positions(self, new: int) -> Tensor:
        """Positions (rows, 1, new) of the `new` tokens to come."""
        return (self.lengths[: self.rows, None] + torch.arange(new))[:, None]

    def mask(self, new: int, device: torch.device, *, always: bool = False) -> Tensor | None:
        """What each new position sees: bool (rows, 1, new, longest + new).

        None where causal order says it all, unless `always`.
        """
        lengths = self.lengths[: self.rows]
        if not always and (lengths == lengths[0]).all() and (new == 1 or not lengths[0]):
            return None
        seen = torch.arange(self.length + new) <= self.positions(new)[..., None]
        return seen.to(device)

    def advance(self, new: int) -> None:
        """Count `new` tokens in each row as stored, after all layers have appended them."""
        self.lengths[: self.rows] += new

    def take(self, other: SlotCache, *, tokens: int | None = None) -> int:
        """Copy the only row of `other`, or its first `tokens`, to the next place; says which."""
        tokens = int(other.lengths[0]) if tokens is None else tokens
        for layer, parts in other.stored.items():
            if layer not in self.stored:
                self.stored[layer] = tuple(self._room(part) for part in parts)
            for held, part in zip(self.stored[layer], parts):
                held[self.rows, :, :tokens] = part[0, :, :tokens]
        self.lengths[self.rows] = tokens
        self.rows += 1
        return self.rows - 1

    def drop(self, row: int) -> None:
        """Free a place; the last row moves into it, so that the rows in use stay side by side."""
        last = self.rows - 1
        if row != last:
            tokens = int(self.lengths[last])
            for parts in self.stored.values():
                for held in parts:
                    held[row, :, :tokens] = held[last, :, :tokens]
            self.lengths[row] = tokens
        self.rows = last

    def _encode(self, vectors: Tensor) -> tuple[Tensor, ...]:
        return (vectors,) if self.bits is None else encode(vectors, self.bits)

    def _decode(self, parts: list[Tensor], like: Tensor) -> Tensor:
        return parts[0] if self.bits is None else decode(tuple(parts), self.bits, like)

    def _room(self, part: Tensor) -> Tensor:
        """Memory for all places; raises MemoryError where there is none."""
        shape = (self.places, part.shape[1], self.capacity, part.shape[3])
        try:
            return part.new_zeros(shape)
        except RuntimeError as error:
            raise MemoryError(
                f"no memory for a cache of {self.places} places of {self.capacity} tokens: "
                "take fewer places, or kv_bits"
            ) from error


def feed(model: nn.Module, tokens: Tensor, cache: SlotCache) -> Tensor:
    """Logits (rows, new, vocab) of new tokens (rows, new), each row's behind what it has cached."""
    if isinstance(model, LanguageModel):
        return model(tokens, cache)
    new = tokens.shape[1]
    seen = cache.mask(new, tokens.device, always=True)
    numbers = next(model.parameters()).dtype
    hidden = torch.zeros(seen.shape, dtype=numbers, device=tokens.device)
    hidden.masked_fill_(~seen, torch.finfo(numbers).min)
    out = model(
        input_ids=tokens, attention_mask=hidden, past_key_values=cache, use_cache=True,
        position_ids=cache.positions(new)[:, 0].to(tokens.device),
    )  # fmt: skip
    cache.advance(new)
    return out.logits
