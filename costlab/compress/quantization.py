"""Quantization: weights, and where asked activations, as integers of a few bits.

Taught in notebook 05.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from tqdm import tqdm

from costlab.bill.checks import Data
from costlab.calibration import Statistics, calibration_batches, observe, walk
from costlab.compress.gptq import gptq
from costlab.compress.quantized import QuantizedLinear, RoundedLinear
from costlab.compress.rounding import fit_grid
from costlab.compress.smoothing import awq_factors, smoothquant_factors
from costlab.modules import (
    call_layers_,
    copy_sharing,
    replace_,
    require_layers,
    weight_of,
    with_weight,
)

CHOICES = {
    "granularity": ("channel", "tensor", "group"),
    "activations": (None, "dynamic", "static"),
    "method": ("rtn", "gptq", "smoothquant", "awq"),
}


@dataclass(frozen=True)
class _Plan:
    """How each layer is to be quantized."""

    bits: int
    granularity: str
    group_size: int | None
    symmetric: bool
    activations: str | None
    method: str
    simulate: bool

    def grid(self, width: int) -> dict:
        """What `fit_grid` takes, for a matrix of `width` columns."""
        groups = width // self.group_size if self.granularity == "group" else 1
        whole = self.granularity == "tensor"
        return {
            "bits": self.bits,
            "groups": groups,
            "per_row": not whole,
            "symmetric": self.symmetric,
        }


def quantize(
    model: nn.Module,
    *,
    bits: int = 8,
    granularity: str = "channel",
    group_size: int | None = None,
    symmetric: bool = True,
    activations: str | None = None,
    method: str = "rtn",
    calibration: Data = None,
    ignore: tuple[str, ...] = ("lm_head",),
    simulate: bool = False,
) -> nn.Module:
    """A copy of `model` whose linear layers hold integers of `bits` bits.

    bits: 2 to 8, of the weights. granularity: one scale for each "channel" (output), one for the
    whole "tensor", or one for each "group" of `group_size` weights of a row.
    symmetric: False adds a zero point. activations: None rounds the weights alone; "dynamic" rounds
    the inputs of the layers to 8 bits too, with a scale for each row; "static" with one scale for
    each layer, from calibration. Integers are then multiplied, where granularity is not "group".
    method: "rtn" rounds to nearest; "gptq", "smoothquant" and "awq" need calibration.
    calibration: one batch or an iterable of batches; None takes the book's training text, for a
    model that reads bytes. ignore: layers to leave alone, by full name or last part.
    simulate: keep floats, with rounded values: the quality without the speed.

    Tied weights: a quantized layer has codes of its own, the other user keeps the floats. Raises
    TypeError or ValueError with one sentence before any work starts.
    """
    plan = _Plan(bits, granularity, group_size, symmetric, activations, method, simulate)
    _check(plan)
    found = require_layers(model, ignore=ignore)
    _check_groups(plan, found)
    if method in ("gptq", "awq", "smoothquant") or activations == "static":
        batches = calibration_batches(model, calibration)
    new = copy_sharing(model, found)
    call_layers_(new)
    if method in ("gptq", "awq"):

        def change(name: str, layer: nn.Module, seen: Statistics) -> nn.Module:
            return _quantized(layer, plan, seen)

        return walk(new, batches, list(found), change, desc=method)
    seen = dict.fromkeys(found)
    if method == "smoothquant" or activations == "static":
        seen = observe(new, batches, list(found))
    for name in tqdm(found, desc="quantizing", unit="layer", leave=False):
        layer = _quantized(new.get_submodule(name), plan, seen[name])
        new = replace_(new, {name: layer})
    return new


def _quantized(layer: nn.Module, plan: _Plan, seen: Statistics | None) -> nn.Module:
    """The layer that takes the place of `layer`."""
    weight, smooth = weight_of(layer), None
    options = plan.grid(weight.shape[1])
    if plan.method == "smoothquant":
        smooth = smoothquant_factors(weight, seen)
    elif plan.method == "awq":
        smooth = awq_factors(weight, seen, **options)
    scaled = weight.float() if smooth is None else weight.float() * smooth
    grid = fit_grid(scaled, **options)
    codes = gptq(scaled, seen.hessian, grid) if plan.method == "gptq" else grid.encode(scaled)
    input_scale = None
    if plan.activations == "static":
        largest = seen.largest if smooth is None else seen.largest / smooth
        input_scale = (largest.amax() / 127).clamp(min=1e-30)
    new = QuantizedLinear(
        codes, grid, layer.bias, activations=plan.activations, input_scale=input_scale,
        smooth=smooth,
    )  # fmt: skip
    if not plan.simulate:
        return new
    if plan.activations is None:  # an ordinary layer will do
        return with_weight(layer, _unsmoothed(new))
    return RoundedLinear(new, layer.weight.dtype)


def _unsmoothed(layer: QuantizedLinear) -> Tensor:
    """The rounded weights as they act on inputs that nobody divided."""
    weight = layer.float_weight()
    return weight if layer.smooth is None else weight / layer.smooth


def _check(plan: _Plan) -> None:
    if not isinstance(plan.bits, int) or isinstance(plan.bits, bool) or not 2 <= plan.bits <= 8:
        raise ValueError(f"bits must be a whole number from 2 to 8, got {plan.bits!r}")
    for name, known in CHOICES.items():
        if getattr(plan, name) not in known:
            raise ValueError(f"{name} must be one of {known}, got {getattr(plan, name)!r}")
    size = plan.group_size
    if plan.granularity == "group":
        if not isinstance(size, int) or isinstance(size, bool) or size < 1:
            raise ValueError(
                "group_size must be a whole number of at least 1 with granularity 'group', "
                f"got {size!r}"
            )
    elif size is not None:
        raise ValueError(
            f"group_size is for granularity 'group', got {size!r} with {plan.granularity!r}"
        )


def _check_groups(plan: _Plan, found: dict[str, nn.Module]) -> None:
    for name, layer in found.items():
        width = weight_of(layer).shape[1]
        if plan.granularity == "group" and width % plan.group_size:
            raise ValueError(
                f"group_size must divide the inputs of every layer, got {plan.group_size} for "
                f"{width} of {name!r}"
            )
