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
    return _write(FOLDER / f"{name}.json", {"origin": origin, **values})


def keep(path: Path, setup: dict, runs: list[dict]) -> None:
    """Write the finished runs of an experiment, whole or not at all; `kept` reads them back."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _write(path, {"setup": setup, "runs": runs})


def kept(path: Path, setup: dict) -> list[dict]:
    """The finished runs that `keep` wrote for this very setup; none for another one."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    return found["runs"] if found["setup"] == json.loads(json.dumps(setup)) else []


def missing(runs: list[dict], done: list[dict]) -> list[dict]:
    """Those of `runs` that are not among the finished ones, which hold figures besides."""
    return [run for run in runs if not any(run.items() <= other.items() for other in done)]


def _write(path: Path, content: dict) -> Path:
    part = path.with_suffix(".part")
    try:
        part.write_text(json.dumps(content, indent=1) + "\n")
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
