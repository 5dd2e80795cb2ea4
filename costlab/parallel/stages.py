"""Where to cut a model into the stages of a pipeline. Taught in notebook 08."""

from __future__ import annotations

import math
import time
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from costlab.lm.model import LanguageModel

PARTITIONS = ("flops", "parameters", "time")


def cut(costs: Sequence[float], stages: int) -> list[int]:
    """How many units each stage takes, in order, so that the costliest stage costs least.

    costs: of each unit, at least 0. Exact, by dynamic programming over prefixes; of cuts with an
    equal costliest stage it takes one whose stages are more even.
    Taught in: notebooks/08_model_parallel.ipynb.
    """
    if stages > len(costs):
        raise ValueError(f"stages must be at most the {len(costs)} units, got {stages}")
    sums = [0.0]
    for cost in costs:
        sums.append(sums[-1] + cost)
    # best[k]: of the first k units over the stages so far: costliest, sum of squares, the cut
    best = {0: (0.0, 0.0, [])}
    for _ in range(stages):
        found: dict[int, tuple] = {}
        for start, (most, squares, sizes) in best.items():
            for stop in range(start + 1, len(costs) + 1):
                cost = sums[stop] - sums[start]
                new = max(most, cost), squares + cost**2, [*sizes, stop - start]
                found[stop] = min(found.get(stop, (math.inf,)), new)
        best = found
    return best[len(costs)][2]


def check_stages(stages: int, layers: int) -> None:
    """Raise ValueError for more stages than layers."""
    if stages > layers:
        raise ValueError(f"stages must be at most the number of layers, {layers}, got {stages}")


def unit_costs(model: LanguageModel, partition: str, sample: Tensor | None = None) -> list[float]:
    """The cost of the units of a model, in order: embedding, each block, last norm with the head.

    partition: "parameters" counts them, "flops" the operations of a forward pass per token at the
    model's context, "time" takes the seconds of forward and backward on `sample`, int64 (batch,
    positions), the loss with the head. Taught in: notebooks/08_model_parallel.ipynb.
    """
    if partition not in PARTITIONS:
        raise ValueError(f"partition must be one of {', '.join(PARTITIONS)}, got {partition!r}")
    groups = units(model)
    if partition == "parameters":
        return [float(sum(p.numel() for m in unit for p in m.parameters())) for unit in groups]
    if partition == "time":
        return _seconds(model, sample)
    config, costs = model.config, []
    attended = 4 * config.heads * config.head_dim * config.context / 2  # scores and sums, causal
    for unit in groups:
        linear = [m for part in unit for m in part.modules() if isinstance(m, nn.Linear)]
        blocks = sum(part in set(model.model.layers) for part in unit)
        costs.append(2.0 * sum(m.weight.numel() for m in linear) + attended * blocks)
    return costs


def units(model: LanguageModel) -> list[list[nn.Module]]:
    """What is never cut through, in order."""
    decoder = model.model
    return [[decoder.embed_tokens], *([b] for b in decoder.layers), [decoder.norm, model.lm_head]]


def _seconds(model: LanguageModel, sample: Tensor | None, rounds: int = 9) -> list[float]:
    """Least seconds of each unit's forward and backward pass, over rounds in turn."""
    if sample is None:
        raise ValueError("partition 'time' needs a sample to time, int64 (batch, positions)")
    sizes = [1] * (len(model.model.layers) + 2)
    stages = [Stage(model, sizes, index) for index in range(len(sizes))]
    given = [sample, *(stage.blank(sample).requires_grad_() for stage in stages[1:])]
    found = [math.inf] * len(sizes)
    for _ in range(rounds):
        for index, stage in enumerate(stages):
            start = time.perf_counter()
            out = stage(given[index])
            loss = F.cross_entropy(out.flatten(0, 1), sample.flatten()) if stage.last else out.sum()
            loss.backward()
            found[index] = min(found[index], time.perf_counter() - start)
    model.zero_grad()
    return found


class Stage(nn.Module):
    """Consecutive units of a model, under the names they have there; parameters are shared with it.

    sizes: units of every stage. index: which stage this is.
    """

    def __init__(self, model: LanguageModel, sizes: list[int], index: int) -> None:
        super().__init__()
        start, stop = sum(sizes[:index]), sum(sizes[: index + 1])
        self.config, self.first, self.last = model.config, index == 0, stop == sum(sizes)
        self.model = nn.Module()
        if self.first:
            self.model.embed_tokens = model.model.embed_tokens
        blocks = range(max(start, 1) - 1, min(stop, sum(sizes) - 1) - 1)
        self.model.layers = nn.ModuleDict({str(i): model.model.layers[i] for i in blocks})
        if self.last:
            self.model.norm, self.lm_head = model.model.norm, model.lm_head
        self.register_buffer("cos", model.cos, persistent=False)
        self.register_buffer("sin", model.sin, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """Tokens, or what the stage before gave -> logits, or what the next one is to have."""
        angles = self.cos[: x.shape[1]], self.sin[: x.shape[1]]
        if self.first:
            x = self.model.embed_tokens(x)
        for block in self.model.layers.values():
            x = block(x, angles, None, 0)
        return self.lm_head(self.model.norm(x)) if self.last else x

    def blank(self, tokens: Tensor) -> Tensor:
        """Room for what comes from the stage before, for tokens (batch, positions)."""
        return self.cos.new_empty(*tokens.shape, self.config.width, dtype=self.dtype).zero_()

    @property
    def dtype(self) -> torch.dtype:
        """Of the numbers that go from stage to stage."""
        return next(self.parameters()).dtype


def slowest(sizes: Sequence[int], costs: Sequence[float]) -> float:
    """The cost of the costliest stage of a cut."""
    ends = [sum(sizes[: i + 1]) for i in range(len(sizes))]
    return max(sum(costs[end - size : end]) for end, size in zip(ends, sizes))
