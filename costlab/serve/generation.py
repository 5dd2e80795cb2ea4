"""Let a language model write. Taught in notebooks 01 and 17."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costlab.bill.counting import evaluating
from costlab.lm.decoding import (
    context_of,
    decode,
    first_weight,
    is_language_model,
    vocabulary_of,
)


def generate(
    model: nn.Module,
    prompt: str | bytes | Tensor,
    *,
    tokens: int,
    kv_cache: bool = True,
    seed: int | None = None,
    temperature: float = 1.0,
) -> bytes | Tensor:
    """Continue `prompt` by `tokens` tokens: the likeliest, or drawn when `seed` is given.

    A text prompt (str or bytes) needs a model that reads bytes and gives the new bytes back; a
    tensor of tokens (batch, positions) gives the new tokens (batch, tokens). kv_cache=False
    computes everything anew for each token.
    """
    if not isinstance(model, nn.Module) or not is_language_model(model):
        raise TypeError(f"model must be a language model, got {type(model).__name__}")
    text = isinstance(prompt, str | bytes)
    if text and vocabulary_of(model) != 256:
        raise ValueError(
            "prompt is text, but this model does not read bytes: give a tensor of tokens"
        )
    ids = _as_tokens(prompt).to(first_weight(model).device)
    if not isinstance(tokens, int) or isinstance(tokens, bool) or tokens < 1:
        raise ValueError(f"tokens must be a whole number of at least 1, got {tokens!r}")
    if ids.numel() == 0:
        raise ValueError("prompt is empty: give at least one token")
    if not 0 <= ids.min() <= ids.max() < vocabulary_of(model):
        raise ValueError(
            f"prompt must hold tokens from 0 to {vocabulary_of(model) - 1}, "
            f"got {ids.min()} to {ids.max()}"
        )
    if ids.shape[1] + tokens > context_of(model):
        raise ValueError(
            f"prompt ({ids.shape[1]}) and tokens ({tokens}) exceed the model's context "
            f"of {context_of(model)}"
        )
    if not isinstance(temperature, int | float) or not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}")
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**63):
        raise ValueError(f"seed must be a whole number from 0, or None, got {seed!r}")
    generator = None if seed is None else torch.Generator(ids.device).manual_seed(seed)
    with evaluating(model):  # dropout would change what is likeliest
        written = decode(
            model, ids, tokens=tokens, kv_cache=kv_cache, generator=generator,
            temperature=temperature,
        )  # fmt: skip
    return bytes(written[0].tolist()) if text else written


def _as_tokens(prompt: str | bytes | Tensor) -> Tensor:
    if isinstance(prompt, Tensor):
        if prompt.ndim not in (1, 2) or prompt.is_floating_point() or prompt.dtype == torch.bool:
            raise ValueError(
                "prompt must be whole-numbered tokens (batch, positions), "
                f"got {prompt.dtype} of shape {tuple(prompt.shape)}"
            )
        return (prompt if prompt.ndim == 2 else prompt[None]).long()
    if not isinstance(prompt, str | bytes):
        raise TypeError(f"prompt must be text, bytes or a tensor, got {type(prompt).__name__}")
    data = prompt.encode() if isinstance(prompt, str) else prompt
    return torch.tensor([list(data)], dtype=torch.long)
