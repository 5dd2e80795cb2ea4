"""All-reduce written out: a ring of sends and receives. Taught in notebook 07."""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor
from torch.nn import functional as F


def ring_all_reduce_(tensor: Tensor) -> Tensor:
    """Add up `tensor` over all ranks, in place, with 2(N-1) steps of one chunk each.

    Each rank sends to its right neighbor and hears from its left. In the first N-1 steps chunks
    gather their sums on the way round (a reduce-scatter), in the last N-1 the finished chunks go
    round once more (an all-gather): 2 Ψ(N-1)/N bytes per rank, whatever N is, for Ψ bytes. Where N
    does not divide the number of elements, zeros fill up the last chunk.

    The method is from Patarasuk and Yuan, https://doi.org/10.1016/j.jpdc.2008.09.002; at work, call
    `torch.distributed.all_reduce`. Taught in: notebooks/07_data_parallel.ipynb.
    """
    if not isinstance(tensor, Tensor) or not (tensor.is_floating_point() or tensor.is_complex()):
        raise TypeError(f"tensor must be a tensor of floats, got {type(tensor).__name__}")
    if not dist.is_initialized():
        raise ValueError("ring_all_reduce_ needs a process group: see costlab.parallel.launch")
    rank, ranks = dist.get_rank(), dist.get_world_size()
    flat = F.pad(tensor.detach().reshape(-1), (0, -tensor.numel() % ranks))
    chunks = list(flat.chunk(ranks)) if tensor.numel() else []
    steps = range(ranks - 1) if chunks else ()
    for step in steps:  # after these, rank r holds the whole sum of chunk r + 1
        chunks[(rank - step - 1) % ranks] += pass_on(chunks[(rank - step) % ranks])
    for step in steps:
        chunks[(rank - step) % ranks].copy_(pass_on(chunks[(rank - step + 1) % ranks]))
    tensor.detach().copy_(flat[: tensor.numel()].view_as(tensor))
    return tensor


def pass_on(chunk: Tensor) -> Tensor:
    """Send a chunk to the right while the left neighbor's comes in; returns that one."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    received = torch.empty_like(chunk)
    exchange = [
        dist.P2POp(dist.isend, chunk, (rank + 1) % ranks),
        dist.P2POp(dist.irecv, received, (rank - 1) % ranks),
    ]
    for work in dist.batch_isend_irecv(exchange):
        work.wait()
    return received
