"""What rounding weights to a few bits leaves of their size, and how much noise it adds.

Taught in: notebooks/05_quantization.ipynb.
"""

from dataclasses import dataclass

from costlab.estimate.checks import whole
from costlab.estimate.formulas import formula
from costlab.estimate.record import Record
from costlab.estimate.shapes import resolve_model

LEAST_GROUP = 8  # weights of a group from which the largest is as large as the theory says


@dataclass(frozen=True)
class QuantizedEstimate(Record):
    """Size in decimal GB before and after, and the noise of rounding to nearest.

    `error` is the root of the mean squared error over that of the weights, `noise_db` the same in
    decibels of signal over noise. Both hold for weights that are normally distributed.

    Taught in: notebooks/05_quantization.ipynb.
    """

    model: str
    bits: int
    group: int
    bits_per_weight: float
    gb_before: float
    gb: float
    times_smaller: float
    error: float
    noise_db: float


def quantized(model: object, *, bits: int = 4, group: int | None = 128) -> QuantizedEstimate:
    """Size and error of `model` after rounding its weights to nearest on a symmetric grid.

    Embedding and last matrix stay in 16 bits. The grid just reaches the largest weight of a group,
    whose expected size among normal weights is that of extreme-value theory.

    Args:
        model: a catalog id, a Transformer, a config.json, or the book's model.
        bits: of a code, 3 to 8 (with fewer, errors are no longer spread evenly over a step).
        group: weights that share a scale of 16 bits; None gives a row of the model's width one
            scale of 32 bits.

    Raises:
        ValueError: an argument is out of range, or an id is unknown.

    Taught in: notebooks/05_quantization.ipynb.
    """
    shape = resolve_model(model)
    bits = whole("bits", bits, least=3, most=8)
    scale_bits = 32 if group is None else 16
    group = shape.hidden if group is None else whole("group", group, least=LEAST_GROUP, most=10**6)
    found = formula("quantized")(
        params=shape.params, embedding_params=shape.embedding_params,
        head_params=shape.head_params, bits=bits, group=group, scale_bits=scale_bits,
    )  # fmt: skip
    figures = {name: found[name] for name in QuantizedEstimate.__annotations__ if name in found}
    return QuantizedEstimate(model=shape.name, bits=bits, group=group, **figures)
