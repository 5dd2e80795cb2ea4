"""Describe a model in JSON, and build it again around tensors that were stored.

Taught in notebook 03.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from operator import attrgetter

import torch
from torch import Tensor, nn

from costlab.compress.adapted import AdaptedLinear
from costlab.compress.quantized import QuantizedLinear, RoundedLinear
from costlab.lm.model import Config, LanguageModel
from costlab.modules import replace_

LAYERS = {kind.__name__: kind for kind in (AdaptedLinear, QuantizedLinear, RoundedLinear)}
DTYPES = {str(d): d for d in vars(torch).values() if isinstance(d, torch.dtype)}


def describe(model: nn.Module) -> dict:
    """What `build` and `fill` need to make `model` again, as JSON.

    "model" has its class and, for the book's models and those of `transformers`, the config that
    they can be built from; "layers" describes those that replaced others; "computed" holds the
    dtypes of the buffers that no state dict holds.
    """
    layers = {n: _layer(m) for n, m in model.named_modules() if type(m) in LAYERS.values()}
    stored = model.state_dict()
    computed = {n: str(b.dtype) for n, b in model.named_buffers() if n not in stored}
    return {"model": _kind(model, layers), "layers": layers, "computed": computed}


def build(kind: dict) -> nn.Module:
    """The model of that class and config, before its weights arrive: parameters without memory."""
    with _without_memory():
        if kind["library"] == "costlab":
            return LanguageModel(Config(**kind["config"]))
        import transformers

        built = getattr(transformers, kind["class"], None)
        if not isinstance(built, type) or not issubclass(built, transformers.PreTrainedModel):
            raise ValueError(f"{kind['class']!r} is no model of transformers")
        how = {"attn_implementation": kind["attention"]}
        return built(built.config_class.from_dict(kind["config"], **how))


def fill(
    model: nn.Module, described: dict, state: dict[str, Tensor], tied: dict[str, str]
) -> nn.Module:
    """`model` with layers and tensors put in their places.

    tied: other name -> name in `state`; they become one tensor again.
    """
    for name, layer in described["layers"].items():
        model = replace_(model, {name: _built(layer, name, state)})
    model.load_state_dict(state | {other: state[n] for other, n in tied.items()}, assign=True)
    for other, name in tied.items():
        _put(model, other, attrgetter(name)(model))
    for name, dtype in described["computed"].items():
        _put(model, name, model.get_buffer(name).to(DTYPES[dtype]))
    return model


def _put(model: nn.Module, name: str, tensor: Tensor) -> None:
    parent, _, last = name.rpartition(".")
    setattr(model.get_submodule(parent), last, tensor)


def _kind(model: nn.Module, layers: dict[str, dict]) -> dict:
    """Class and config of `model`; without a config where the class alone does not make it."""
    name = type(model).__name__
    if type(model) is LanguageModel:
        kind = {"library": "costlab", "class": name, "config": asdict(model.config)}
    elif getattr(sys.modules.get("transformers"), name, None) is type(model):
        config = json.loads(model.config.to_json_string(use_diff=False))
        kind = {"library": "transformers", "class": name, "config": config}
        kind["attention"] = getattr(model.config, "_attn_implementation", None)
    else:
        return {"class": name}
    same = _anatomy(model, layers) == _anatomy(build(kind), layers)
    return kind if same else {"class": name}


def _anatomy(model: nn.Module, layers: dict[str, dict]) -> dict[str, object]:
    """Kind of every module and shape of every tensor, outside of `layers`."""
    found = {n: type(m) for n, m in model.named_modules(remove_duplicate=False) if n not in layers}
    shapes = {n: tuple(t.shape) for n, t in model.state_dict().items()}
    return found | {n: s for n, s in shapes.items() if n.rpartition(".")[0] not in layers}


def _layer(layer: nn.Module) -> dict:
    """What is needed to build `layer` again around its tensors."""
    plain = {n: v for n, v in vars(layer).items() if v is None or isinstance(v, str | int | float)}
    names = {"buffers": list(layer._buffers), "parameters": list(layer._parameters)}
    return {"type": type(layer).__name__, "attributes": plain} | names


def _built(described: dict, name: str, state: dict[str, Tensor]) -> nn.Module:
    """The layer that was described, with its tensors from `state`."""
    kind = LAYERS[described["type"]]
    layer = kind.__new__(kind)
    nn.Module.__init__(layer)
    vars(layer).update(described["attributes"])
    prefix = name + "." if name else ""
    for buffer in described["buffers"]:
        layer.register_buffer(buffer, state.get(prefix + buffer))
    for parameter in described["parameters"]:
        held = state.get(prefix + parameter)
        layer.register_parameter(parameter, None if held is None else nn.Parameter(held))
    return layer


@contextmanager
def _without_memory() -> Iterator[None]:
    """Modules built inside have parameters on the device "meta"; their buffers are computed.

    So building takes no time for numbers that the file replaces, and no random ones are used up.
    """
    register = nn.Module.register_parameter

    def on_meta(module: nn.Module, name: str, given: nn.Parameter | None) -> None:
        if given is not None and not given.is_meta:
            given = nn.Parameter(given.detach().to("meta"), given.requires_grad)
        register(module, name, given)

    nn.Module.register_parameter = on_meta
    try:
        with torch.random.fork_rng(devices=[]):  # some models draw before they register
            yield
    finally:
        nn.Module.register_parameter = register
