"""Decode step by step, with or without a cache of keys and values.

Everything in the book that generates text goes through `Session`. Taught in notebooks 01 and 17.
"""

from __future__ import annotations

import sys
from itertools import chain

import torch
from torch import Tensor, nn

from costlab.lm.model import KVCache, LanguageModel


def is_transformers(model: nn.Module) -> bool:
    """Whether `model` is a `transformers` language model that reads from left to right.

    Told by its interface: nothing is imported.
    """
    if not hasattr(model, "prepare_inputs_for_generation") or not hasattr(model, "config"):
        return False
    return not getattr(model.config, "is_encoder_decoder", False)


def is_language_model(model: nn.Module) -> bool:
    """Whether `model` maps tokens to next-token logits in a way this book knows."""
    return isinstance(model, LanguageModel) or is_transformers(model)


def check_language_model(model: object) -> None:
    """Raise TypeError with one sentence for what is no language model that this book knows."""
    if not isinstance(model, nn.Module) or not is_language_model(model):
        raise TypeError(f"model must be a language model, got {type(model).__name__}")


def logits_of(model: nn.Module, tokens: Tensor) -> Tensor:
    """Logits (batch, positions, vocab) of `tokens` (batch, positions), either kind of model."""
    if is_transformers(model):
        return model(input_ids=tokens, use_cache=False).logits
    return model(tokens)


def context_of(model: nn.Module) -> int:
    """The longest sequence the model can read, in tokens; endless where its config names none."""
    config = model.config
    if isinstance(model, LanguageModel):
        return config.context
    named = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions"))
    return next(filter(None, named), sys.maxsize)


def first_weight(model: nn.Module) -> Tensor:
    """A model's first floating-point parameter or buffer: it tells device and kind of number."""
    held = chain(model.parameters(), model.buffers())
    return next(tensor for tensor in held if tensor.is_floating_point())


def vocabulary_of(model: nn.Module) -> int:
    """Number of different tokens."""
    return model.config.vocab if isinstance(model, LanguageModel) else model.config.vocab_size


class Session:
    """A batch of sequences being written.

    `feed(tokens)` takes new tokens (batch, new) and returns the logits (batch, vocab) of the
    position after them. With `kv_cache=False` everything fed so far is computed again each time:
    the naive loop.
    """

    def __init__(
        self, model: nn.Module, *, kv_cache: bool = True, capacity: int | None = None
    ) -> None:
        self.model, self.kv_cache = model, kv_cache
        self.tokens: Tensor | None = None
        self.cache = None
        if kv_cache and isinstance(model, LanguageModel):
            self.cache = KVCache(min(capacity or context_of(model), context_of(model)))

    def feed(self, tokens: Tensor) -> Tensor:
        """Logits (batch, vocab) after `tokens` (batch, new), appended to all tokens fed before."""
        if not self.kv_cache:
            old = [] if self.tokens is None else [self.tokens]
            self.tokens = torch.cat([*old, tokens], dim=1)
            return logits_of(self.model, self.tokens)[:, -1]
        if isinstance(self.model, LanguageModel):
            return self.model(tokens, cache=self.cache)[:, -1]
        out = self.model(input_ids=tokens, past_key_values=self.cache, use_cache=True)
        self.cache = out.past_key_values
        return out.logits[:, -1]


def pick(logits: Tensor, generator: torch.Generator | None, temperature: float) -> Tensor:
    """Next token (batch, 1) from logits (batch, vocab).

    The likeliest, or drawn when there is a generator.
    """
    if generator is None:
        return logits.argmax(-1, keepdim=True)
    heights = torch.softmax(logits.float() / temperature, dim=-1).cumsum(-1)
    # not torch.multinomial, which draws other tokens from one seed on other kinds of processor
    points = torch.rand(len(heights), 1, generator=generator, device=heights.device)
    drawn = torch.searchsorted(heights, points * heights[:, -1:], right=True)
    return drawn.clamp(max=heights.shape[1] - 1)


@torch.inference_mode()
def decode(
    model: nn.Module,
    prompt: Tensor,
    *,
    tokens: int,
    kv_cache: bool = True,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
) -> Tensor:
    """Write `tokens` new tokens after `prompt` (batch, positions).

    Returns them as (batch, tokens).
    """
    session = Session(model, kv_cache=kv_cache, capacity=prompt.shape[1] + tokens)
    new, written = prompt, []
    for _ in range(tokens):
        new = pick(session.feed(new), generator, temperature)
        written.append(new)
    return torch.cat(written, dim=1)
