"""Twins of the claims of notebook 05: what they would be given if something were broken."""

from itertools import pairwise

import torch

from costlab.compress.kernels import integer_matmul
from costlab.compress.rounding import fit_grid, noise_db


def matrix() -> torch.Tensor:
    """Weights as a layer has them."""
    return torch.randn(64, 128, generator=torch.Generator().manual_seed(0))


def codes_with_another_convention() -> float:
    """A scale of the largest weight over 127: some codes differ."""
    weight = matrix()
    other = (weight / weight.abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    return float((fit_grid(weight, bits=8).encode(weight) != other).sum())


def best_scale_when_nothing_clips() -> float:
    """Weights that all lie at the end of the ruler: a smaller scale only clips them."""
    weight = torch.ones(4, 64)
    found = {}
    for k in range(-8, 9):
        grid = fit_grid(weight, bits=4)
        scaled = type(grid)(4, grid.scale * 2 ** (k / 4), grid.zero_point)
        found[2 ** (k / 4)] = float((scaled.decode(scaled.encode(weight)) - weight).norm())
    return max(ratio for ratio, error in found.items() if error <= min(found.values()) + 1e-6)


def decibels_of_a_grid_that_ignores_bits() -> float:
    """Rounding that always takes four bits: further bits buy nothing."""
    weight = matrix()
    grid = fit_grid(weight, bits=4)
    levels = [-noise_db(weight, grid.decode(grid.encode(weight)))] * 7
    return max(abs(a - b - 6.02) for a, b in pairwise(levels))


def decibels_off_when_bits_are_ignored() -> float:
    """Rounding to four bits against the prediction for eight."""
    weight = matrix()
    four, eight = (fit_grid(weight, bits=bits) for bits in (4, 8))
    levels = [-noise_db(weight, g.decode(g.encode(weight))) for g in (four, eight)]
    return abs(levels[0] - levels[1])


def product_that_overflows() -> float:
    """Sums kept in sixteen bits."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randint(-128, 128, (4, 384), generator=generator).to(torch.int8) for _ in "ab")
    x = x.abs()
    w = w.abs()
    right = x.long() @ w.long().t()
    wrong = integer_matmul(x, w).to(torch.int16).long()
    return float((right != wrong).sum())


def error_of_the_layer_that_forgets() -> float:
    """The good layer replaced by the bad one: the zero point's term is missing."""
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.02
    grid = fit_grid(weight, bits=8, symmetric=False)
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    right = x @ grid.decode(grid.encode(weight)).t()
    wrong = x @ (grid.encode(weight).float() * grid.scale).t()
    return float((right - wrong).norm() / right.norm())


def compensation_for_independent_inputs() -> float:
    """Inputs that have nothing to do with each other: there is nothing to make up with."""
    weight = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    grid = fit_grid(weight, bits=3)
    nearest = grid.decode(grid.encode(weight))
    return float((nearest - weight).norm() / (nearest - weight).norm())


TWINS = {
    "These lines and the package give the same codes": codes_with_another_convention,
    "Fewer than one code in a thousand differs from torchao's": lambda: (
        codes_with_another_convention() / matrix().numel()
    ),
    "At four bits, clipping the largest weights a little loses less": best_scale_when_nothing_clips,
    # a rule that clips too much
    "At eight bits the rule's scale is the best": lambda: 0.84,
    "s²/12 predicts the noise to within a tenth of a decibel": decibels_off_when_bits_are_ignored,
    "From four bits on, each bit buys six decibels": decibels_of_a_grid_that_ignores_bits,
    "The integer product is exact, at the extremes too": product_that_overflows,
    # codes that a kernel unpacks at no cost
    "Weights alone as integers gain nothing for a lone row": lambda: 1.0,
    # integers that are as slow as floats
    "Integer products beat float32 from sixteen rows on": lambda: 1.0,
    "Sixteen requests at once are written faster in 8-bit integers": lambda: 1.0,
    "The correct layer agrees with its dequantized twin": error_of_the_layer_that_forgets,
    # a layer that does not forget
    "The layer that forgets the zero point is caught": lambda: 0.0,
    # one scale for each row that loses as much as one for each layer, at what that loses
    "One scale for each row loses less than one for each layer": lambda: 0.03,
    # factors of one: nothing is moved
    "SmoothQuant mends a good part of what static scales lose": lambda: 1.0,
    # factors that leave the outliers where they were
    "Row scales and SmoothQuant together lose next to nothing": lambda: 0.03,
    # groups and GPTQ that do nothing
    "At three bits, GPTQ in groups loses a third of rounding, or less": lambda: 1.0,
    "Making up for errors lowers the error of the output": compensation_for_independent_inputs,
    # a method that rounds to nearest
    "On this little text, GPTQ loses less than rounding at both widths": lambda: 1.0,
    "At four bits GPTQ adds at most half the loss of rounding": lambda: 1.0,
    "At three bits GPTQ adds at most half the loss of rounding": lambda: 1.0,
    # a cache of floats
    "A cache of eight bits takes less than three tenths of the bytes": lambda: 1.0,
    # nothing but carrying: a quarter of the time at a quarter of the bytes
    "Two published times predict the third to within a tenth": lambda: abs(
        104.9 / 196.8 / (1 / 4) - 1
    ),
    # a model quantized to three bits
    "torchao's model has our quality": lambda: 0.06,
    # codes stored in four bytes each
    "Eight bits cut the memory of the model to less than a third": lambda: 1.0,
    # three bits, which change far more
    "Eight bits change less than one likeliest byte in fifty": lambda: 0.1,
}
COMPUTED = {"One scale for each row loses less than one for each layer": 0.03}
