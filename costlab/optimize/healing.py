"""Healing: train further what was cut, its zeros held at zero. Taught in notebooks 10 and 12."""

from __future__ import annotations

import copy
from dataclasses import replace

from torch import Tensor, nn

from costlab.bill.checks import Data
from costlab.compress.distillation import _loss, _Plan, _source
from costlab.lm.decoding import is_language_model, vocabulary_of
from costlab.lm.trainer import Recipe, descend
from costlab.sparsity import apply_masks_


def heal(
    model: nn.Module, data: Data = None, *, steps: int, masks: dict[str, Tensor] | None = None,
    lr: float = 5e-4, batch_size: int = 16, context: int = 256, precision: str = "fp32",
    seed: int = 0,
) -> nn.Module:  # fmt: skip
    """A copy of `model`, trained for `steps` further steps, in evaluation mode.

    data: one batch, or an iterable of batches, taken in their order, again and again; labels are
    found as by `distill`. None draws `batch_size` windows of `context` bytes of the book's training
    text for each step, by `seed`, for models that read bytes.
    masks: as `costlab.masks` makes them; weights where a mask is False are 0 before the first step
    and after every one. lr: peak of AdamW's rate, reached after a tenth of the steps (100 at most),
    falling to zero over the last half; a quarter of what the book's model was trained with, which
    has less far to go. precision: "fp32", or "bf16" under autocast.
    Raises TypeError or ValueError before anything is learned.
    """
    recipe = Recipe(steps, batch_size, context, lr, precision=precision, seed=seed)
    recipe = replace(recipe, warmup=min(100, steps // 10), decay=steps // 2)
    _check(model, data)
    plan = _Plan({"temperature": 1.0, "alpha": 0.0}, {}, recipe)  # without a teacher
    new = copy.deepcopy(model).train()

    def loss(step: int) -> Tensor:
        return _loss(plan, model, new, nn.ModuleList(), *draw(step))

    def hold() -> None:
        apply_masks_(new, masks or {})

    hold()
    draw = _source(plan, model, model, data)
    descend(new, loss, recipe, label="healing", after=hold)
    return new.eval()


def _check(model: nn.Module, data: Data) -> None:
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not any(parameter.requires_grad for parameter in model.parameters()):
        raise ValueError("model must have parameters that require gradients, and has none")
    if data is None and not (is_language_model(model) and vocabulary_of(model) == 256):
        raise ValueError(
            "data is needed: the model does not read bytes, so the book's training text cannot be "
            "used; give a batch or an iterable of batches"
        )
