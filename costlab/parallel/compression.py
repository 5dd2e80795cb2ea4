"""Send less: gradients of which only the largest entries travel. Taught in notebook 09."""

from __future__ import annotations

from collections.abc import Iterable

import torch
import torch.distributed as dist
from torch import Tensor, nn


class TopK:
    """Averages the largest entries of each gradient over ranks, and keeps the rest for later.

    share: of the entries of each tensor that travel, above 0 up to 1, at least one of each.
    feedback: add to the next gradient what did not travel this time (error feedback,
    arXiv:1809.10505, arXiv:1901.09847); without, it is forgotten.

        compress = TopK(0.01)
        loss.backward()
        compress.average_(model.parameters())
        optimizer.step()

    Raises ValueError. Taught in: notebooks/09_gradient_parallel.ipynb.
    """

    def __init__(self, share: float, *, feedback: bool = True) -> None:
        number = isinstance(share, int | float) and not isinstance(share, bool)
        if not number or not 0 < share <= 1:
            raise ValueError(f"share must be above 0 and at most 1, got {share!r}")
        self.share, self.feedback = share, feedback
        self.waiting: dict[nn.Parameter, Tensor] = {}

    @torch.no_grad()
    def average_(self, parameters: Iterable[nn.Parameter]) -> None:
        """Put the average of what all ranks send into every `grad`, in place."""
        for p in parameters:
            if p.grad is not None:
                p.grad.copy_(self._average(p, p.grad.flatten()).view_as(p.grad))

    def _average(self, parameter: nn.Parameter, gradient: Tensor) -> Tensor:
        if parameter in self.waiting:
            gradient = gradient + self.waiting[parameter]
        values, indices = largest(gradient, self.share)
        if self.feedback:
            self.waiting[parameter] = gradient.index_fill(0, indices, 0.0)
        ranks = dist.get_world_size()
        all_values = [torch.empty_like(values) for _ in range(ranks)]
        all_indices = [torch.empty_like(indices, dtype=torch.int32) for _ in range(ranks)]
        dist.all_gather(all_values, values)
        dist.all_gather(all_indices, indices.int())
        total = torch.zeros_like(gradient)
        for found, where in zip(all_values, all_indices):
            total.index_add_(0, where.long(), found)
        return total.div_(ranks)


def largest(gradient: Tensor, share: float) -> tuple[Tensor, Tensor]:
    """Values and indices of the largest entries in size of a flat tensor, at least one."""
    count = max(1, round(share * gradient.numel()))
    indices = gradient.abs().topk(count, sorted=False).indices
    return gradient[indices], indices
