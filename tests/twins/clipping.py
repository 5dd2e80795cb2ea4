"""Twins of the claims of notebook 04: what they would be given if something were broken."""

import math

import torch
from torch.nn import functional as F

import costlab
from costlab import catalog
from costlab.lm import corpus
from costlab.lm.trainer import bits_per_byte


def one_sided() -> float:
    """A threshold without the size: all negative weights go."""
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    return float((F.threshold(weight, 0.5, 0.0) != F.hardshrink(weight, 0.5)).sum())


def bell_for_uniform_weights() -> float:
    """Weights that are not spread like a bell curve: the prediction is off."""
    weight = torch.linspace(-1, 1, 1001)
    spread = float(weight.std())
    shares = [
        abs(math.erf(t / spread / math.sqrt(2)) - float((weight.abs() <= t).float().mean()))
        for t in (0.1, 0.5, 0.7)
    ]
    return max(shares)


def energy_of_any_half() -> float:
    """A half that was not chosen by size."""
    weight = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    return float(weight[:500].square().sum() / weight.square().sum())


def lost_with_every_weight() -> float:
    """A threshold in another unit: every weight of the book's model is under it."""
    model, text = costlab.load_model(), corpus.validation_batches(limit=1024)
    nothing_left = costlab.clip_weights(model, threshold=100.0)
    return bits_per_byte(nothing_left, text) - bits_per_byte(model, text)


def methods_exchanged() -> float:
    """The loss by size over the loss with the inputs, instead of the other way round."""
    ratios = []
    for name in ("llama-2-7b", "llama-2-13b", "llama-2-70b"):
        rows = catalog.quality_results(technique="pruning", model=name)
        found = {r.method: math.log2(r.value) for r in rows if "pattern" not in r.note}
        lost = {method: value - found["none"] for method, value in found.items()}
        ratios.append(lost["magnitude"] / lost["wanda"])
    return max(ratios)


def a_kernel_that_skips_zeros() -> float:
    """Nine zeros in ten cut to a tenth of the time: what the claim denies."""
    return 0.1


def bf16_against_float32() -> float:
    """A format that does store fewer bytes."""
    weight = torch.zeros(8, 8)
    return weight.bfloat16().nbytes / weight.nbytes


def trained(masked: bool) -> tuple[int, int]:
    """Zeros before and after a step, with the zeros put back or not."""
    weight = torch.nn.Parameter(torch.tensor([0.0, 0.0, 0.5, -0.5]))
    kept, before = weight.detach() != 0, 2
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    (weight - 1).square().sum().backward()
    optimizer.step()
    if masked:
        weight.data[~kept] = 0
    return before, int((weight == 0).sum())


TWINS = {
    "The line, the package and torch's hardshrink agree on every weight": one_sided,
    "The bell curve predicts the share of zeros to within eight points": bell_for_uniform_weights,
    "The smaller half of the weights holds under a tenth of the energy": energy_of_any_half,
    # weights that are a bell curve
    "At every threshold there are more small weights than it predicts": lambda: 0.0,
    "A fifth of the weights can go for less than a twentieth of a bit": lost_with_every_weight,
    # clipping that does nothing
    "The same model, clipped well past half, loses more than half a bit": lambda: 0.0,
    # a sparse format that skips zeros at no cost
    "Half of the weights zero, stored with indices, is no faster": lambda: 0.5,
    "Nine zeros in ten do not halve the time of a dense product": a_kernel_that_skips_zeros,
    "Clipped and stored as usual, the model takes as many bytes": bf16_against_float32,
    # a bitmask beside values that are all kept
    "Stored behind a bitmask, the clipped model takes fewer": lambda: (1 + 32) / 32,
    "Without masks not one zero in ten is left": lambda: trained(True)[1] / trained(True)[0],
    "With masks, put back after each step, every zero is left": lambda: (
        trained(False)[1] - trained(False)[0]
    ),
    # torch prunes at another size than the threshold
    "At the median, torch prunes the weights that clipping zeroes": one_sided,
    # published figures with the methods exchanged
    "Looking at the inputs loses less than size alone, in all three": methods_exchanged,
    "Clipping saves no byte of memory": bf16_against_float32,
    # a machine that skips zeros
    "A step of the clipped model is not much faster": lambda: 0.5,
}
