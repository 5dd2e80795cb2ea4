"""Pruning: choose weights, or whole neurons, and set them to zero. Taught in notebook 10.

How much does the loss rise when weights move by d? The Taylor expansion says g d + d^T H d / 2, and
after training g is about 0. Every score below is a reading of H: the identity, a diagonal, or all.
"""

from __future__ import annotations

import numbers
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from tqdm import tqdm

from costlab.bill.checks import Data
from costlab.calibration import Statistics, calibration_batches, walk
from costlab.compress.gptq import BLOCK, settle_columns
from costlab.modules import copy_sharing, is_transposed, require_layers, weight_of, with_weight
from costlab.optimize.shearing import unit_scores
from costlab.optimize.units import neurons

CHOICES = {
    "method": ("magnitude", "wanda", "sparsegpt"),
    "pattern": ("connection", "neuron", "2:4"),
    "scope": ("layer", "global"),
}


def magnitude(weight: Tensor) -> Tensor:
    """|w|: w^2 is the rise in error where H is the identity. Any shape."""
    return weight.abs()


def wanda(weight: Tensor, hessian: Tensor) -> Tensor:
    """|w| sqrt(H_jj): its size times that of its input, H taken as diagonal (arXiv:2306.11695).

    weight: (outputs, inputs). hessian: mean of x^T x (inputs, inputs), so that sqrt(H_jj) is the
    root mean square of input j.
    """
    return weight.abs() * hessian.diagonal().sqrt()


def brain_surgeon(row: Tensor, hessian: Tensor, index: int) -> tuple[Tensor, Tensor]:
    """Remove weight q of a row and move the others: d = -w_q / [H^-1]_qq times column q of H^-1.

    No other d with w_q + d_q = 0 raises the error d^T H d / 2 less than w_q^2 / (2 [H^-1]_qq).
    Returns the new row and that rise (Hassibi and Stork, 1993: optimal brain surgeon).
    row: (inputs,). hessian: (inputs, inputs), with an inverse.
    """
    inverse = torch.linalg.inv(hessian)
    step = row[index] / inverse[index, index]
    new = row - step * inverse[index]
    new[index] = 0
    return new, step * row[index] / 2


@dataclass(frozen=True)
class Rule:
    """What stays: scores above a threshold, all but a share of them, or two of every four."""

    threshold: float | None = None
    sparsity: float | None = None
    pattern: str = "connection"

    def keep(self, scores: Tensor, *, before: int = 0) -> Tensor:
        """True where a score stays, in each row of `scores` (..., n).

        Of n, round(sparsity x n) go; of equal scores the first go. before: how many were ranked in
        earlier parts, for the parts together to lose as many as the whole would.
        """
        if self.threshold is not None:
            return scores > self.threshold
        if self.pattern == "2:4":
            return keep_largest(scores.unflatten(-1, (-1, 4)), drop=2).flatten(-2)
        total = before + scores.shape[-1]
        return keep_largest(
            scores, drop=round(self.sparsity * total) - round(self.sparsity * before)
        )


def keep_largest(scores: Tensor, *, drop: int) -> Tensor:
    """A bool mask, False for the `drop` smallest of each row (..., n); of equals, the first."""
    smallest = scores.argsort(dim=-1, stable=True)[..., :drop]
    return torch.ones_like(scores, dtype=torch.bool).scatter(-1, smallest, False)


def sparsegpt(weight: Tensor, hessian: Tensor, rule: Rule, *, damping: float = 0.01) -> Tensor:
    """Column by column, remove by |w_j| / U_jj and let the columns after it make up for w_j.

    It is the brain surgeon with all before column j fixed: row j of U, where U^T U = H^-1, is what
    that takes of the inverse of the rest of H (arXiv:2301.00774). What goes is chosen once for each
    BLOCK of columns, for each 4 with "2:4". weight: float (outputs, inputs). hessian: mean x^T x.
    """
    ever = hessian.diagonal() > 0  # the weights of an input that never comes go first
    keep = torch.ones_like(weight, dtype=torch.bool)
    every = 4 if rule.pattern == "2:4" else BLOCK

    def settle(j: int, w: Tensor, factor: Tensor) -> Tensor:
        if j % every == 0:
            part = slice(j, j + every)
            scores = w[:, part].abs() / factor.diagonal()[part] * ever[part]
            keep[:, part] = rule.keep(scores.flatten(), before=j * len(w)).view_as(scores)
        return w[:, j].where(keep[:, j], 0)

    return settle_columns(weight, hessian, settle, damping=damping)


def sparsity_at(
    step: int, *, steps: int, final: float, initial: float = 0.0, start: int = 0
) -> float:
    """The sparsity to have at `step`: final + (initial - final) (1 - t)^3 (arXiv:1710.01878).

    t is the part of `steps` done since step `start`, from 0 to 1. Quick at first, while there are
    many weights to spare. Raises ValueError.
    """
    if not isinstance(steps, int) or steps < 1:
        raise ValueError(f"steps must be a whole number of at least 1, got {steps!r}")
    for name, value in (("step", step), ("start", start)):
        check_number(name, value)
    for name, value in (("initial", initial), ("final", final)):
        check_number(name, value, most=1)
    done = min(max((step - start) / steps, 0.0), 1.0)
    return final + (initial - final) * (1 - done) ** 3


def prune(
    model: nn.Module,
    *,
    threshold: float | None = None,
    sparsity: float | None = None,
    method: str = "magnitude",
    pattern: str = "connection",
    scope: str = "layer",
    calibration: Data = None,
    ignore: tuple[str, ...] = ("lm_head",),
) -> nn.Module:
    """A copy of `model` in which the least important weights of its linear layers are exactly 0.

    Give one of: threshold, which zeroes scores at most so large, in the unit of the score (for
    magnitude that of the weights); sparsity, the share that goes, from 0 (nothing) to 1 (all).
    method: the score. "magnitude" is |w|; "wanda" and "sparsegpt" need calibration and go through
    the blocks in order, each on what the pruned ones before feed it; "sparsegpt" also changes the
    weights that stay. pattern: "connection" takes single weights; "neuron" the inner neurons of
    feed-forward parts whole, by the norm of all their weights, biases zeroed too; "2:4" two of
    every four neighbors in a row, so that sparsity is 0.5 or left out. scope: rank within a
    "layer" (Wanda: within each row, as in its paper) or over all of them, "global".

    Of n ranked together, round(sparsity x n) go; of equal scores the first in the order of layers,
    outputs and inputs go. calibration: one batch or an iterable of batches; None takes the book's
    training text, for a model that reads bytes. ignore: layers to leave alone, by full name or last
    part. Tied weights: an embedding keeps its own. Raises TypeError or ValueError with one sentence
    before any work starts.
    """
    rule = Rule(threshold, sparsity, pattern)
    _check(rule, method, scope)
    found = require_layers(model, ignore=ignore)
    if pattern == "neuron":
        return _without_neurons(model, found, rule, scope)
    _check_widths(rule, found)
    if method != "magnitude":
        batches = calibration_batches(model, calibration)
        change = _changer(method, rule)
        return walk(copy_sharing(model, found), batches, list(found), change, desc=method)
    once = {id(layer.weight): weight_of(layer) for layer in found.values()}
    kept = dict(zip(once, _ranked([magnitude(w) for w in once.values()], rule, scope)))
    return _zeroed(model, found, {name: kept[id(found[name].weight)] for name in found})


def _changer(method: str, rule: Rule) -> Callable[[str, nn.Module, Statistics], nn.Module]:
    """What `walk` is to do to each layer."""

    def change(name: str, layer: nn.Module, seen: Statistics) -> nn.Module:
        weight = weight_of(layer).float()
        if method == "sparsegpt":
            return with_weight(layer, sparsegpt(weight, seen.hessian, rule))
        return with_weight(layer, weight.where(rule.keep(wanda(weight, seen.hessian)), 0))

    return change


def _ranked(scores: list[Tensor], rule: Rule, scope: str) -> list[Tensor]:
    """What stays of each tensor of scores, ranked alone or all together."""
    flat = [s.flatten() for s in scores]
    if scope == "global":
        kept = rule.keep(torch.cat(flat)).split([len(s) for s in flat])
    else:
        kept = [rule.keep(s) for s in flat]
    return [k.view_as(s) for k, s in zip(kept, scores)]


def _zeroed(model: nn.Module, found: dict[str, nn.Module], kept: dict[str, Tensor]) -> nn.Module:
    """A copy of the model with zeros where the masks (outputs, inputs) are False."""
    new, made = copy_sharing(model, found), {}
    for name, layer in tqdm(found.items(), desc="pruning", unit="layer", leave=False):
        old = layer.weight
        if id(old) not in made:  # layers that shared a matrix share the pruned one
            keep = kept[name].t() if is_transposed(layer) else kept[name]
            pruned = old.detach().masked_fill(~keep.to(old.device), 0).contiguous()
            made[id(old)] = nn.Parameter(pruned, old.requires_grad)
        new.get_submodule(name).weight = made[id(old)]
    return new


def _without_neurons(
    model: nn.Module, found: dict[str, nn.Module], rule: Rule, scope: str
) -> nn.Module:
    """A copy with whole neurons at zero: their rows, their biases, and the columns they feed."""
    groups = [g for g in neurons(model) if all(part.module in found for part in g.parts)]
    if not groups:
        raise ValueError("ignore must leave a feed-forward part to prune, and it leaves none")
    kept = {n: torch.ones(weight_of(m).shape, dtype=torch.bool) for n, m in found.items()}
    norms = unit_scores(model, "neurons", score="weight")
    stays = _ranked([norms[group.name] for group in groups], rule, scope)
    gone = [(part, part.index[~s].flatten()) for g, s in zip(groups, stays) for part in g.parts]
    for part, index in gone:
        kept[part.module].index_fill_(part.dimension, index, False)
    new = _zeroed(model, found, kept)
    for part, index in gone:
        bias = getattr(new.get_submodule(part.module), "bias", None)
        if part.dimension == 0 and bias is not None:
            bias.data[index] = 0
    return new


def _check(rule: Rule, method: str, scope: str) -> None:
    given = {"method": method, "pattern": rule.pattern, "scope": scope}
    for name, value in given.items():
        if value not in CHOICES[name]:
            raise ValueError(f"{name} must be one of {CHOICES[name]}, got {value!r}")
    for name, value in (("pattern", "neuron"), ("scope", "global")):
        if method != "magnitude" and given[name] == value:
            raise ValueError(
                f"method must be 'magnitude' with {name} {value!r}, got {method!r}, whose scores "
                "are errors of one layer's outputs and say nothing beyond it"
            )
    if rule.pattern == "2:4":
        if rule.threshold is not None or rule.sparsity not in (None, 0.5):
            raise ValueError(
                "sparsity must be 0.5 or left out with pattern '2:4', and threshold left out, "
                f"got sparsity {rule.sparsity!r} and threshold {rule.threshold!r}"
            )
    elif (rule.threshold is None) == (rule.sparsity is None):
        raise ValueError(
            "one of threshold and sparsity must be given, got "
            f"threshold {rule.threshold!r} and sparsity {rule.sparsity!r}"
        )
    elif rule.threshold is None:
        check_number("sparsity", rule.sparsity, most=1)
    else:
        check_number("threshold", rule.threshold)


def check_number(name: str, value: float, most: float | None = None) -> None:
    """Raise ValueError unless `value` is a finite number of at least 0, and at most `most`."""
    real = isinstance(value, numbers.Real) and not isinstance(value, bool)
    if not real or not 0 <= value < float("inf") or (most is not None and value > most):
        wanted = f"number from 0 to {most}" if most is not None else "finite number of at least 0"
        raise ValueError(f"{name} must be a {wanted}, got {value!r}")


def _check_widths(rule: Rule, found: dict[str, nn.Module]) -> None:
    for name, layer in found.items():
        width = weight_of(layer).shape[1]
        if rule.pattern == "2:4" and width % 4:
            raise ValueError(
                "pattern '2:4' needs layers whose inputs are a multiple of 4, got "
                f"{width} of {name!r}"
            )
