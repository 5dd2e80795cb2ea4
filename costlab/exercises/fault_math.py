"""The suspects of the failure lab that compute with tensors; see `costlab.exercises.faults`.

Read this file and you know the answers.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def numbers(*shape: int, seed: int = 0) -> Tensor:
    """Seeded draws from the normal distribution, float64, of the given shape."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def network(seed: int = 0) -> nn.Sequential:
    """A small network of 6 inputs, 8 neurons and 2 outputs, float64."""
    net = nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 2)).double()
    for i, p in enumerate(net.parameters()):
        p.data = numbers(*p.shape, seed=seed + i) / 3
    return net


def lesson(rows: int = 32, seed: int = 9) -> tuple[Tensor, Tensor]:
    """Inputs (rows, 6) and what a network is to answer to them (rows, 2)."""
    x = numbers(rows, 6, seed=seed)
    return x, torch.stack([x[:, 0] * x[:, 1], x.sum(1).sin()], dim=1)


# --- case 1: two processes share a batch and average gradients


def _train_two(averaged: Callable[[nn.Parameter], bool], steps: int) -> tuple:
    ranks, (x, y) = [network(), network()], lesson()
    losses = []
    for _ in range(steps):
        mine = [F.mse_loss(net(x[r::2]), y[r::2]) for r, net in enumerate(ranks)]
        grads = [torch.autograd.grad(v, list(n.parameters())) for v, n in zip(mine, ranks)]
        for place, pair in enumerate(zip(*(net.parameters() for net in ranks))):
            both = [g[place] for g in grads]
            if averaged(pair[0]):
                both = [sum(both) / 2] * 2
            for p, g in zip(pair, both):
                p.data -= 0.2 * g
        losses.append(sum(mine).item() / 2)
    return ranks, losses


def averages_all(steps: int) -> tuple:
    """The two models and the losses after so many steps."""
    return _train_two(lambda p: True, steps)


def averages_matrices(steps: int) -> tuple:
    """Vectors were left out of the buckets: each process keeps its own gradient for them."""
    return _train_two(lambda p: p.ndim > 1, steps)


# --- case 2: a matrix in 8 bits


def scales_rows(w: Tensor) -> Tensor:
    """A matrix after rounding to 8 bits, a scale for each row."""
    scale = w.abs().amax(1, keepdim=True) / 127
    return (w / scale).round() * scale


def scales_columns(w: Tensor) -> Tensor:
    """The maximum was taken along the other axis, and a square matrix does not complain."""
    scale = w.abs().amax(0, keepdim=True) / 127
    return (w / scale).round() * scale


# --- case 3: a correction that is fitted to text


def _fit(x: Tensor) -> Callable[[Tensor], Tensor]:
    target, coarse = numbers(40, 4), lambda t: (t * 1.5).round() / 1.5
    weights = torch.linalg.lstsq(coarse(x), x @ target).solution

    def error(t: Tensor) -> float:
        return float((coarse(t) @ weights - t @ target).square().mean())

    return error


def calibrates_apart(calibration: Tensor, test: Tensor) -> Callable[[Tensor], float]:
    """Fit a coarse layer to one text; returns its mean squared error on any other."""
    return _fit(calibration)


def calibrates_on_test(calibration: Tensor, test: Tensor) -> Callable[[Tensor], float]:
    """The two arguments are mixed up: it is fitted to the text that will judge it."""
    return _fit(test)


# --- case 4: training on after pruning


def _train_pruned(steps: int, back: bool) -> nn.Sequential:
    net, (x, y) = network(), lesson()
    optimizer = torch.optim.AdamW(net.parameters(), lr=0.02, weight_decay=0.01)
    masks = None
    for step in range(4 + steps):
        if step == 4:  # pruned in the middle of a run: the optimizer remembers the time before
            masks = [p.detach().abs() > p.detach().abs().median() for p in net.parameters()]
            for p, mask in zip(net.parameters(), masks):
                p.data *= mask
        F.mse_loss(net(x), y).backward()
        for p, mask in zip(net.parameters(), masks or []):
            p.grad *= mask
        optimizer.step()
        optimizer.zero_grad()
        for p, mask in zip(net.parameters(), masks or []) if back else ():
            p.data *= mask
    return net


def puts_zeros_back(steps: int) -> nn.Sequential:
    """A network with half of its weights at zero, trained on for so many steps."""
    return _train_pruned(steps, back=True)


def masks_gradients(steps: int) -> nn.Sequential:
    """The gradients are masked, but the optimizer's running means move the zeros."""
    return _train_pruned(steps, back=False)


# --- case 8: attention that writes one token after the other


def full_attention(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Causal attention over all positions at once, all (positions, width), by torch."""
    return F.scaled_dot_product_attention(q[None], k[None], v[None], is_causal=True)[0]


def _step_by_step(q: Tensor, k: Tensor, v: Tensor, own: int) -> Tensor:
    rows = []
    for t in range(len(q)):
        seen = slice(0, max(1, t + own))  # what of the cache this step may see
        weights = (q[t] @ k[seen].T / q.shape[1] ** 0.5).softmax(0)
        rows.append(weights @ v[seen])
    return torch.stack(rows)


def sees_itself(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Attention with a cache, one position after the other."""
    return _step_by_step(q, k, v, own=1)


def sees_only_before(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """The mask is cut before the newest key is in the cache: off by one."""
    return _step_by_step(q, k, v, own=0)


# --- case 9: a batch in several pieces


def _loss(net: nn.Module, batch: tuple, reduction: str) -> Tensor:
    return F.mse_loss(net(batch[0]), batch[1], reduction=reduction)


def averages_tokens(net: nn.Module, batches: list[tuple]) -> list[Tensor]:
    """Gradients of the mean loss over a batch that comes in pieces (x, y)."""
    count = sum(y.numel() for _, y in batches)
    loss = sum(_loss(net, batch, "sum") for batch in batches) / count
    return list(torch.autograd.grad(loss, list(net.parameters())))


def averages_means(net: nn.Module, batches: list[tuple]) -> list[Tensor]:
    """The mean of the pieces' means: a short piece counts as much as a long one."""
    loss = sum(_loss(net, batch, "mean") for batch in batches) / len(batches)
    return list(torch.autograd.grad(loss, list(net.parameters())))
