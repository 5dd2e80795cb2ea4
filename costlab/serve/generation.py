"""Let a language model write. Taught in notebooks 01 and 17."""

from __future__ import annotations

from contextlib import ExitStack

import torch
from torch import Tensor, nn

from costlab.bill.counting import evaluating
from costlab.lm.decoding import (
    check_language_model,
    context_of,
    decode,
    first_weight,
    is_language_model,
    vocabulary_of,
)
from costlab.serve.speculation import NGram, speculate


def generate(
    model: nn.Module,
    prompt: str | bytes | Tensor,
    *,
    tokens: int,
    kv_cache: bool = True,
    draft: nn.Module | NGram | None = None,
    lookahead: int = 4,
    seed: int | None = None,
    temperature: float = 1.0,
) -> bytes | Tensor:
    """Continue `prompt` by `tokens` tokens: the likeliest, or drawn when `seed` is given.

    A text prompt (str or bytes) needs a model that reads bytes and gives the new bytes back; a
    tensor of tokens (batch, positions) gives the new tokens (batch, tokens). kv_cache=False
    computes everything anew for each token. With a `draft`, a cheaper model of the same vocabulary
    or an `NGram`, `lookahead` tokens at a time are guessed and then checked in one pass; what is
    written follows the same law (for one sequence). Taught in notebooks 01 and 17.
    """
    ids = check_request(model, prompt, tokens)
    if not isinstance(temperature, int | float) or not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature!r}")
    if seed is not None and (not isinstance(seed, int) or not 0 <= seed < 2**63):
        raise ValueError(f"seed must be a whole number from 0, or None, got {seed!r}")
    if draft is not None:
        _check_draft(model, draft, ids, tokens, kv_cache, lookahead)
    generator = None if seed is None else torch.Generator(ids.device).manual_seed(seed)
    options = {"tokens": tokens, "generator": generator, "temperature": temperature}
    with ExitStack() as modes:  # dropout would change what is likeliest
        for module in (model, draft):
            if isinstance(module, nn.Module):
                modes.enter_context(evaluating(module))
        if draft is None:
            written = decode(model, ids, kv_cache=kv_cache, **options)
        else:
            written = speculate(model, draft, ids, lookahead=lookahead, **options).tokens
    return bytes(written[0].tolist()) if isinstance(prompt, str | bytes) else written


def check_request(model: nn.Module, prompt: str | bytes | Tensor, tokens: int) -> Tensor:
    """The prompt as tokens (batch, positions) on the model's device.

    Raises TypeError or ValueError with one sentence for what `model` cannot continue.
    """
    check_language_model(model)
    if isinstance(prompt, str | bytes) and vocabulary_of(model) != 256:
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
    _check_room("model", model, ids, tokens)
    return ids


def _check_draft(model, draft, ids: Tensor, tokens: int, kv_cache: bool, lookahead: int) -> None:
    if not isinstance(lookahead, int) or isinstance(lookahead, bool) or lookahead < 1:
        raise ValueError(f"lookahead must be a whole number of at least 1, got {lookahead!r}")
    if not kv_cache:
        raise ValueError("draft needs the cache of keys and values, got kv_cache=False")
    if len(ids) != 1:
        raise ValueError(f"draft serves one sequence at a time, got a batch of {len(ids)}")
    if isinstance(draft, NGram):
        return
    if not isinstance(draft, nn.Module) or not is_language_model(draft):
        raise TypeError(f"draft must be a language model or an NGram, got {type(draft).__name__}")
    if vocabulary_of(draft) != vocabulary_of(model):
        raise ValueError(
            f"draft must have the model's vocabulary of {vocabulary_of(model)} tokens, "
            f"got {vocabulary_of(draft)}"
        )
    _check_room("draft", draft, ids, tokens)


def _check_room(name: str, model: nn.Module, ids: Tensor, tokens: int) -> None:
    if ids.shape[1] + tokens > context_of(model):
        raise ValueError(
            f"prompt ({ids.shape[1]}) and tokens ({tokens}) exceed the {name}'s context "
            f"of {context_of(model)}"
        )


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
