"""Shearing: cut neurons, attention heads or layers off; what remains is an ordinary, smaller model.

Taught in notebook 12.
"""

from __future__ import annotations

import copy
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from math import ceil, floor, inf
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from costlab import modules
from costlab.bill.checks import Data
from costlab.bill.counting import evaluating
from costlab.calibration import Statistics, calibration_batches, call, watching
from costlab.lm.model import Config
from costlab.optimize.units import Group, heads, layers, neurons

FIND = {"neurons": neurons, "heads": heads, "layers": layers}
SCORES = ("activation", "weight", "random")
KNOBS = {
    "threshold": (Real, 0, inf, "a finite number of at least 0"),
    "fraction": (Real, 0, 1, "a number of at least 0 and below 1"),
    "to": (int, 1, inf, "a whole number of at least 1"),
}
FIELDS = {  # what configs call the numbers: that of the book's model, and those of transformers
    "neurons": ("ffn", "intermediate_size", "n_inner"),
    "heads": ("kv_heads", "num_key_value_heads", "heads", "num_attention_heads"),
    "layers": ("layers", "num_hidden_layers"),
}


def shear(
    model: nn.Module, *, threshold: float | None = None, fraction: float | None = None,
    to: int | None = None, units: str = "neurons", round_to: int = 8, score: str = "activation",
    calibration: Data = None, seed: int = 0,
) -> nn.Module:  # fmt: skip
    """A smaller copy of `model`, without its least important neurons, attention heads or layers.

    The parts that are cut keep the width of what goes in and comes out, and the config changes with
    them: the result is saved and loaded like any other model.

    Give one of three. threshold: units that score more stay. fraction: the share to remove, at
    least 0 and below 1. to: how many stay, of neurons and query heads in each layer.
    units: "neurons" of feed-forward parts, which stay in multiples of `round_to`, so that never
    more go than was asked for (`to` is taken as it is); "heads", by one key and value head with all
    its queries; "layers", by whole blocks. A config holds one number for all layers: each then
    keeps as many as the one that has to keep most. Layers of an nn.Sequential keep their own.
    score, calibration, seed: as for `unit_scores`; of equal scores the first go.

    For the book's model, for Llama- and GPT-2-style `transformers` (no heads of GPT-2: they always
    fill its width), for MLPs in an nn.Sequential. See Sheared LLaMA (arXiv:2310.06694) and
    Torch-Pruning (arXiv:2301.12900). Raises TypeError or ValueError with one sentence.
    """
    _check(round_to, threshold=threshold, fraction=fraction, to=to)
    groups = _find(model, units, score)
    scoring = partial(unit_scores, model, units, score=score, calibration=calibration, seed=seed)
    scores = {} if threshold is None else scoring()
    if threshold is not None:
        counts = [int((scores[group.name] > threshold).sum()) for group in groups]
    elif fraction is not None:
        counts = [group.count - floor(fraction * group.count + 1e-9) for group in groups]
    else:
        counts = [_reach(group, to, units) for group in groups]
    if units == "neurons" and to is None:
        counts = [min(g.count, ceil(n / round_to) * round_to) for g, n in zip(groups, counts)]
    memo = _with_new_config(model, groups, counts, units)
    if 0 in counts:
        raise ValueError(f"threshold must leave some {units} in each layer, got {threshold}")
    if fraction and counts == [group.count for group in groups]:
        raise ValueError(f"fraction must be enough to remove some {units}, got {fraction}")
    scores, new = scores or scoring(), copy.deepcopy(model, memo)
    for group, count in zip(groups, counts):
        stay = scores[group.name].argsort(stable=True)[group.count - count :]
        _cut_(new, group, stay.sort().values)
    return new


def unit_scores(
    model: nn.Module, units: str = "neurons", *, score: str = "activation",
    calibration: Data = None, seed: int = 0,
) -> dict[str, Tensor]:  # fmt: skip
    """How much each unit matters: name of the part that holds them -> float32 (units,).

    "activation": the root mean square of what a neuron adds to the output of its part: of its own
    outputs, times the norm of the weights that read them, over the tokens of `calibration` (None:
    the book's training text); of a head, the norm of this over its channels; of a layer, 1 - the
    mean cosine of what goes in and what comes out (ShortGPT, arXiv:2403.03853). "weight": the norm
    of all weights that go with the unit. "random": from 0 to 1, by `seed`. Raises as `shear` does.
    """
    groups = _find(model, units, score)
    if not isinstance(seed, int) or isinstance(seed, bool):
        raise ValueError(f"seed must be a whole number, got {seed!r}")
    if score == "random":
        generator = torch.Generator().manual_seed(seed)
        return {group.name: torch.rand(group.count, generator=generator) for group in groups}
    if score == "weight":
        return {group.name: _norms(model, group) for group in groups}
    batches = calibration_batches(model, calibration)
    return (_turns if units == "layers" else _lengths)(model, groups, batches)


def _norms(model: nn.Module, group: Group) -> Tensor:
    """The norm of each unit's weights, biases left out; of a layer, of all it holds."""
    owners = [model.get_submodule(part.module) for part in group.parts]
    if isinstance(owners[0], nn.ModuleList):
        norms = [nn.utils.get_total_norm(block.parameters()) for block in owners[0]]
        return torch.stack(norms).detach().float().cpu()
    squares = 0.0
    for owner, (_, dimension, index) in zip(owners, group.parts):
        weight = modules.weight_of(owner).float().cpu()
        squares = squares + (weight.t() if dimension else weight)[index].pow(2).sum((1, 2))
    return squares.sqrt()


class _Squares(Statistics):
    """Statistics with the sum of the squares of each input."""

    squares = 0.0

    def add(self, x: Tensor) -> None:
        super().add(x)
        self.squares = self.squares + x.reshape(-1, x.shape[-1]).float().pow(2).sum(0)


def _lengths(model: nn.Module, groups: list[Group], batches: list) -> dict[str, Tensor]:
    """Root mean square of each unit's outputs times the norm of the columns that read them."""
    seen, scores = {group.parts[-1].module: _Squares() for group in groups}, {}
    with watching(model, seen):
        _run(model, batches)
    for group, (name, found) in zip(groups, seen.items()):
        read = modules.weight_of(model.get_submodule(name)).float().norm(dim=0)
        lengths = (found.squares / found.rows).sqrt() * read
        scores[group.name] = lengths[group.parts[-1].index].norm(dim=1).cpu()
    return scores


def _turns(model: nn.Module, groups: list[Group], batches: list) -> dict[str, Tensor]:
    """1 - the mean cosine of what each block is given and what it makes of it."""
    chain, seen = model.get_submodule(groups[0].name), []

    def watch(block: nn.Module, args: tuple, kwargs: dict, out: Tensor | tuple) -> None:
        x, y = (args or tuple(kwargs.values()))[0], out[0] if isinstance(out, tuple) else out
        seen.append(1 - F.cosine_similarity(x.float(), y.float(), dim=-1).mean())

    with ExitStack() as hooks:
        for block in chain:
            hooks.enter_context(block.register_forward_hook(watch, with_kwargs=True))
        _run(model, batches)
    return {groups[0].name: torch.stack(seen).view(-1, len(chain)).mean(0).cpu()}


@torch.no_grad()
def _run(model: nn.Module, batches: list) -> None:
    with evaluating(model):
        for batch in tqdm(batches, desc="calibrating", unit="batch", leave=False):
            call(model, batch)


def _reach(group: Group, to: int, units: str) -> int:
    """How many units of `group` make `to`: query heads go with those they share keys with."""
    blocks = [part.index.shape[1] for part in group.parts]
    each = blocks[0] // blocks[1] if units == "heads" else 1
    if to % each or to > group.count * each:
        has = f"{group.name!r} has {group.count * each} {units}, to be kept by {each}"
        raise ValueError(f"to must be a number that can be reached, {has}, got {to}")
    return to // each


def _with_new_config(model: nn.Module, groups: list[Group], counts: list[int], units: str) -> dict:
    """id of the model's config -> the new one, for `copy.deepcopy`; makes the counts uniform."""
    if not hasattr(model, "config"):
        return {}
    config, old, new = model.config, groups[0].count, max(counts)
    counts[:] = [new] * len(counts)
    names = [name for name in FIELDS[units] if hasattr(config, name)]
    kinds = (units == "layers" and getattr(config, "layer_types", None)) or []
    uniform = names and getattr(config, names[0]) in (None, old) and len(set(kinds)) < 2
    by_number = units == "layers" and getattr(config, "scale_attn_by_inverse_layer_idx", False)
    if not uniform or by_number or {group.count for group in groups} != {old}:
        raise ValueError(f"model must have a config with one number of {units}, and layers alike")
    changes = {name: (getattr(config, name) or old) * new // old for name in names}
    if units == "heads":  # their width does not follow from their number any more
        changes["head_dim"] = groups[0].parts[1].index.shape[1]
    if kinds:
        changes["layer_types"] = kinds[:new]
    return {id(config): _changed(config, changes)} if new else {}


def _changed(config: object, changes: dict) -> object:
    """A config with other numbers, which it has to accept."""
    try:
        if isinstance(config, Config):
            return replace(config, **changes)
        new = copy.deepcopy(config)
        for name, value in changes.items():
            setattr(new, name, value)
        type(config).from_dict(new.to_dict())
    except Exception as error:  # those of transformers share no kind
        reason = " ".join(str(error).split())
        raise ValueError(f"model cannot be cut to {changes} ({reason})") from error
    return new


def _cut_(model: nn.Module, group: Group, kept: Tensor) -> None:
    """Leave only the units `kept` of a group, in place."""
    for name, dimension, index in group.parts:
        layer, stay = model.get_submodule(name), index[kept].flatten()
        if isinstance(layer, nn.ModuleList):
            chain = nn.ModuleList(layer[number] for number in stay.tolist())
            modules.replace_(model, {name: chain})
            for number, block in enumerate(chain):
                for module in block.modules():
                    if hasattr(module, "layer_idx"):  # where transformers' cache keeps its keys
                        module.layer_idx = number
        else:
            _narrow_(layer, dimension, stay)


def _narrow_(layer: nn.Module, dimension: int, stay: Tensor) -> None:
    """Leave the outputs (dimension 0) or inputs (1) with the numbers `stay`, in place."""
    turned, weight = modules.is_transposed(layer), layer.weight
    rows = weight.detach().index_select(dimension ^ turned, stay.to(weight.device))
    layer.weight = nn.Parameter(rows, weight.requires_grad)
    if not dimension and layer.bias is not None:
        layer.bias = nn.Parameter(layer.bias.detach()[stay], layer.bias.requires_grad)
    sizes = ("nf", "nx") if turned else ("out_features", "in_features")
    setattr(layer, sizes[dimension], len(stay))


def _find(model: nn.Module, units: str, score: str) -> list[Group]:
    for name, given, accepted in (("units", units, tuple(FIND)), ("score", score, SCORES)):
        if given not in accepted:
            raise ValueError(f"{name} must be one of {accepted}, got {given!r}")
    groups = FIND[units](model)
    modules.require_layers(model)
    return groups


def _check(round_to: int, **given: object) -> None:
    knobs = {name: value for name, value in given.items() if value is not None}
    if len(knobs) != 1:
        raise ValueError(f"one of threshold, fraction and to must be given, got {knobs or None}")
    for name, value in (*knobs.items(), ("round_to", round_to)):
        kind, least, below, wanted = KNOBS.get(name, KNOBS["to"])
        if not isinstance(value, kind) or isinstance(value, bool) or not least <= value < below:
            raise ValueError(f"{name} must be {wanted}, got {value!r}")
