"""GPTQ: round a column, then move the columns after it to make up for the error.

From the second-order expansion of the layer's output error (arXiv:2210.17323, after Hassibi and
Stork's optimal brain surgeon of 1993). Taught in notebook 05; pruning does the same in notebook 10.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from costlab.compress.rounding import Grid

BLOCK = 128  # columns corrected one by one before the rest of the matrix is corrected at once


def inverse_factor(hessian: Tensor, damping: float = 0.01) -> Tensor:
    """Upper triangular U with U^T U = (H + damping x mean diagonal x I)^-1, all (inputs, inputs).

    Row i of U holds what an error in column i does to the columns after it, once the columns before
    it are fixed.
    """
    h = hessian.double()
    diagonal = h.diagonal()
    h = h + torch.eye(len(h), dtype=h.dtype, device=h.device) * diagonal.mean() * damping
    # a column that never sees an input has no error to make up for
    dead = diagonal == 0
    h[dead, dead] = diagonal.mean().clamp(min=1e-8)
    inverse = torch.cholesky_inverse(torch.linalg.cholesky(h))
    return torch.linalg.cholesky(inverse, upper=True).to(hessian.dtype)


def settle_columns(
    weight: Tensor,
    hessian: Tensor,
    settle: Callable[[int, Tensor, Tensor], Tensor],
    *,
    damping: float = 0.01,
) -> Tensor:
    """Fix the columns one after another; those that follow make up for each change.

    weight: float (rows, columns). hessian: mean of x^T x of the layer's inputs (columns, columns).
    settle: column number, the matrix as it stands and the inverse factor -> the values (rows,) that
    this column takes for good. Returns the settled matrix.
    """
    w, factor = weight.clone(), inverse_factor(hessian, damping)
    width = w.shape[1]
    for first in range(0, width, BLOCK):
        last = min(first + BLOCK, width)
        errors = torch.empty_like(w[:, first:last])
        for i in range(first, last):
            values = settle(i, w, factor)
            error = (w[:, i] - values) / factor[i, i]
            w[:, i] = values
            w[:, i + 1 : last] -= error[:, None] * factor[i, i + 1 : last]
            errors[:, i - first] = error
        w[:, last:] -= errors @ factor[first:last, last:]
    return w


def gptq(weight: Tensor, hessian: Tensor, grid: Grid, *, damping: float = 0.01) -> Tensor:
    """Codes, int8 (rows, columns), that keep the layer's output close to that of `weight`.

    weight: float (rows, columns). hessian: mean of x^T x of the layer's inputs (columns, columns).
    For a diagonal Hessian they are the nearest codes.
    """
    codes = torch.empty_like(weight, dtype=torch.int8)

    def nearest(i: int, w: Tensor, factor: Tensor) -> Tensor:
        column = grid.column(i, w.shape[1])
        codes[:, i : i + 1] = column.encode(w[:, i : i + 1])
        return column.decode(codes[:, i : i + 1])[:, 0]

    settle_columns(weight.float(), hessian, nearest, damping=damping)
    return codes
