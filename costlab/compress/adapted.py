"""The layer that stands in for a linear one while adapters are trained. Taught in notebook 13."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from costlab.compress.rounding import Grid, fit_grid, pack, unpack
from costlab.modules import is_transposed, weight_of

BITS, GROUP = 4, 32  # of a quantized base: bits of a weight, and weights that share a scale


class AdaptedLinear(nn.Module):
    """A frozen linear layer with a low-rank change beside it: W x + c + scaling B A x.

    `base` holds W (outputs, inputs), or its packed codes where it is quantized, with one `scale`
    for each group of a row. It is a buffer, as `bias` is: nothing trains them. `lora_a` is A (rank,
    inputs), random at first, `lora_b` is B (outputs, rank), zeros at first, so that nothing changes
    (arXiv:2106.09685).

    Several adapters over one base, to be served: A and B get a first dimension for the adapters,
    and `chosen` holds the A (batch, rank, inputs) and B that the sequences of a batch take.
    """

    def __init__(self, layer: nn.Module, *, rank: int, scaling: float, quantized: bool) -> None:
        super().__init__()
        weight = weight_of(layer)
        self.out_features, self.in_features = weight.shape
        self.transposed, self.scaling, self.chosen = is_transposed(layer), scaling, None
        grid = fit_grid(weight, bits=BITS, groups=self.in_features // GROUP) if quantized else None
        base = pack(grid.encode(weight), BITS) if grid else weight.detach().clone()
        # not called `weight`: other techniques would take this for a plain layer
        self.register_buffer("base", base.contiguous())
        self.register_buffer("scale", grid.scale if grid else None)
        self.register_buffer("bias", None if layer.bias is None else layer.bias.detach().clone())
        self.lora_a = nn.Parameter(weight.new_empty(rank, self.in_features))
        self.lora_b = nn.Parameter(weight.new_zeros(self.out_features, rank))
        nn.init.kaiming_uniform_(self.lora_a, a=5**0.5)  # within 1 / sqrt(inputs), as nn.Linear
        self.train(layer.training)

    def float_weight(self) -> Tensor:
        """The frozen matrix (outputs, inputs); of a quantized one the float32 values."""
        if self.scale is None:
            return self.base
        zero = torch.zeros_like(self.scale, dtype=torch.int8)
        return Grid(BITS, self.scale, zero).decode(unpack(self.base, BITS, self.in_features))

    def frozen(self, x: Tensor) -> Tensor:
        """What the layer gives without its adapters: W x + c."""
        return F.linear(x, self.float_weight().to(x.dtype), self.bias)

    def changed(self, y: Tensor, x: Tensor) -> Tensor:
        """y, which is W x + c, and what the adapters add to it: scaling B A x.

        The sum is taken within the second product: an operation less where many are short.
        """
        if self.lora_a.ndim == 2:
            inner = F.linear(x.reshape(-1, self.in_features), self.lora_a)
            rows = y.reshape(-1, self.out_features)
            return torch.addmm(rows, inner, self.lora_b.t(), alpha=self.scaling).view(y.shape)
        if self.chosen is None or len(self.chosen[0]) != len(x):
            given = "none" if self.chosen is None else len(self.chosen[0])
            raise ValueError(
                f"with_adapters must name an adapter for each of {len(x)} sequences, got {given}"
            )
        a, b = self.chosen
        inner = torch.bmm(x.reshape(len(x), -1, self.in_features), a.mT)
        rows = y.reshape(len(x), -1, self.out_features)
        return torch.baddbmm(rows, inner, b.mT, alpha=self.scaling).view(y.shape)

    @torch.no_grad()
    def choose(self, index: Tensor | None) -> None:
        """Let sequence i take adapter index[i]; gathered once, not in every step of a decoding."""
        self.chosen = None if index is None else (self.lora_a[index], self.lora_b[index])

    def forward(self, x: Tensor) -> Tensor:
        """x (..., inputs) -> (..., outputs)."""
        if self.scale is None or not torch.is_grad_enabled():
            return self.changed(self.frozen(x), x)
        # The backward pass decodes W again: autograd would keep the floats of every layer until
        # then, and with them the memory that the codes save (arXiv:2305.14314).
        y = checkpoint(self.frozen, x, use_reentrant=False, preserve_rng_state=False)
        return self.changed(y, x)

    @torch.no_grad()
    def merged(self) -> nn.Module:
        """One plain layer, of the kind that was adapted, with the matrix W + scaling B A."""
        weight = self.float_weight().to(self.lora_a) + self.scaling * self.lora_b @ self.lora_a
        with torch.device("meta"):  # no memory for weights that are replaced
            layer = nn.Linear(self.in_features, self.out_features)
            if self.transposed:
                from transformers.pytorch_utils import Conv1D

                layer = Conv1D(self.out_features, self.in_features)
        layer.weight = nn.Parameter(weight.t().contiguous() if self.transposed else weight)
        layer.bias = None if self.bias is None else nn.Parameter(self.bias.clone())
        return layer.train(self.training)

    def extra_repr(self) -> str:
        """What print(model) shows of the layer."""
        base = "" if self.scale is None else f", base of {BITS} bits"
        return f"{self.in_features}, {self.out_features}, A {tuple(self.lora_a.shape)}{base}"
