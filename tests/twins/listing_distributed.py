"""Twins of the claims of notebook 15: what they would be given if something were broken."""

import os
from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.testing._internal.distributed.fake_pg import FakeStore
from torch.utils.data import DataLoader, DistributedSampler

from costlab.parallel import count_collectives

ROWS = 64


def trained(scale: float = 1.0, rows: slice = slice(None)) -> torch.Tensor:
    """The weights after a few steps on some of the rows, with gradients times `scale`."""
    torch.manual_seed(0)
    inputs, labels = torch.randn(ROWS, 8), torch.arange(ROWS) % 3
    model = nn.Linear(8, 3)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for _ in range(5):
        optimizer.zero_grad()
        (scale * F.cross_entropy(model(inputs[rows]), labels[rows])).backward()
        optimizer.step()
    return model.weight.detach()


def apart(first: torch.Tensor, second: torch.Tensor) -> float:
    """The largest difference."""
    return (first - second).abs().max().item()


def halves_without_averages() -> float:
    """Two processes that each keep the gradient of their own half."""
    return apart(trained(rows=slice(0, 32)), trained(rows=slice(32, 64)))


def largest_batch(size: int) -> float:
    """Of a loader that was told the size in time."""
    return float(max(len(rows) for rows in DataLoader(torch.zeros(200, 1), batch_size=size)))


def share(processes: int) -> float:
    """Of 4000 pictures, as torch's sampler deals them out."""
    return float(
        len(DistributedSampler(range(4000), num_replicas=processes, rank=0, shuffle=False))
    )


def sent_beyond(reductions: int) -> Callable[[], float]:
    """Bytes beyond the gradients', if each is reduced so many times in a step, by two ranks."""

    def value() -> float:
        gradients = torch.ones(1000)
        dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
        try:
            with count_collectives() as traffic:
                for _ in range(reductions):
                    dist.all_reduce(gradients)
        finally:
            dist.destroy_process_group()
        return traffic.sent - 4 * gradients.numel()

    return value


TWINS = {
    # a loop whose batches go to two processes
    "All batches are worked on in one process": lambda: float(len({os.getpid(), os.getppid()})),
    "A batch size set behind the loader changes no batch": lambda: largest_batch(64),
    # a launch that calls its function here, twice
    "Two processes beside this one have worked": lambda: float(
        len({os.getpid()} | {os.getpid() for _ in range(2)})
    ),
    "Each of them saw half of the pictures": lambda: share(1),
    # half of the steps: each process took batches of 32
    "Together they made as many steps as one process": lambda: share(2) / 32 - share(1) / 32,
    # gradients that were added up and not divided
    "Two processes end with the weights of one": lambda: apart(trained(), trained(scale=2.0)),
    "Both of them hold the same weights, to the last bit": halves_without_averages,
    "Two processes send four bytes per weight and step": sent_beyond(reductions=2),
    "torch's DistributedDataParallel gives the same weights": halves_without_averages,
    "Without a sampler each process works on all pictures": lambda: share(2),
    # one model, whoever asks
    "Without averages the two processes end with two models": lambda: apart(trained(), trained()),
}
