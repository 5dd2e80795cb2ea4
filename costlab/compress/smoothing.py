"""Factors that move difficulty between activations and weights, exactly, before rounding.

Dividing input i by s_i and multiplying column i of the weights by it changes nothing but what
rounding loses. Taught in notebook 05.
"""

from __future__ import annotations

import torch
from torch import Tensor

from costlab.calibration import Statistics
from costlab.compress.rounding import fit_grid

TINY = 1e-5


def smoothquant_factors(weight: Tensor, seen: Statistics, *, strength: float = 0.5) -> Tensor:
    """max|x|^strength / max|w|^(1 - strength) of each input (arXiv:2211.10438): (inputs,).

    weight: (outputs, inputs). Large inputs become smaller, so that a row of them rounds well.
    """
    x, w = seen.largest.clamp(min=TINY), weight.float().abs().amax(0).clamp(min=TINY)
    return (x**strength / w ** (1 - strength)).clamp(min=TINY)


def awq_factors(weight: Tensor, seen: Statistics, *, steps: int = 20, **grid: object) -> Tensor:
    """The factors mean|x|^a with the least output error over a in [0, 1) (arXiv:2306.00978).

    Columns that meet large inputs are rounded more finely. grid: what `fit_grid` takes. The error
    is trace(D H D^T) for D the change of the weights and H the Hessian of the inputs.
    """
    w, size = weight.float(), seen.mean.clamp(min=TINY)
    best, least = torch.ones_like(size), float("inf")
    for step in range(steps):
        factors = size ** (step / steps)
        factors = factors / (factors.max() * factors.min()).sqrt()
        scaled = w * factors
        fitted = fit_grid(scaled, **grid)
        change = fitted.decode(fitted.encode(scaled)) / factors - w
        error = float(((change @ seen.hessian) * change).sum())
        if error < least:
            best, least = factors, error
    return best
