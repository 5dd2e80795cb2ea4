"""Regularization: push weights towards zero while a model trains. Taught in notebook 11.

A penalty is added to the loss, and its gradient makes weights small but never zero. A proximal
step, taken after `optimizer.step()` in place of that gradient, arrives at zero and stays there.
"""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from costlab.modules import is_transposed, require_layers
from costlab.optimize.pruning import check_number
from costlab.optimize.units import neurons

Params = Tensor | Iterable[Tensor | tuple[Tensor, ...]]


def l1_penalty(model: nn.Module, *, strength: float) -> Tensor:
    """strength x sum of |w| over the matrices of linear layers: a scalar to add to the loss.

    The lasso (Tibshirani, 1996). The head of a language model, `lm_head`, is left out. Raises
    TypeError or ValueError with one sentence.
    """
    check_number("strength", strength)
    found = require_layers(model, ignore=("lm_head",)).values()
    matrices = {id(layer.weight): layer.weight for layer in found}  # a tied one counts once
    return strength * sum(weight.abs().sum() for weight in matrices.values())


def group_lasso_penalty(model: nn.Module, *, strength: float) -> Tensor:
    """strength x sum over neurons of the norm of all their weights: a scalar to add to the loss.

    Neurons go to zero whole, rows and columns (Yuan and Lin, 2006, without the root of the groups'
    size: all have the same). Raises TypeError or ValueError with one sentence.
    """
    check_number("strength", strength)
    return strength * sum(_norms(parts).sum() for parts in neuron_groups(model))


def neuron_groups(model: nn.Module) -> list[tuple[Tensor, ...]]:
    """For each feed-forward part, its matrices, turned so that row i of each belongs to neuron i.

    They share the model's memory: give them to `prox_group_lasso_`. The neurons of a model with one
    linear layer are its outputs. Raises TypeError or ValueError where no neurons are found.
    """
    found = require_layers(model)
    if len(found) == 1:
        return [(_rows(*found.values(), 0),)]
    return [tuple(_rows(found[p.module], p.dimension) for p in g.parts) for g in neurons(model)]


def _rows(layer: nn.Module, dimension: int) -> Tensor:
    """The weight with outputs (0) or inputs (1) as its rows."""
    return layer.weight.t() if is_transposed(layer) != bool(dimension) else layer.weight


@torch.no_grad()
def prox_l1_(params: Params, *, strength: float, lr: float) -> None:
    """Soft thresholding, in place: w -> sign(w) max(|w| - lr x strength, 0).

    The w that least adds strength |w| to (w - w_old)^2 / (2 lr): call it after each
    `optimizer.step()` with that step's lr. params: a tensor or an iterable of them. Raises
    TypeError or ValueError before anything is changed.
    """
    shrink = _amount(strength, lr)
    for parts in _checked(params):
        for weight in parts:
            weight.copy_(nn.functional.softshrink(weight, shrink))


@torch.no_grad()
def prox_group_lasso_(params: Params, *, strength: float, lr: float) -> None:
    """Every group w, in place: w -> w max(1 - lr x strength / |w|, 0), |w| its Euclidean norm.

    params: a matrix or an iterable of them, whose rows are the groups; in a tuple of matrices, row
    i of all is one group: `neuron_groups(model)` is such a list. As `prox_l1_` in all else.
    """
    shrink, groups = _amount(strength, lr), _checked(params)
    for parts in groups:
        shapes = [tuple(weight.shape) for weight in parts]
        if min(map(len, shapes)) < 2 or len({shape[0] for shape in shapes}) > 1:
            raise ValueError(f"params must be matrices, in a tuple with as many rows, got {shapes}")
    for parts in groups:
        norms = _norms(parts)
        factor = (1 - shrink / norms).clamp(min=0).where(norms > shrink, 0)
        for weight in parts:
            weight.mul_(factor.view(-1, *[1] * (weight.ndim - 1)))


def _norms(parts: tuple[Tensor, ...]) -> Tensor:
    """The norm of each row of all parts together; its gradient at 0 is 0."""
    return torch.cat([weight.flatten(1) for weight in parts], dim=1).norm(dim=1)


def _amount(strength: float, lr: float) -> float:
    check_number("strength", strength)
    check_number("lr", lr)
    return lr * strength


def _checked(params: Params) -> list[tuple[Tensor, ...]]:
    """Each entry as a tuple of tensors, once."""
    if isinstance(params, str | nn.Module) or not isinstance(params, Tensor | Iterable):
        raise TypeError(f"params must be tensors, got {type(params).__name__}")
    items = [params] if isinstance(params, Tensor) else list(params)
    groups = [item if isinstance(item, tuple) else (item,) for item in items]
    if not groups or not all(groups):
        raise ValueError("params must hold at least one tensor, got none")
    for weight in (weight for parts in groups for weight in parts):
        if not isinstance(weight, Tensor) or not weight.is_floating_point():
            kind = weight.dtype if isinstance(weight, Tensor) else type(weight).__name__
            raise TypeError(f"params must be float tensors, got {kind}")
        if not weight.isfinite().all():
            raise ValueError("params must hold finite weights, got NaN or infinity")
    return list({tuple(map(id, parts)): parts for parts in groups}.values())
