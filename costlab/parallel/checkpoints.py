"""Checkpoints of sharded training, whole or not at all. Taught in notebook 09.

Each rank writes its own slices with `torch.distributed.checkpoint`, into a folder under another
name. When all are on disk, rank 0 adds a manifest that lists every file with its size and hash, and
renames the folder: only then is there a checkpoint. Slices are cut anew on reading, so that a run
may go on with another number of processes.

Learning rates and the state of dice are not in it: set them from the step, as the trainer of the
book draws its windows. Frozen parameters are not either: they come with the model.

torch keeps its index pickled, which could run a stranger's code: the manifest's hashes tell a
broken file, not a hostile one. Load the checkpoints that you wrote.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Shard

from costlab.parallel.gradient import ShardedModel
from costlab.parallel.partition import Unit

MANIFEST = "manifest.json"


def save_checkpoint(
    sharded: ShardedModel, folder: str | Path, *, step: int, keep: int = 2, **about: object
) -> Path:
    """Write weights and optimizer states as `folder/step_…`, whole or not at all.

    All ranks call it. folder: on a file system that all ranks see. step: steps done, from 0. keep:
    how many checkpoints stay; older ones are removed after this one is there. about: what else its
    manifest is to say. Returns the path. Raises TypeError or ValueError.
    Taught in: notebooks/09_gradient_parallel.ipynb.
    """
    _check(sharded, step=step, keep=keep)
    about |= {"step": step, "model": fingerprint(sharded)}
    return write(_state(sharded), folder, about, keep=keep)


def load_checkpoint(sharded: ShardedModel, folder: str | Path) -> int:
    """Restore the newest whole checkpoint in place; returns its step, 0 where there is none.

    Half-written and damaged ones are passed over; all ranks call it. Number of processes and stage
    may differ from those that wrote it. Raises ValueError for a checkpoint of another model.
    Taught in: notebooks/09_gradient_parallel.ipynb.
    """
    _check(sharded)
    path = newest(folder)
    if path is None:
        return 0
    manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
    _compare(path, manifest.get("model", {}), fingerprint(sharded))
    _restore(sharded, path)
    return manifest["step"]


def write(state: dict[str, Tensor], folder: str | Path, about: dict, *, keep: int = 2) -> Path:
    """Write what all ranks hold as `folder/step_…`, whole or not at all; all ranks call it.

    about: what the manifest says, `step` at least. keep: how many checkpoints stay. Returns the
    path.
    """
    folder = Path(folder)
    final = folder / f"step_{about['step']:09d}"
    draft = final.with_suffix(".part")
    if dist.get_rank() == 0:
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(draft, ignore_errors=True)
    dist.barrier()
    dcp.save(state, storage_writer=dcp.FileSystemWriter(draft))  # flushes each file
    dist.barrier()
    if dist.get_rank() == 0:
        publish(draft, final, about)
        for old in complete(folder)[:-keep]:
            _remove(old)
    dist.barrier()
    return final


def newest(folder: str | Path) -> Path | None:
    """The newest whole checkpoint, as rank 0 finds it; all ranks call it. None: there is none."""
    found = [None]
    if dist.get_rank() == 0:
        found = [next((path for path in reversed(complete(folder)) if whole(path)), None)]
    dist.broadcast_object_list(found, src=0)
    return found[0]


def complete(folder: str | Path) -> list[Path]:
    """The checkpoints in a folder that were finished, oldest first; `whole` tells damaged ones."""
    return sorted(p for p in Path(folder).glob("step_*") if not p.suffix)


def whole(path: Path) -> bool:
    """Whether every file of a checkpoint is there, as it was written."""
    try:
        files = json.loads((path / MANIFEST).read_text(encoding="utf-8"))["files"]
        return all(digest(path / name) == expected for name, expected in files.items())
    except (OSError, ValueError, KeyError):
        return False


def digest(path: Path) -> str:
    """SHA-256 of a file."""
    found = hashlib.sha256()
    with path.open("rb") as file:
        while part := file.read(2**20):
            found.update(part)
    return found.hexdigest()


def fingerprint(sharded: ShardedModel) -> dict[str, dict]:
    """Unit -> names and shapes of its parameters: what a checkpoint must fit."""
    kind = "flat" if sharded.units[0].cut else "greedy"
    found = {u.name: {n: list(p.shape) for n, p in u.parameters.items()} for u in sharded.units}
    return {"partition": {"kind": kind}} | found


def publish(draft: Path, final: Path, about: dict) -> None:
    """Add the manifest and give the folder its name, each only when what is before is on disk."""
    files = {path.name: digest(path) for path in sorted(draft.iterdir())}
    with (draft / MANIFEST).open("w", encoding="utf-8") as file:
        json.dump(about | {"files": files}, file)
        file.flush()
        os.fsync(file.fileno())
    _flush(draft)
    if final.exists():
        _remove(final)
    os.replace(draft, final)
    _flush(final.parent)


def _remove(path: Path) -> None:
    """Take the name away first: what is half removed must not look like a checkpoint."""
    gone = path.with_suffix(".old")
    shutil.rmtree(gone, ignore_errors=True)
    os.replace(path, gone)
    shutil.rmtree(gone)


def _flush(folder: Path) -> None:
    """Have the names in a folder on disk, where the system can do that (Windows cannot)."""
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _state(sharded: ShardedModel) -> dict[str, Tensor]:
    """Name -> tensor of all that must be kept: weights and optimizer states of units, buffers."""
    mesh = _mesh(sharded)
    state = _buffers(sharded)
    for unit in sharded.units:
        found = {"weight": unit.weight.detach()} | sharded.optimizer.state.get(unit.weight, {})
        for key, tensor in found.items():
            state |= _entries(unit, key, tensor, mesh)
    return state


def _buffers(sharded: ShardedModel) -> dict[str, Tensor]:
    """What the model keeps besides parameters, such as the averages of a batch norm (rank 0's)."""
    trained = {name for name, _ in sharded.module.named_parameters(remove_duplicate=False)}
    found = sharded.module.state_dict().items()
    return {f"buffer|{name}": tensor for name, tensor in found if name not in trained}


def _entries(unit: Unit, key: str, tensor: Tensor, mesh: DeviceMesh) -> dict[str, Tensor]:
    """One tensor of a unit under its name: slices as parts of a whole, single numbers as such."""
    if tensor.ndim == 0:
        return {f"{unit.name}|{key}": tensor}
    if unit.cut:
        return {f"{unit.name}|{key}": _part(unit, tensor, mesh)}
    return {f"{unit.name}|{key}|{name}": part for name, part in unit.by_name(tensor).items()}


def _part(unit: Unit, tensor: Tensor, mesh: DeviceMesh) -> DTensor:
    """This rank's slice as torch's own kind of distributed tensor, cut as `torch.chunk` cuts."""
    size = torch.Size([unit.length])
    return DTensor.from_local(tensor, mesh, [Shard(0)], run_check=False, shape=size, stride=(1,))


def _mesh(sharded: ShardedModel) -> DeviceMesh:
    kind = sharded.units[0].shard.device.type
    return init_device_mesh(kind, (dist.get_world_size(),))


def _restore(sharded: ShardedModel, path: Path) -> None:
    """Read this rank's slices; states that the optimizer has not made yet are made."""
    saved = dcp.FileSystemReader(path).read_metadata().state_dict_metadata
    mesh, wanted, places = _mesh(sharded), _buffers(sharded), []
    for unit in sharded.units:
        # one entry for each tensor of the unit: a slice of it tells the type of all
        mine = {
            n.split("|")[3]: about for n, about in saved.items() if n.startswith(unit.name + "|")
        }
        for key, about in mine.items():
            single = not about.size
            shape, device = ((), "cpu") if single else (unit.weight.shape, unit.weight.device)
            local = torch.empty(shape, dtype=about.properties.dtype, device=device)
            wanted |= _entries(unit, key, local, mesh)
            places.append((unit, key, local))
    dcp.load(wanted, storage_reader=dcp.FileSystemReader(path))
    for unit, key, local in places:
        if key == "weight":
            unit.weight.data.copy_(local)
        else:
            sharded.optimizer.state[unit.weight][key] = local
    for unit in sharded.units:
        unit.publish()
        unit.free() if sharded.stage == 3 else unit.gather()


def _compare(path: Path, there: dict[str, dict], here: dict[str, dict]) -> None:
    for unit in dict.fromkeys([*here, *there]):
        saved, own = there.get(unit, {}), here.get(unit, {})
        for name in dict.fromkeys([*own, *saved]):
            if saved.get(name) != own.get(name):
                raise ValueError(
                    f"checkpoint {path.name} is of another model, optimizer or partition: in unit "
                    f"{unit!r}, {name} is {saved.get(name)} there and {own.get(name)} here"
                )


def _check(sharded: ShardedModel, step: int = 0, keep: int = 1) -> None:
    if not isinstance(sharded, ShardedModel):
        kind = type(sharded).__name__
        raise TypeError(f"sharded must be what shard_gradients returns, got {kind}")
    for name, value, least in (("step", step, 0), ("keep", keep, 1)):
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{name} must be a whole number of at least {least}, got {value!r}")
