"""Adapters: train a little beside a model that stays as it is (LoRA). Taught in notebook 13."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from numbers import Real

import torch
from torch import Tensor, nn

from costlab.compress.adapted import GROUP, AdaptedLinear
from costlab.modules import copy_sharing, replace_, require_layers, weight_of


def add_adapters(
    model: nn.Module,
    *,
    rank: int,
    alpha: float | None = None,
    quantized: bool = False,
    ignore: tuple[str, ...] = ("lm_head",),
) -> nn.Module:
    """A copy of `model` whose linear layers are frozen, each with a low-rank change to train.

    A layer W x becomes W x + alpha / rank B A x (LoRA, arXiv:2106.09685): A (rank, inputs) is
    random, by torch's seed, and B (outputs, rank) is zero, so at first nothing changes. Only A and
    B learn; everything else of the copy is frozen.
    rank: from 1 to the smaller side of the smallest layer. alpha: above 0; None takes `rank`.
    quantized: the frozen matrices are held as integers of 4 bits in groups of 32, and decoded when
    they are used, forward and backward (after QLoRA, arXiv:2305.14314, which has a grid of unequal
    steps). ignore: layers to leave without, by full name or last part. A head that is tied to the
    embedding and not left out becomes a matrix of its own.

    Raises TypeError or ValueError with one sentence before any work starts.
    """
    _check(model, rank, alpha)
    found = require_layers(model, ignore=ignore)
    _check_widths(found, rank, quantized)
    scaling = float((rank if alpha is None else alpha) / rank)
    new = copy_sharing(model, found)
    for name, layer in found.items():
        adapted = AdaptedLinear(layer, rank=rank, scaling=scaling, quantized=quantized)
        new = replace_(new, {name: adapted})
    for name, parameter in new.named_parameters():
        parameter.requires_grad_(name.endswith(("lora_a", "lora_b")))
    return new


def merge_adapters(model: nn.Module) -> nn.Module:
    """A copy of `model` with plain layers W + alpha / rank B A: no adapters, the same outputs.

    It costs what the model cost before it was adapted, and all of it can be trained again. A
    quantized base does not stay so: the sum lies on no grid of 4 bits, and rounding it once more
    would change the outputs. Merged, it is a model of floats, the rounding of the base included.
    Raises TypeError or ValueError for a model without adapters, or with several.
    """
    found = _adapted(model)
    new = copy.deepcopy(model)
    for name, layer in found.items():
        new = replace_(new, {name: layer.merged()})
    return new.requires_grad_(True)


def adapter_state(model: nn.Module) -> dict[str, Tensor]:
    """Name -> A, and name -> B times alpha / rank: all that a task adds to the base.

    Copies, under `<layer>.lora_a` and `<layer>.lora_b`. Raises TypeError or ValueError.
    """
    state = {}
    for name, layer in _adapted(model).items():
        state[f"{name}.lora_a"] = layer.lora_a.detach().clone()
        state[f"{name}.lora_b"] = layer.scaling * layer.lora_b.detach()
    return state


def batch_adapters(model: nn.Module, states: Sequence[dict[str, Tensor]]) -> nn.Module:
    """A copy of `model` that holds several adapters over its one base, to serve them in one batch.

    model: with adapters, which are replaced; the copy does not learn. states: what `adapter_state`
    gave for each task, of one rank. Run it inside `with_adapters`: the base multiplies the whole
    batch at once, and one batched product adds to each sequence what its own adapter says (Punica,
    arXiv:2310.18547; S-LoRA, arXiv:2311.03285). Raises TypeError or ValueError.
    """
    _check_states(states, adapter_state(model))
    new = copy.deepcopy(model)
    for name, layer in _adapted(new).items():
        for part in ("lora_a", "lora_b"):
            stacked = torch.stack([state[f"{name}.{part}"] for state in states])
            setattr(layer, part, nn.Parameter(stacked.to(layer.lora_a), requires_grad=False))
        layer.scaling = 1.0  # it is in the B of each state
    return new


@contextmanager
def with_adapters(model: nn.Module, indices: Sequence[int] | Tensor) -> Iterator[nn.Module]:
    """Inside, sequence i of every batch takes the adapter number indices[i].

    model: from `batch_adapters`. indices: whole numbers from 0, one for each sequence. Raises
    TypeError or ValueError; the model does so itself where a batch has another size.
    """
    found = _adapted(model, several=True).values()
    first = next(iter(found)).lora_a
    numbers = indices.tolist() if isinstance(indices, Tensor) else indices
    listed = isinstance(numbers, list | tuple) and all(type(n) is int for n in numbers)
    if not listed or not all(0 <= n < len(first) for n in numbers):
        raise ValueError(
            f"indices must be a list of whole numbers from 0 to {len(first) - 1}, one for each "
            f"sequence, got {indices!r}"
        )
    index = torch.tensor(numbers, dtype=torch.int64, device=first.device)
    try:
        for layer in found:
            layer.choose(index)
        yield model
    finally:
        for layer in found:
            layer.choose(None)


def _check(model: nn.Module, rank: int, alpha: float | None) -> None:
    if not isinstance(rank, int) or isinstance(rank, bool) or rank < 1:
        raise ValueError(f"rank must be a whole number of at least 1, got {rank!r}")
    real = isinstance(alpha, Real) and not isinstance(alpha, bool)
    if alpha is not None and (not real or not 0 < alpha < float("inf")):
        raise ValueError(f"alpha must be None or a finite number above 0, got {alpha!r}")
    for name, module in model.named_modules() if isinstance(model, nn.Module) else ():
        if isinstance(module, AdaptedLinear):
            raise ValueError(f"model has adapters already, in {name!r}; use merge_adapters first")


def _check_widths(found: dict[str, nn.Module], rank: int, quantized: bool) -> None:
    for name, layer in found.items():
        outputs, inputs = weight_of(layer).shape
        most = min(outputs, inputs)
        if rank > most:
            raise ValueError(f"rank must be at most {most}, the width of {name!r}, got {rank}")
        if quantized and inputs % GROUP:
            raise ValueError(
                f"quantized needs a multiple of {GROUP} inputs, got {inputs} of {name!r}"
            )


def _adapted(model: nn.Module, *, several: bool = False) -> dict[str, AdaptedLinear]:
    """Name -> adapted layer; raises where there is none, or where they hold another number."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    found = {n: m for n, m in model.named_modules() if isinstance(m, AdaptedLinear)}
    if not found:
        kind = type(model).__name__
        raise ValueError(f"model must have adapters, from add_adapters; {kind} has none")
    if (next(iter(found.values())).lora_a.ndim == 3) != several:
        wanted = "several adapters, from batch_adapters" if several else "one adapter, not several"
        raise ValueError(f"model must hold {wanted}")
    return found


def _check_states(states: Sequence[dict[str, Tensor]], like: dict[str, Tensor]) -> None:
    if not isinstance(states, list | tuple) or not states:
        raise ValueError("states must be a list of what adapter_state gives, with at least one")
    shapes = {name: tensor.shape for name, tensor in like.items()}
    for number, state in enumerate(states):
        given = state.items() if isinstance(state, dict) else ()
        if {name: getattr(tensor, "shape", None) for name, tensor in given} != shapes:
            raise ValueError(
                f"states must have the names and shapes of the model's own adapters, and number "
                f"{number} has others"
            )
