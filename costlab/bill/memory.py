"""Peak memory of a model at work, measured in a fresh process started as a command.

A new command, never a copy of the caller: so it works from a notebook, from a script without a main
guard and from standard input alike. The figure is what the model adds to an interpreter that has
torch loaded: weights, cache and working memory at their highest. Taught in notebook 01.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import torch
from torch import nn

from costlab.lm.decoding import decode, is_transformers
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import load_model, save_model

TINY = Config(width=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn=32, context=8)
# Name of a module -> what writes models for its `load`: imports run one way, so modules above this
# one enter themselves. The file that it writes gets the module's name.
WRITERS: dict[str, Callable[[nn.Module, Path], bool]] = {}


def write_model(model: nn.Module, folder: Path) -> Path | None:
    """Write the model where a new process can read it.

    None for a kind that would need unpickling.
    """
    for reader, write in WRITERS.items():
        if write(model, folder / reader):
            return folder / reader
    if type(model) is LanguageModel and _plain(model):
        save_model(model, folder / "model.safetensors", dtype=None)
        return folder / "model.safetensors"
    if is_transformers(model) and hasattr(model, "save_pretrained"):
        model.save_pretrained(folder / "transformers")
        return folder / "transformers"
    return None


def _plain(model: LanguageModel) -> bool:
    """Whether the model is just what its config says, so that it can be built again from that."""
    with torch.device("meta"):
        fresh = LanguageModel(model.config)
    return {n: t.shape for n, t in fresh.state_dict().items()} == {
        n: t.shape for n, t in model.state_dict().items()
    }


def peak_in_new_process(path: Path, dtype: str, workload: dict) -> int | None:
    """Bytes that the model at `path` adds at its peak while it serves `workload`.

    None where it cannot be told.
    """
    job = {"path": str(path), "dtype": dtype, "threads": torch.get_num_threads()}
    job |= {"readers": list(WRITERS)} | workload
    try:
        done = subprocess.run(
            [sys.executable, "-m", "costlab.bill.memory"],
            input=json.dumps(job),
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
            env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
        )
    except subprocess.TimeoutExpired:
        return None
    lines = done.stdout.strip().splitlines()
    return json.loads(lines[-1])["peak"] if done.returncode == 0 and lines else None


def resident(field: str) -> int | None:
    """`VmRSS` (memory held now) or `VmHWM` (its highest) in bytes, where Linux tells."""
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    line = next(row for row in status.read_text().splitlines() if row.startswith(field))
    return int(line.split()[1]) * 1024


def main() -> None:
    """Load the model named on stdin, serve its workload, print the peak."""
    job = json.load(sys.stdin)
    torch.set_num_threads(job["threads"])
    transformers = Path(job["path"]).is_dir()
    if transformers:
        from transformers import AutoConfig, AutoModelForCausalLM

        with torch.device("meta"):  # a shell without weights: its code, 100 MB, is loaded now
            AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(job["path"]))
    reader = Path(job["path"]).name
    if reader in job["readers"]:
        reading = import_module(reader)
        reading.shell(job["path"])
    # code and thread pools are not the model: they are there before the first reading
    dtype = getattr(torch, job["dtype"])
    torch.ones(64, 64, dtype=dtype) @ torch.ones(64, 64, dtype=dtype)
    decode(LanguageModel(TINY).to(dtype).eval(), torch.ones(1, 2, dtype=torch.long), tokens=2)
    before = resident("VmRSS")
    if transformers:
        model = AutoModelForCausalLM.from_pretrained(job["path"]).to(dtype).eval()
    elif reader in job["readers"]:
        model = reading.load(job["path"])
    else:
        model = load_model(job["path"], dtype=dtype)
    if before is not None:
        Path("/proc/self/clear_refs").write_text("5")  # forget the highest: loading is not serving
    prompt = torch.ones(job["batch"], job["prompt"], dtype=torch.long)
    decode(model, prompt, tokens=max(1, job["generate"]), kv_cache=job["kv_cache"])
    after = resident("VmHWM")
    print(json.dumps({"peak": after - before if before is not None else None}))


if __name__ == "__main__":
    main()
