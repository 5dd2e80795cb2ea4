"""Twins of the claims of notebook 14: what they would be given if something were broken."""

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F

import costlab
from costlab.bill.machine import best_of
from costlab.lm import corpus
from costlab.lm.trainer import bits_per_byte


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


def zeros_that_return(masked: bool) -> float:
    """Share of them after a step of training, with the zeros put back or not."""
    model = costlab.clip_weights(digit_net(), threshold=0.05)
    kept = costlab.masks(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    model(torch.randn(32, 88)).square().mean().backward()
    optimizer.step()
    if masked:
        costlab.apply_masks_(model, kept)
    return float((model[0].weight[~kept["0"]] != 0).float().mean())


def ten_patterns(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy copies of ten patterns, and which one each is."""
    dice = torch.Generator().manual_seed(1)
    patterns, labels = torch.randn(10, 88, generator=dice), torch.arange(count) % 10
    return patterns[labels] + 0.2 * torch.randn(count, 88, generator=dice), labels


def trained(net: nn.Sequential, steps: int) -> nn.Sequential:
    """The same net, after steps on the ten patterns."""
    inputs, labels = ten_patterns(100)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    for _ in range(steps):
        optimizer.zero_grad()
        F.cross_entropy(net(inputs), labels).backward()
        optimizer.step()
    return net


def accuracy(net: nn.Sequential) -> float:
    inputs, labels = ten_patterns(200)
    with torch.inference_mode():
        return float((net(inputs).argmax(-1) == labels).float().mean())


def accuracy_lost_with_every_weight() -> float:
    """A threshold that nothing passes: the net guesses."""
    net = trained(digit_net(), steps=30)
    return accuracy(net) - accuracy(costlab.clip_weights(net, threshold=100.0))


def accuracy_won_by_no_step() -> float:
    """Recovery that makes no step."""
    rough = costlab.clip_weights(trained(digit_net(), steps=30), threshold=0.1)
    return -accuracy(rough) + accuracy(trained(rough, steps=0))


def bits_lost(threshold: float) -> float:
    """Of the language model, at a threshold in another unit: above every weight, or under all."""
    model, text = costlab.load_model(), corpus.validation_batches(limit=1024)
    clipped = costlab.clip_weights(model, threshold=threshold)
    return bits_per_byte(clipped, text) - bits_per_byte(model, text)


def time_without_the_zeros() -> float:
    """Three weights in four removed, not set to zero: the product really is quicker."""
    weight, rows = torch.randn(1024, 1024), torch.randn(64, 1024)
    left = weight[:256].clone()
    with torch.inference_mode():
        whole = best_of(lambda: F.linear(rows, weight), "cpu", repeats=20)
        return best_of(lambda: F.linear(rows, left), "cpu", repeats=20) / whole


TWINS = {
    # a net that was never trained
    "The classifier names more than nine digits in ten": lambda: accuracy(digit_net()),
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
    "Trained on without masks, most zeros are zeros no longer": lambda: zeros_that_return(True),
    "Trained on with masks, no zero comes back": lambda: zeros_that_return(False),
    "And the weights that are left win back accuracy": accuracy_won_by_no_step,
    "The threshold 0.1 costs the classifier less than four points": (
        accuracy_lost_with_every_weight
    ),
    "The same 0.1 costs the language model more than a bit per byte": lambda: bits_lost(0.0),
    "A threshold of 0.02 costs it less than a tenth of a bit": lambda: bits_lost(100.0),
    "Stored as usual, the clipped model takes as many bytes": fewer_bytes,
    "Zeros alone do not make a step much faster": time_without_the_zeros,
}
