"""Write any model of this book to one file in fewer bytes, and build it again from that file.

The file is a safetensors file, written whole or not at all, with a digest; nothing is unpickled.
What is needed to build the model again stands in its metadata as JSON. Taught in notebook 03.
"""

from __future__ import annotations

import copy
import json
import zlib
from pathlib import Path
from types import ModuleType

import torch
from torch import Tensor, nn

from costlab.bill import memory
from costlab.compress.blueprints import DTYPES, LAYERS, build, describe, fill
from costlab.compress.encodings import ENCODINGS, PARTS, codec, decode, encode, expand, squeeze
from costlab.lm.pretrained import read_whole, write_whole


def save(
    model: nn.Module, path: str | Path, *, format: str = "safetensors", compress: str | None = None
) -> int:
    """Write `model` to `path`, its folder too if need be; returns the bytes of the file.

    format: "safetensors" stores the state dict as it is. "packed" takes as few bits as the values
    need: tensors of at most 256 distinct values as places in a table, in 1 to 8 bits, and float32
    as bfloat16 where every value is one. "sparse" stores a bit for each number, and the numbers
    that are not zero. Each tensor takes the smallest of these, or stays as it is; codes of
    quantized layers are packed already. All come back bit for bit, with the sign of zeros and the
    payload of NaNs. compress: "zlib" or "zstd" squeezes what is stored, where that helps.

    Tied tensors are stored once. Raises TypeError or ValueError before anything is written, OSError
    when it cannot be.
    """
    by = _check(model, format, compress)
    state, tied = _untied(model)
    head = describe(model) | {"tied": tied, "compress": compress, "encoded": {}, "streams": {}}
    stored = {}
    for name, tensor in state.items():
        how, parts = encode(tensor, format)
        if how != "plain":
            head["encoded"][name] = [how, str(tensor.dtype), list(tensor.shape)]
        for suffix, part in parts.items():
            stream = squeeze(part, by) if by else None
            if stream is not None:
                head["streams"][name + suffix] = [str(part.dtype), list(part.shape)]
            stored[name + suffix] = part if stream is None else stream
    return write_whole(stored, path, {"storage": json.dumps(head)})


def load(path: str | Path, *, model: nn.Module | None = None) -> nn.Module:
    """The model that `save` wrote to `path`, on the CPU, in evaluation mode.

    The book's models and those of `transformers` are built from the file alone, with their
    quantized layers. For any other, give a `model` of the same architecture, whatever its weights:
    it is not changed. Buffers that no state dict holds are computed anew.

    Raises FileNotFoundError, or ValueError with one sentence when the file is damaged, is of
    another kind, or does not fit the model.
    """
    if model is not None and not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module or None, got {type(model).__name__}")
    stored, head = _read(path, alone=model is None)
    try:
        state = _state(stored, head)
        new = build(head["model"]) if model is None else copy.deepcopy(model)
        return fill(new, head, state, head["tied"]).eval()
    except (KeyError, TypeError, ValueError, RuntimeError, AttributeError, zlib.error) as error:
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        into = "does not hold a whole model" if model is None else "does not fit model"
        raise ValueError(f"{path} {into} ({reason})") from error


def shell(path: str | Path) -> nn.Module:
    """The model in the file at `path` before its weights arrive: parameters without memory.

    Quantized layers are still the float ones that they replaced. Raises as `load` does.
    """
    return build(_read(path, alone=True)[1]["model"])


def _check(model: nn.Module, format: str, compress: str | None) -> ModuleType | None:
    """What compresses; raises for arguments that cannot be meant."""
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if format not in ENCODINGS:
        raise ValueError(f"format must be one of {tuple(ENCODINGS)}, got {format!r}")
    for name, tensor in model.state_dict().items():
        if type(tensor) is not Tensor or tensor.layout != torch.strided or tensor.is_meta:
            given = "meta" if getattr(tensor, "is_meta", False) else type(tensor).__name__
            raise TypeError(f"model must hold plain tensors with values, got {given} in {name!r}")
    return None if compress is None else codec(compress)


def _untied(model: nn.Module) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Name -> tensor of the state dict, and other name -> name for those that are tied."""
    state, tied, seen, memories = {}, {}, {}, set()
    for name, tensor in model.state_dict().items():
        place = tensor.data_ptr(), tensor.dtype, tensor.shape, tensor.stride()
        if tensor.numel() and place in seen:
            tied[name] = seen[place]
            continue
        seen[place] = name
        storage = tensor.untyped_storage().data_ptr()
        # safetensors refuses tensors that are parts of one another
        state[name] = tensor.clone() if storage in memories else tensor
        memories.add(storage)
    return {name: tensor.detach().cpu() for name, tensor in state.items()}, tied


def _read(path: str | Path, *, alone: bool) -> tuple[dict[str, Tensor], dict]:
    """What is stored at `path`, and its description; alone: which has to do without a model."""
    stored, metadata = read_whole(path)
    try:
        head = json.loads(metadata["storage"])
        kind = head["model"]["class"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path} was not written by costlab.save") from error
    if alone and "config" not in head["model"]:
        raise ValueError(
            f"model is needed to load {path}: it holds a {kind}, which cannot be built from the "
            "file alone; give one of the same architecture"
        )
    return stored, head


def _state(stored: dict[str, Tensor], head: dict) -> dict[str, Tensor]:
    """Name -> tensor, decoded; `stored` is used up on the way."""
    # copies: what was read is a window on the file, and would change with it
    stored = {name: stored.pop(name).clone() for name in list(stored)}
    if head["streams"]:
        by = codec(head["compress"])
    for part, (dtype, shape) in head["streams"].items():
        stored[part] = expand(stored[part], by, DTYPES[dtype], shape)
    for name, (how, dtype, shape) in head["encoded"].items():
        parts = {suffix: stored.pop(name + suffix) for suffix in PARTS[how]}
        stored[name] = decode(how, parts, DTYPES[dtype], shape)
    return stored


def _for_bills(model: nn.Module, path: Path) -> bool:
    """Write a model with replaced layers for a new process that measures its memory."""
    if not any(type(module) in LAYERS.values() for module in model.modules()):
        return False
    return "config" in describe(model)["model"] and save(model, path) > 0


memory.WRITERS[__name__] = _for_bills
