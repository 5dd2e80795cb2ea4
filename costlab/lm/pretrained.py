"""Save and load the book's model: one safetensors file with shape, weights and their digest.

Taught in notebook 01. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from importlib import resources
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from costlab.lm.model import Config, LanguageModel

WEIGHTS = Path(str(resources.files("costlab.lm"))) / "weights.safetensors"


def write_whole(tensors: Mapping[str, Tensor], path: str | Path, metadata: dict[str, str]) -> int:
    """Save under another name, then rename: a full disk leaves nothing half-written.

    A digest of it all goes into the metadata and is checked when the file is read. Returns the
    bytes written; raises OSError with one sentence when they cannot be.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        tensors = {n: t.detach().cpu().contiguous() for n, t in tensors.items()}
        save_file(tensors, part, metadata=metadata | {"sha256": digest(tensors, metadata)})
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise OSError(f"could not write {path}: {error}") from error
    finally:
        with suppress(OSError):  # where even the folder is missing, the first error says so
            part.unlink(missing_ok=True)
    return path.stat().st_size


def read_whole(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a safetensors file.

    Raises ValueError with one sentence if it is damaged.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(f"no weight file at {path}")
    try:
        with safe_open(str(path), "pt") as file:
            names = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"weight file {path} is damaged or cut short: {error}") from error
    found = metadata.pop("sha256", None)
    # the second: files whose digest leaves the metadata out
    if found and found != digest(tensors, metadata) and found != digest(tensors, {}):
        raise ValueError(f"weight file {path} is damaged: its content does not match its SHA-256")
    return tensors, metadata


def digest(tensors: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """SHA-256 over the metadata, and over names and bytes of the tensors, in order of name."""
    total = hashlib.sha256(json.dumps(metadata, sort_keys=True).encode() if metadata else b"")
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].detach().contiguous().reshape(-1).view(torch.uint8).numpy())
    return total.hexdigest()


def save_model(
    model: LanguageModel,
    path: str | Path,
    *,
    dtype: torch.dtype | None = torch.bfloat16,
    recipe: dict | None = None,
) -> int:
    """Write the book's model to `path`, its weights as `dtype` (None keeps them).

    recipe: how it was trained, kept beside the weights. Returns the bytes written.
    """
    if not isinstance(model, LanguageModel):
        raise TypeError(f"model must be the book's LanguageModel, got {type(model).__name__}")
    tensors = {n: t.to(dtype or t.dtype) for n, t in model.state_dict().items()}
    metadata = {"config": json.dumps(asdict(model.config))}
    if recipe is not None:
        metadata["recipe"] = json.dumps(recipe)
    return write_whole(tensors, path, metadata)


def load_model(
    path: str | Path | None = None, *, dtype: torch.dtype = torch.float32
) -> LanguageModel:
    """The book's trained model, ready to use, or the model saved at `path`; weights become `dtype`.

    Raises FileNotFoundError, or ValueError when the file is damaged, is cut short, or holds another
    kind of model.
    """
    path = path or WEIGHTS
    tensors, metadata = read_whole(path)
    try:
        model = LanguageModel(Config(**json.loads(metadata["config"])))
        model.load_state_dict(tensors)
    except (KeyError, TypeError, ValueError, RuntimeError) as error:
        reason = "no config in it" if "config" not in metadata else " ".join(str(error).split())
        raise ValueError(
            f"weight file {path} does not hold a model of this book ({reason})"
        ) from error
    return model.to(dtype).eval()


def export(model: LanguageModel, folder: str | Path) -> Path:
    """Write `config.json` and `model.safetensors` for `transformers`' `from_pretrained`."""
    folder = Path(folder)
    write_whole(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    config = model.config.to_transformers() | {"dtype": "float32"}
    part = folder / "config.json.part"
    try:
        part.write_text(json.dumps(config, indent=1))
        os.replace(part, folder / "config.json")
    except OSError as error:
        raise OSError(f"could not write {folder / 'config.json'}: {error}") from error
    finally:
        part.unlink(missing_ok=True)
    return folder
