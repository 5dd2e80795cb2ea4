"""What the processes of the tests on compression do."""

import torch
import torch.distributed as dist
from torch import nn

from costlab.parallel import count_collectives
from costlab.parallel.compression import TopK


def averages():
    scale = (1.0, -10.0)[dist.get_rank()]
    gradient = torch.tensor([1.0, 2.0, 3.0, 4.0]) * scale
    dense = gradient.clone() / 2
    dist.all_reduce(dense)
    found = {"dense": dense, "all": _averaged(TopK(1.0), gradient)}
    half, p = TopK(0.5), nn.Parameter(torch.zeros(4))
    with count_collectives() as traffic:
        found["half"] = _averaged(half, gradient, p)
    found["sent"] = traffic.sent
    found["waiting"] = half.waiting[p].clone()
    found["next"] = _averaged(half, torch.zeros(4), p)
    forgetful = TopK(0.5, feedback=False)
    _averaged(forgetful, gradient, p)
    found["forgotten"] = _averaged(forgetful, torch.zeros(4), p)
    return found


def _averaged(compress, gradient, p=None):
    p = nn.Parameter(torch.zeros(4)) if p is None else p
    p.grad = gradient.clone()
    compress.average_([p])
    return p.grad
