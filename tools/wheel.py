"""Build the wheel and install it, extras included, into .venv-wheel.

    .venv/bin/python tools/wheel.py

There the notebooks run against what a reader would install, not against the working tree. The new
environment borrows .venv's packages, and installs from no index: an extra that .venv does not
satisfy fails here.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / ".venv-wheel"
DIST = ROOT / "dist"


def build(target: Path = DIST) -> Path:
    """Build the wheel into a folder, which then holds nothing else."""
    shutil.rmtree(target, ignore_errors=True)
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(target)]
    subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
    return next(target.glob("*.whl"))


def install(wheel: Path) -> None:
    """Create the environment anew and install the wheel with all its extras."""
    venv.create(TARGET, clear=True, with_pip=False)
    scheme = {"base": str(TARGET), "platbase": str(TARGET)}
    site = Path(sysconfig.get_path("purelib", "venv", scheme))
    # A folder named in a .pth file is searched, but the .pth files in it are not run: the editable
    # costlab stays out.
    (site / "packages_of_venv.pth").write_text(sysconfig.get_path("purelib") + "\n")
    python = TARGET / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet"]
    requirement = f"costlab[all] @ {wheel.as_uri()}"
    subprocess.run([*pip, "--no-index", "--disable-pip-version-check", requirement], check=True)
    where = [python, "-c", "import costlab; print(costlab.__file__)"]
    found = subprocess.run(where, check=True, capture_output=True, text=True, cwd=TARGET).stdout
    if TARGET not in Path(found).parents:
        sys.exit(f".venv-wheel imports costlab from {found.strip()}, not from the wheel.")


if __name__ == "__main__":
    install(build())
