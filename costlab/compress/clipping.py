"""Clipping: weights below a threshold become zero. Taught in notebooks 04 and 14."""

from __future__ import annotations

import copy
import numbers

from torch import Tensor, nn

from costlab.modules import require_layers


def clip_weights(
    model: nn.Module, *, threshold: float, ignore: tuple[str, ...] = ("lm_head",)
) -> nn.Module:
    """A copy of `model` in which every weight w with |w| <= threshold is exactly 0.

    This is hard thresholding of the matrices of linear layers; biases, norms and embeddings stay.
    threshold: at least 0, in the unit of the weights, compared in their dtype; 0 changes nothing.
    ignore: layers to leave alone, by full name or last part.

    Tied weights: linear layers that share a matrix share the clipped one, an embedding keeps its
    own. Raises TypeError or ValueError with one sentence before any work starts.
    """
    _check(threshold)
    found = require_layers(model, ignore=ignore)
    new = copy.deepcopy(model)
    clipped: dict[int, nn.Parameter] = {}
    for name, layer in found.items():
        old = layer.weight
        if id(old) not in clipped:
            clipped[id(old)] = nn.Parameter(
                hard_threshold(old.detach(), threshold), old.requires_grad
            )
        new.get_submodule(name).weight = clipped[id(old)]
    return new


def hard_threshold(weight: Tensor, threshold: float) -> Tensor:
    """A copy of `weight` with 0 wherever |w| <= threshold."""
    return weight.masked_fill(weight.abs() <= threshold, 0)


def _check(threshold: float) -> None:
    real = isinstance(threshold, numbers.Real) and not isinstance(threshold, bool)
    if not real or not 0 <= threshold < float("inf"):
        raise ValueError(f"threshold must be a finite number of at least 0, got {threshold!r}")
