"""Find what can be cut off a model in one piece: neurons, attention heads, layers.

A unit is more than a row of one matrix: what reads its output goes with it. Taught in notebook 12.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn

from costlab import modules
from costlab.calibration import blocks

# Layers whose outputs are neurons, and last the layer that reads them: in Llama and the book's
# model, in GPT-2, in BERT.
MLPS = ("gate_proj up_proj down_proj", "c_fc c_proj", "intermediate.dense output.dense")
# What acts on each number alone, so that a neuron's output stays in its place.
ELEMENTWISE = (
    nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.GELU, nn.SiLU, nn.Mish, nn.Sigmoid, nn.Tanh,
    nn.Softplus, nn.Hardswish, nn.Dropout, nn.Identity)  # fmt: skip


class Part(NamedTuple):
    """What each unit of a group owns in one module.

    `module` is its name. `dimension` is that of the matrix as (outputs, inputs), however it is
    stored: 0 is rows and their biases, 1 is columns. `index` (units, block) holds their numbers. Of
    a chain of blocks, a unit owns the block of that number.
    """

    module: str
    dimension: int
    index: Tensor


@dataclass(frozen=True)
class Group:
    """Units side by side in the module `name`: any of them can go, each with all its parts.

    The last part is in the layer that reads the units.
    """

    name: str
    parts: tuple[Part, ...]

    @property
    def count(self) -> int:
        """How many units there are."""
        return len(self.parts[-1].index)


def neurons(model: nn.Module) -> list[Group]:
    """The inner neurons of each feed-forward part: a group for each, in the order of the model.

    Feed-forward parts are those of the book's model, Llama, GPT-2 and BERT; in other models, the
    neurons between two linear layers of an nn.Sequential. Raises TypeError or ValueError where
    there are none, or where something in the way cannot be seen through.
    """
    found, known = modules.layers(model), dict(model.named_modules())
    groups = []
    for name in known:
        for kind in MLPS:
            *into, out = (f"{name}.{child}".lstrip(".") for child in kind.split())
            if known.keys() >= {*into, out}:
                groups.append(_between(name, into, out, found))
    groups = groups or _of_sequentials(known, found)
    return _checked(model, groups, "a feed-forward part or an nn.Sequential of linear layers")


def heads(model: nn.Module) -> list[Group]:
    """The attention heads: a group a layer. A unit is one key and value head with all its queries.

    Finds those with `head_dim`, `q_proj`, `k_proj`, `v_proj` and `o_proj`, as in the book's model
    and in Llama. Raises as `neurons` does.
    """
    found, known, groups = modules.layers(model), dict(model.named_modules()), []
    for name, module in known.items():
        names = [f"{name}.{child}_proj".lstrip(".") for child in "qkvo"]
        if known.keys() >= set(names) and hasattr(module, "head_dim"):
            q, k, v, o = (_matrix(layer, found) for layer in names)
            sizes = [len(q), len(k), len(v), o.shape[1]]
            count = sizes[1] // module.head_dim
            if sizes[0] != sizes[3] or sizes[1] != sizes[2] or not count or sizes[0] % count:
                raise ValueError(f"model must have whole heads in {name!r}, got widths {sizes}")
            index = [torch.arange(size).view(count, -1) for size in sizes]
            parts = [Part(layer, int(layer == names[3]), i) for layer, i in zip(names, index)]
            groups.append(Group(name, tuple(parts)))
    wanted = "attention with q_proj, k_proj, v_proj, o_proj and a head_dim"
    return _checked(model, groups, f"{wanted} (GPT-2's heads always fill its width)")


def layers(model: nn.Module) -> list[Group]:
    """The chain of blocks, each added to what flows through the model, as the one group.

    Raises TypeError or ValueError where there is none.
    """
    modules.layers(model)  # which says what is no model
    chain = blocks(model)
    name = chain[0].rpartition(".")[0]
    groups = [Group(name, (Part(name, 0, torch.arange(len(chain))[:, None]),))]
    stacked = isinstance(model.get_submodule(name), nn.ModuleList)
    return _checked(model, groups * stacked, "an nn.ModuleList of at least two blocks")


def _matrix(name: str, found: dict[str, nn.Module]) -> Tensor:
    """The matrix (outputs, inputs) of the layer called `name`."""
    if name not in found:  # quantized or wrapped, perhaps
        raise ValueError(f"model must have an nn.Linear or Conv1D with float weights at {name!r}")
    return modules.weight_of(found[name])


def _between(name: str, into: list[str], out: str, found: dict[str, nn.Module]) -> Group:
    """The neurons that the layers `into` compute and the layer `out` reads."""
    count = _matrix(out, found).shape[1]
    if any(len(_matrix(writer, found)) != count for writer in into):
        raise ValueError(f"model must read in {out!r} all {count} outputs of {into}, and no more")
    one = torch.arange(count)[:, None]
    return Group(name, (*(Part(writer, 0, one) for writer in into), Part(out, 1, one)))


def _of_sequentials(known: dict, found: dict[str, nn.Module]) -> list[Group]:
    """The neurons between neighboring linear layers of each nn.Sequential, once each."""
    groups = {}
    for chain in (list(_flat(n, m)) for n, m in known.items() if type(m) is nn.Sequential):
        at = [i for i, (name, _) in enumerate(chain) if name in found]
        for i, j in pairwise(at):
            writer, reader = chain[i][0], chain[j][0]
            between = [m for _, m in chain[i + 1 : j] if not isinstance(m, ELEMENTWISE)]
            if between:
                seen = f"see through {type(between[0]).__name__} before {reader!r}"
                raise ValueError(f"model must be element-wise between linear layers, cannot {seen}")
            groups[writer] = _between(writer, [writer], reader, found)
    return list(groups.values())


def _flat(name: str, module: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    """The modules that run one after the other, those of inner nn.Sequentials too."""
    for child, inner in module._modules.items():
        place = f"{name}.{child}".lstrip(".")
        yield from _flat(place, inner) if type(inner) is nn.Sequential else [(place, inner)]


def _checked(model: nn.Module, groups: list[Group], wanted: str) -> list[Group]:
    """The groups, which must be there and hold all that belongs to their units."""
    if not groups:
        raise ValueError(f"model must have {wanted}, and {type(model).__name__} has none")
    uses = Counter(id(p) for m in model.modules() for p in m.parameters(recurse=False))
    for group in groups:
        width, parts = group.parts[-1].index.numel(), {part.module for part in group.parts}
        own = {id(p) for part in parts for p in model.get_submodule(part).parameters()}
        if any(uses[p] > 1 for p in own):
            raise ValueError(f"model must not share matrices of {sorted(parts)} with other layers")
        for name, parameter in model.get_submodule(group.name).named_parameters(group.name):
            if width in parameter.shape and id(parameter) not in own:
                raise ValueError(f"model must be seen through, got {name!r} of the width of units")
    return groups
