"""Masks: which weights are kept, and how zeros stay zero. Taught in notebook 04."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from costlab.modules import layers, require_layers


def masks(model: nn.Module, *, ignore: tuple[str, ...] = ("lm_head",)) -> dict[str, Tensor]:
    """Name of layer -> bool mask in the shape of its stored weight: True where a weight is not 0.

    ignore: layers to leave out, by full name or last part; give what the technique was given.
    Raises TypeError or ValueError with one sentence.
    """
    found = require_layers(model, ignore=ignore)
    return {name: layer.weight.detach() != 0 for name, layer in found.items()}


@torch.no_grad()
def apply_masks_(model: nn.Module, masks: dict[str, Tensor]) -> None:
    """Put the zeros back, in place: call it after each `optimizer.step()`.

    masks: layer -> bool mask (True is kept), as `costlab.masks` makes them; layers without one are
    left alone. All are checked before anything is changed; raises TypeError or ValueError.
    """
    found = layers(model)
    _check(masks, found)
    for name, mask in masks.items():
        weight = found[name].weight
        weight.masked_fill_(~mask.to(weight.device), 0)


def _check(masks: dict[str, Tensor], found: dict[str, nn.Module]) -> None:
    if not isinstance(masks, dict):
        raise TypeError(f"masks must be a dict of layer: mask, got {type(masks).__name__}")
    for name, mask in masks.items():
        if name not in found:
            raise ValueError(f"masks must name layers of the model, got {name!r}")
        if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
            kind = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
            raise TypeError(f"masks must be bool tensors, got {kind} for {name!r}")
        if mask.shape != found[name].weight.shape:
            raise ValueError(
                f"masks must have the shapes of the weights, got {tuple(mask.shape)} for "
                f"{tuple(found[name].weight.shape)} of {name!r}"
            )
