"""A mixture of experts in place of an MLP, and its experts spread over processes.

Taught in: notebooks/08_model_parallel.ipynb.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn import functional as F

from costlab.lm.model import MLP, Config


class Experts(nn.Module):
    """`experts` gated MLPs, of which a router gives each token its best `active` ones.

    A token's output is the sum of theirs, weighted by a softmax over the scores of those chosen
    (arXiv:2401.04088). config: `ffn` is the inner width of one expert.

    Raises ValueError unless 1 <= active <= experts. Taught in: notebooks/08_model_parallel.ipynb.
    """

    def __init__(self, config: Config, *, experts: int, active: int = 2) -> None:
        super().__init__()
        if not 1 <= active <= experts:
            raise ValueError(f"active must be from 1 to the {experts} experts, got {active!r}")
        self.active = active
        self.router = nn.Linear(config.width, experts, bias=False)
        self.experts = nn.ModuleList(MLP(config) for _ in range(experts))

    def route(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """x (tokens, width) -> scores (tokens, experts), chosen and weights (tokens, active)."""
        scores = self.router(x)
        best, chosen = scores.topk(self.active, dim=-1)
        return scores, chosen, best.softmax(dim=-1)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> (..., width); `balance` then holds this pass's `balance_loss`."""
        flat = x.flatten(0, -2)
        scores, chosen, weights = self.route(flat)
        self.balance = balance_loss(scores, chosen)
        out = torch.zeros_like(flat)
        for index, expert in enumerate(self.experts):
            token, place = (chosen == index).nonzero(as_tuple=True)
            if len(token):
                part = expert(flat[token]) * weights[token, place, None]
                out.index_add_(0, token, part.to(out.dtype))
        return out.view_as(x)


def balance_loss(scores: Tensor, chosen: Tensor) -> Tensor:
    """What to add, times 0.01, to the loss so that experts are used alike; 1 if they are.

    experts x sum over experts of (share of tokens) x (mean probability), arXiv:2101.03961.
    scores (tokens, experts), chosen (tokens, active). Taught in: notebooks/08_model_parallel.ipynb.
    """
    count = scores.shape[-1]
    share = F.one_hot(chosen, count).float().mean(dim=(0, 1))
    return count * (share * scores.float().softmax(dim=-1).mean(dim=0)).sum()


def parameter_counts(layer: Experts) -> dict[str, int]:
    """Parameters of a layer: "total", which memory holds, and "active", which one token uses."""
    one = sum(p.numel() for p in layer.experts[0].parameters())
    router = layer.router.weight.numel()
    return {"total": router + len(layer.experts) * one, "active": router + layer.active * one}


def experts_read(experts: int, active: int, tokens: int) -> float:
    """How many of a layer's experts `tokens` tokens touch, if each draws `active` at random.

    E (1 - (1 - k/E)^B): what is read from memory for a batch of B tokens, in experts.
    Taught in: notebooks/08_model_parallel.ipynb.
    """
    if not 1 <= active <= experts:
        raise ValueError(f"active must be from 1 to the {experts} experts, got {active!r}")
    if tokens < 0:
        raise ValueError(f"tokens must be at least 0, got {tokens!r}")
    return experts * (1 - (1 - active / experts) ** tokens)


def expert_parallel(layer: Experts, x: Tensor) -> Tensor:
    """What `layer(x)` gives for this process's tokens, each expert computing on one process alone.

    x (tokens, width), of this process; all processes call it, with equal routers. Process r holds
    the r-th part of the experts: only those of `layer` are used here. Four exchanges, each an
    all-to-all: how many tokens go where, the tokens, which expert each is for, and the results
    back. It computes results, not gradients. Raises ValueError where the number of processes does
    not divide the experts. Taught in: notebooks/08_model_parallel.ipynb.
    """
    ranks, experts = dist.get_world_size(), len(layer.experts)
    if experts % ranks:
        raise ValueError(f"experts ({experts}) must be a multiple of the {ranks} processes")
    _, chosen, weights = layer.route(x)
    order = chosen.flatten().argsort(stable=True)  # pairs of token and expert, by expert
    token, expert = order // layer.active, chosen.flatten()[order]
    sent = torch.bincount(expert // (experts // ranks), minlength=ranks)
    came = torch.empty_like(sent)
    dist.all_to_all_single(came, sent)
    to, fro = sent.tolist(), came.tolist()
    work = _exchange(x[token], fro, to)
    which = _exchange(expert, fro, to)
    done = torch.zeros_like(work)
    for index in which.unique().tolist():
        done[which == index] = layer.experts[index](work[which == index])
    back = _exchange(done, to, fro) * weights.flatten()[order, None]
    return torch.zeros_like(x).index_add_(0, token, back)


def _exchange(rows: Tensor, come: list[int], go: list[int]) -> Tensor:
    """Send `go[r]` of the rows, in order, to each process r; returns the `come[r]` from each."""
    received = rows.new_empty(sum(come), *rows.shape[1:])
    dist.all_to_all_single(received, rows.contiguous(), come, go)
    return received
