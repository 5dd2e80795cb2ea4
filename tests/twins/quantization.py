"""Twins of the claims of notebook 05: what they would be given if something were broken."""

from functools import cache
from itertools import pairwise

import torch
from torch import nn

import costlab
from costlab import catalog
from costlab.bill.counting import bytes_in_memory
from costlab.bill.quality import score
from costlab.compress.gptq import gptq
from costlab.compress.kernels import integer_matmul
from costlab.compress.rounding import fit_grid, noise_db
from costlab.lm import corpus
from costlab.lm.trainer import bits_per_byte


def matrix() -> torch.Tensor:
    """Weights as a layer has them."""
    return torch.randn(64, 128, generator=torch.Generator().manual_seed(0))


def codes_with_another_convention() -> float:
    """A scale of the largest weight over 127: some codes differ."""
    weight = matrix()
    other = (weight / weight.abs().amax(1, keepdim=True) * 127).round().to(torch.int8)
    return float((fit_grid(weight, bits=8).encode(weight) != other).sum())


def best_scale(weight: torch.Tensor, bits: int, rule: float = 1.0) -> float:
    """The scale of least noise over that of a rule: the package's, or one times as long."""
    found, grid = {}, fit_grid(weight, bits=bits)
    for k in range(-8, 9):
        scaled = type(grid)(bits, grid.scale * rule * 2 ** (k / 4), grid.zero_point)
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


def error_of_the_layer(forgets: bool) -> float:
    """Good and bad layer exchanged: the zero point's term is missing, or it is not."""
    weight = torch.randn(16, 64, generator=torch.Generator().manual_seed(0)) * 0.02 + 0.02
    grid = fit_grid(weight, bits=8, symmetric=False)
    x = torch.randn(8, 64, generator=torch.Generator().manual_seed(1))
    right = x @ grid.decode(grid.encode(weight)).t()
    values = grid.encode(weight).float() - (0 if forgets else grid.zero_point)
    return float((right - x @ (values * grid.scale).t()).norm() / right.norm())


def compensation_for_independent_inputs() -> float:
    """Inputs that have nothing to do with each other: there is nothing to make up with."""
    weight = torch.randn(64, 8, generator=torch.Generator().manual_seed(0))
    grid = fit_grid(weight, bits=3)
    codes = gptq(weight, torch.eye(8), grid), grid.encode(weight)
    better, plain = (grid.decode(found) - weight for found in codes)
    return float(better.norm() / plain.norm())


@cache
def two_bits() -> tuple[nn.Module, nn.Module, list[torch.Tensor]]:
    """The book's model, the same in two bits for eight, still in floats, and a little text."""
    model = costlab.load_model()
    rough = costlab.quantize(model, bits=2, simulate=True)
    return model, rough, corpus.validation_batches(limit=1024)


def bits_lost_in_two_bits() -> float:
    model, rough, text = two_bits()
    return bits_per_byte(rough, text) - bits_per_byte(model, text)


def flips_in_two_bits() -> float:
    model, rough, text = two_bits()
    return score(rough, text, model).flips


def memory_of_a_model_in_floats() -> float:
    """Values rounded, and kept in as many bytes as before."""
    model, rough, _ = two_bits()
    return bytes_in_memory(rough) / bytes_in_memory(model)


def prediction_from_bytes_alone() -> float:
    """A quarter of the time at a quarter of the bytes, as if nothing else took any."""
    rows = {
        r.precision: r.value
        for r in catalog.serving_results("decode")
        if (r.model, r.accelerator, r.devices) == ("llama-2-7b", "a100-80gb", 1)
        and r.software.startswith("gpt-fast")
    }
    return abs(rows["int4"] / rows["bf16"] / 4 - 1)


def unchanged() -> float:
    """A ratio of two figures that are one and the same, exact by definition: nothing was done."""
    return 1.0


TWINS = {
    "These lines and the package give the same codes": codes_with_another_convention,
    "Fewer than one code in a thousand differs from torchao's": lambda: (
        codes_with_another_convention() / matrix().numel()
    ),
    # weights that all lie at the end of the ruler: a smaller scale only clips them
    "At four bits, clipping the largest weights a little loses less": lambda: best_scale(
        torch.ones(4, 64), bits=4
    ),
    # a rule that clips too much
    "At eight bits the rule's scale is the best": lambda: best_scale(
        matrix(), bits=8, rule=2**-0.25
    ),
    "s²/12 predicts the noise to within a tenth of a decibel": decibels_off_when_bits_are_ignored,
    "From four bits on, each bit buys six decibels": decibels_of_a_grid_that_ignores_bits,
    "The integer product is exact, at the extremes too": product_that_overflows,
    # codes that a kernel unpacks at no cost
    "Weights alone as integers gain nothing for a lone row": unchanged,
    # integers that are as slow as floats
    "From sixteen rows on integers win, if the processor has the instruction, and only then": (
        unchanged
    ),
    "Sixteen requests at once are written faster in 8-bit integers, if the processor has the "
    "instruction, and only then": unchanged,
    "The correct layer agrees with its dequantized twin": lambda: error_of_the_layer(True),
    "The layer that forgets the zero point is caught": lambda: error_of_the_layer(False),
    "One scale for each row loses less than one for each layer": bits_lost_in_two_bits,
    # factors of one: nothing is moved
    "SmoothQuant mends a good part of what static scales lose": unchanged,
    "Row scales and SmoothQuant together lose next to nothing": bits_lost_in_two_bits,
    # groups and GPTQ that do nothing
    "GPTQ in groups at 3 bits loses a third of rounding per row, or less": unchanged,
    "Making up for errors lowers the error of the output": compensation_for_independent_inputs,
    # a method that rounds to nearest
    "On this little text, too, GPTQ loses less than rounding": unchanged,
    "At four bits GPTQ adds at most half the loss of rounding": unchanged,
    "At three bits GPTQ adds at most half the loss of rounding": unchanged,
    # a cache of floats
    "A cache of eight bits takes less than three tenths of the bytes": unchanged,
    "Two published times predict the third to within a tenth": prediction_from_bytes_alone,
    "torchao's model has our quality": bits_lost_in_two_bits,
    "Eight bits cut the memory of the model to less than a third": memory_of_a_model_in_floats,
    "Eight bits change fewer than one likeliest byte in thirty": flips_in_two_bits,
    "The quantized layers take at most 0.15 of their bytes, with scales": (
        memory_of_a_model_in_floats
    ),
    "In four bits the model takes less than a fifth of the memory": memory_of_a_model_in_floats,
}
# What one scale for each layer loses when the notebook is right.
COMPUTED = {"One scale for each row loses less than one for each layer": 0.03}
