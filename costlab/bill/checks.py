"""Refuse what cannot be measured, in one sentence and before any work. Taught in notebook 01."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from torch import Tensor, nn

from costlab.bill.counting import tensors
from costlab.bill.records import Workload
from costlab.lm import corpus
from costlab.lm.decoding import context_of, first_weight, is_language_model, vocabulary_of

Data = Tensor | tuple | dict | Iterable | None
SCORED_BYTES = 32_768  # of validation text, taken evenly: a quarter of it


def check(
    models: dict[str, nn.Module], data: Data, workload: Workload, quality: Callable | None
) -> list[Tensor | tuple | dict]:
    """The batches to score and time; raises TypeError or ValueError for anything else."""
    _check_models(models)
    if quality is not None and not callable(quality):
        raise TypeError(f"quality must be a function of the model, got {type(quality).__name__}")
    for field, least in (("batch", 1), ("prompt", 1), ("generate", 0)):
        value = getattr(workload, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{field} must be a whole number of at least {least}, got {value!r}")
    total = workload.prompt + workload.generate
    for name, model in models.items():
        if is_language_model(model) and total > context_of(model):
            raise ValueError(
                f"prompt + generate is {total} tokens; "
                f"model {name!r} reads {context_of(model)} at most"
            )
    batches = _validation(models) if data is None else batches_of(data)
    device = first_weight(next(iter(models.values()))).device
    batches = [on_device(device, batch) for batch in batches]
    for name, model in models.items():
        if data is not None and is_language_model(model):
            check_tokens(name, model, batches)
    return batches


def tokens_of(batch: Tensor | tuple | dict) -> Tensor | None:
    """The tokens (batch, positions) of a batch for a language model; None where it has none."""
    if isinstance(batch, dict):
        return batch.get("input_ids")
    return batch[0] if isinstance(batch, tuple) else batch


def _check_models(models: dict[str, nn.Module]) -> None:
    if not isinstance(models, dict) or not models:
        given = "an empty dict" if isinstance(models, dict) else type(models).__name__
        raise TypeError(f"models must be a dict of name: model with at least one, got {given}")
    for name, model in models.items():
        if not isinstance(name, str):
            raise TypeError(f"names in models must be text, got {name!r}")
        if not isinstance(model, nn.Module):
            raise TypeError(f"model {name!r} must be a torch.nn.Module, got {type(model).__name__}")
        if not tensors(model):
            raise ValueError(f"model {name!r} has no parameters: there is nothing to measure")
    devices = {t.device.type for model in models.values() for t in tensors(model)}
    if len(devices) > 1:
        raise ValueError(f"models must lie on one device to be compared, got {sorted(devices)}")
    if not devices <= {"cpu", "cuda"}:
        raise ValueError(f"model must lie on 'cpu' or 'cuda', got {devices.pop()!r}")


def _validation(models: dict[str, nn.Module]) -> list[Tensor]:
    """The book's validation text for models that read bytes."""
    for name, model in models.items():
        if not is_language_model(model) or vocabulary_of(model) != 256:
            raise ValueError(
                f"data is needed: model {name!r} is not a language model that reads bytes, "
                "so the book's validation text cannot be used; give a batch"
            )
    context = min(512, *(context_of(model) for model in models.values()))
    return corpus.validation_batches(context=context, batch=4, limit=SCORED_BYTES)


def on_device(device: torch.device | str, batch: Tensor | tuple | dict) -> Tensor | tuple | dict:
    """A batch on the models' device; the caller's own stays where it is."""
    if isinstance(batch, dict):
        return dict(zip(batch, on_device(device, tuple(batch.values()))))
    if isinstance(batch, tuple):
        return tuple(v.to(device) if isinstance(v, Tensor) else v for v in batch)
    return batch.to(device)


def batches_of(
    data: Tensor | tuple | dict | Iterable, *, name: str = "data"
) -> list[Tensor | tuple | dict]:
    """The caller's batches as a list; errors call them by `name`."""
    if isinstance(data, str | bytes) or not isinstance(data, Tensor | Iterable):
        raise TypeError(
            f"{name} must be a batch (tensor, tuple or dict) or batches, got {type(data).__name__}"
        )
    batches = [data] if isinstance(data, Tensor | tuple | dict) else list(data)
    if not batches:
        raise ValueError(f"{name} must hold at least one batch, got none")
    for item in batches:
        if not isinstance(item, Tensor | tuple | dict):
            raise TypeError(f"a batch must be a tensor, tuple or dict, got {type(item).__name__}")
        values = item.values() if isinstance(item, dict) else item
        held = [item] if isinstance(item, Tensor) else list(values)
        found = [value for value in held if isinstance(value, Tensor)]
        if not found or any(value.numel() == 0 for value in found):
            raise ValueError(
                f"{name} must be batches of tensors that are not empty, got an empty batch"
            )
    return batches


def check_tokens(
    name: str, model: nn.Module, batches: list[Tensor | tuple | dict], *, argument: str = "data"
) -> None:
    """Whether a language model can read and score these batches; errors call them `argument`."""
    longest, vocabulary = context_of(model), vocabulary_of(model)
    for batch in batches:
        tokens = tokens_of(batch)
        if not isinstance(tokens, Tensor):
            raise ValueError(f"{argument} for a language model must hold its tokens as 'input_ids'")
        if tokens.dtype not in (torch.int64, torch.int32) or tokens.ndim != 2:
            raise ValueError(
                f"{argument} for a language model must be int64 tokens (batch, positions), "
                f"got {tokens.dtype} of shape {tuple(tokens.shape)}"
            )
        if not 2 <= tokens.shape[1] <= longest:
            raise ValueError(
                f"{argument} has {tokens.shape[1]} positions; "
                f"model {name!r} scores from 2 to {longest}"
            )
        if not 0 <= tokens.min() <= tokens.max() < vocabulary:
            raise ValueError(
                f"{argument} holds tokens from {tokens.min()} to {tokens.max()}; "
                f"model {name!r} knows 0 to {vocabulary - 1}"
            )
