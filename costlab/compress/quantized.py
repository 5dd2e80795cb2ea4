"""The layer that stands in for a float one after quantization. Taught in notebook 05."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from costlab.compress.kernels import encode, integer_matmul, weight_only_linear
from costlab.compress.rounding import Grid, pack, unpack


def rounded(x: Tensor, scale: Tensor | None) -> Tensor:
    """Activations (..., inputs) rounded to 8 bits, as floats again."""
    codes, scale = encode(x, scale)
    return (codes * scale).to(x.dtype)


class QuantizedLinear(nn.Module):
    """A linear layer (..., inputs) -> (..., outputs) whose weights are stored as integers.

    `weight` holds the codes, int8 (outputs, inputs), below eight bits packed into bytes; `scale`
    and `zero_point` are those of the grid; `smooth` (inputs,) divides the inputs, where a method
    moved a factor into the weights; `input_scale` is the one scale of static activations.
    activations: None computes with the weights as floats, "dynamic" and "static" round the inputs
    to 8 bits too and multiply integers.
    """

    def __init__(
        self,
        codes: Tensor,
        grid: Grid,
        bias: Tensor | None = None,
        *,
        activations: str | None = None,
        input_scale: Tensor | None = None,
        smooth: Tensor | None = None,
    ) -> None:
        super().__init__()
        self.out_features, self.in_features = codes.shape
        self.bits, self.activations = grid.bits, activations
        symmetric = not grid.zero_point.any()
        self.register_buffer("weight", pack(codes, grid.bits))
        self.register_buffer("scale", grid.scale)
        self.register_buffer("zero_point", None if symmetric else grid.zero_point)
        self.register_buffer("smooth", smooth)
        self.register_buffer("input_scale", input_scale)
        self.bias = (
            None if bias is None else nn.Parameter(bias.detach().clone(), bias.requires_grad)
        )

    @property
    def integer(self) -> bool:
        """Whether the product is one of integers: both sides rounded, one scale for each output."""
        return self.activations is not None and self.scale.shape[1] == 1

    @property
    def grid(self) -> Grid:
        """The grid of the codes."""
        zero = self.zero_point
        none = torch.zeros_like(self.scale, dtype=torch.int8)
        return Grid(self.bits, self.scale, none if zero is None else zero)

    def codes(self) -> Tensor:
        """The codes, int8 (outputs, inputs)."""
        return unpack(self.weight, self.bits, self.in_features)

    def float_weight(self) -> Tensor:
        """The float32 values (outputs, inputs) that the codes stand for."""
        return self.grid.decode(self.codes())

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs), in the kind of number of the input.

        The name is the one that nn.Linear gives it, for those who call by keyword.
        """
        x = input if self.smooth is None else input / self.smooth.to(input.dtype)
        if self.integer:
            return self._multiply_integers(x)
        if self.activations is not None:  # groups have a scale each: round, then multiply floats
            x = rounded(x, self.input_scale)
        by_channel = self.scale.shape == (self.out_features, 1) and self.zero_point is None
        if self.bits == 8 and by_channel:
            return weight_only_linear(x, self.weight, self.scale, self.bias)
        return F.linear(x, self.float_weight().to(x.dtype), self.bias)

    def _multiply_integers(self, x: Tensor) -> Tensor:
        codes, scale = encode(x.reshape(-1, self.in_features), self.input_scale)
        weight = self.codes()
        y = integer_matmul(codes, weight)
        # sum of q_x (q_w - z) = sum of q_x q_w - z sum of q_x
        if self.zero_point is not None:
            y = y - codes.sum(1, keepdim=True, dtype=y.dtype) * self.zero_point.view(1, -1)
        y = y.float().mul_(scale).mul_(self.scale.view(1, -1))
        if self.bias is not None:
            y = y.add_(self.bias)
        return y.to(x.dtype).view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        """What print(model) shows of the layer."""
        groups = f", {self.scale.shape[1]} groups" if self.scale.shape[1] > 1 else ""
        rounded = f", {self.activations} activations" if self.activations else ""
        return f"{self.in_features}, {self.out_features}, {self.bits} bits{groups}{rounded}"


class RoundedLinear(nn.Linear):
    """A float layer with rounded weights that rounds its inputs too: for `simulate=True`."""

    def __init__(self, layer: QuantizedLinear, dtype: torch.dtype) -> None:
        super().__init__(layer.in_features, layer.out_features, bias=False, device="meta")
        self.weight = nn.Parameter(layer.float_weight().to(dtype))
        self.bias, self.activations = layer.bias, layer.activations
        self.register_buffer("smooth", layer.smooth)
        self.register_buffer("input_scale", layer.input_scale)

    def forward(self, input: Tensor) -> Tensor:
        """(..., inputs) -> (..., outputs)."""
        x = input if self.smooth is None else input / self.smooth.to(input.dtype)
        if self.activations is not None:
            x = rounded(x, self.input_scale)
        return super().forward(x)
