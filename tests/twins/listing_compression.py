"""Twins of the claims of notebook 14: what they would be given if something were broken."""

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

import costlab


def digit_net(seed: int = 0) -> nn.Sequential:
    """The classifier of the chapter, untrained."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(88, 128), nn.ReLU(), nn.Linear(128, 10))


def changed(a: nn.Module, b: nn.Module) -> float:
    """How many numbers differ."""
    return float(sum((p != q).sum().item() for p, q in zip(a.parameters(), b.parameters())))


def changed_by_clipping() -> float:
    """A loop that clips instead of freezing, or a clipping that a loop leaves out."""
    return changed(costlab.clip_weights(digit_net(), threshold=0.05), digit_net())


def fewer_bytes() -> float:
    """A model that really is stored in fewer bytes."""
    whole, half = (
        len(safetensors.torch.save(m.state_dict())) for m in (digit_net(), digit_net().bfloat16())
    )
    return float(half - whole)


def moved_after_freezing(clear: bool) -> float:
    """How far two steps move a frozen weight, its old gradient removed or not."""
    weight = nn.Parameter(torch.ones(3))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.square().sum().backward()
    optimizer.step()
    weight.requires_grad = False
    if clear:
        optimizer.zero_grad()
    old = weight.clone()
    optimizer.step()
    optimizer.step()
    return (old - weight).abs().max().item()


def norms_that_ignore_size() -> float:
    """The root mean square of the elements instead of the norm: it does not grow."""
    large, small = (torch.full((n, n), 0.01).square().mean().sqrt().item() for n in (256, 128))
    return abs(large / small - 2)


def one_sided() -> float:
    """A threshold without the size: all negative weights go."""
    weight = digit_net()[0].weight.detach()
    return float((F.threshold(weight, 0.1, 0.0) != F.hardshrink(weight, 0.1)).sum())


def zeros_that_return() -> float:
    """A step of training with nothing put back."""
    model = costlab.clip_weights(digit_net(), threshold=0.05)
    gone = ~costlab.masks(model)["0"]
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model(torch.randn(32, 88)).square().mean().backward()
    optimizer.step()
    return float((model[0].weight[gone] != 0).sum())


TWINS = {
    # guessing
    "The classifier names more than nine digits in ten": lambda: 0.1,
    "Four times as many weights of the same size: twice the norm": norms_that_ignore_size,
    # a bias that was never trained
    "Every tensor of the classifier is above the article's threshold": lambda: (
        torch.zeros(10).norm().item()
    ),
    "After the loop, every number of the model is what it was": changed_by_clipping,
    "Frozen tensors take as many bytes as free ones": fewer_bytes,
    "A frozen weight with an old gradient is moved by the optimizer": lambda: moved_after_freezing(
        clear=True
    ),
    "Once its gradient is removed, a frozen weight stays": lambda: moved_after_freezing(
        clear=False
    ),
    # another model, never filled from the file
    "Built from code and filled from the file, the model is the same": lambda: changed(
        digit_net(1), digit_net(0)
    ),
    "The loop and torch's own hardshrink agree on every weight": one_sided,
    "clip_weights and the loop agree on every weight": changed_by_clipping,
    # zeros that stay by themselves
    "Trained on without masks, most zeros are zeros no longer": lambda: 0.0,
    "Trained on with masks, no zero comes back": zeros_that_return,
    # no training at all
    "And the weights that are left win back accuracy": lambda: 0.0,
    # every weight gone: guessing
    "The threshold 0.1 costs the classifier next to no accuracy": lambda: 0.88,
    # clipping that does nothing
    "The same 0.1 costs the language model more than a bit per byte": lambda: 0.0,
    # a model that was ruined
    "A threshold of 0.02 costs it less than a tenth of a bit": lambda: 6.0,
    "Stored as usual, the clipped model takes as many bytes": fewer_bytes,
    # a machine that skips zeros
    "Zeros alone do not make a step much faster": lambda: 0.5,
}
