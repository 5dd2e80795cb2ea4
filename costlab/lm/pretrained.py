"""Save and load the book's model: one safetensors file with shape, weights and their digest.

Taught in notebook 01. Nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
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

    Returns the bytes written; raises OSError with one sentence when they cannot be.
    """
    path = Path(path)
    part = path.with_name(path.name + ".part")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        save_file({n: t.detach().contiguous() for n, t in tensors.items()}, part, metadata=metadata)
        os.replace(part, path)
    except (OSError, SafetensorError) as error:
        raise OSError(f"could not write {path}: {error}") from error
    finally:
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
            return {name: file.get_tensor(name) for name in names}, file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise ValueError(f"weight file {path} is damaged or cut short: {error}") from error


def digest(tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over names and bytes of the tensors, in order of name."""
    total = hashlib.sha256()
    for name in sorted(tensors):
        total.update(name.encode())
        total.update(tensors[name].detach().contiguous().view(torch.uint8).numpy())
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
    tensors = {n: t.to(dtype or t.dtype).cpu() for n, t in model.state_dict().items()}
    metadata = {"config": json.dumps(asdict(model.config)), "sha256": digest(tensors)}
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
    if "config" not in metadata:
        raise ValueError(f"weight file {path} does not hold a model of this book (no config in it)")
    if metadata.get("sha256") != digest(tensors):
        raise ValueError(f"weight file {path} is damaged: its weights do not match their SHA-256")
    model = LanguageModel(Config(**json.loads(metadata["config"])))
    model.load_state_dict(tensors)
    return model.to(dtype).eval()


def export(model: LanguageModel, folder: str | Path) -> Path:
    """Write `config.json` and `model.safetensors` for `transformers`' `from_pretrained`."""
    folder = Path(folder)
    write_whole(model.state_dict(), folder / "model.safetensors", {"format": "pt"})
    config = model.config.to_transformers() | {"dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config, indent=1))
    return folder
