"""Recorded results: runs longer than a notebook allows, written by `experiments/*.py` as JSON.

Each file says on which machine, with which versions, from which commit, when and in how many
seconds it was computed. Taught in: notebooks/01_the_bill.ipynb.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from datetime import date
from importlib import resources
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

FOLDER = Path(str(resources.files(__name__)))


def names() -> list[str]:
    """The recorded results there are."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def read(name: str) -> dict:
    """The recorded result called `name`, such as 'language_model'; ValueError lists the names."""
    if name not in names():
        raise ValueError(f"name must be one of {', '.join(names())}, got {name!r}")
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def record(name: str, values: dict, *, seconds: float) -> Path:
    """Write a result, whole or not at all, with where it comes from; returns the file's path."""
    from costlab.hardware import describe

    origin = {
        "recorded": date.today().isoformat(),
        "seconds": round(seconds, 1),
        "machine": describe(),
        "commit": _commit(),
        "versions": {p: _version(p) for p in ("torch", "numpy", "transformers", "safetensors")},
        "python": platform.python_version(),
    }
    path = FOLDER / f"{name}.json"
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps({"origin": origin, **values}, indent=1) + "\n")
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)
    return path


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _commit() -> str | None:
    """Commit of the sources, with a plus sign when they were changed since."""
    if shutil.which("git") is None:
        return None
    git = ["git", "-C", str(FOLDER)]
    head = subprocess.run([*git, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    if head.returncode:
        return None
    dirty = subprocess.run([*git, "status", "--porcelain"], capture_output=True, text=True).stdout
    return head.stdout.strip() + ("+" if dirty.strip() else "")
