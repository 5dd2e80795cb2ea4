"""Create .venv and install everything that the book and its tests need.

    python3.11 tools/install.py

Only the standard library: this is the first thing that runs on a fresh machine. An interrupted
run is mended by the next one.
"""

import os
import platform
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
PINNED_ON = (3, 11)
INDEX = "--extra-index-url "


def check_python() -> None:
    """Stop with one sentence where the pins cannot install; say so where they were not tried."""
    have = "{}.{}".format(*sys.version_info[:2])
    if sys.version_info[:2] < PINNED_ON:
        sys.exit(
            f"The pinned packages need Python 3.11, and {sys.executable} is {have}: "
            "name another with `make PYTHON=/path/to/python3.11`."
        )
    if sys.version_info[:2] > PINNED_ON:
        print(f"The pins were made on Python 3.11 and this is {have}: most of it will work.")


def works(python: Path) -> bool:
    """Whether `python` is a virtual environment's interpreter that has pip."""
    try:
        return (
            subprocess.run([python, "-m", "pip", "--version"], capture_output=True).returncode == 0
        )
    except OSError:
        return False


def pip(*args: str | Path, check: bool = True) -> int:
    """Run the environment's pip; unless told not to, stop where it fails."""
    quiet = ["--quiet", "--disable-pip-version-check"]
    code = subprocess.run([PYTHON, "-m", "pip", args[0], *quiet, *args[1:]], cwd=ROOT).returncode
    if check and code:
        sys.exit(code)
    return code


def has_nvidia_gpu() -> bool:
    """Whether the NVIDIA driver answers."""
    tool = shutil.which("nvidia-smi")
    return bool(tool) and subprocess.run([tool, "-L"], capture_output=True).returncode == 0


def install_cpu_torch(index: str, pin: str) -> None:
    """Take torch alone from PyTorch's CPU index: on Linux, PyPI's needs gigabytes of CUDA.

    One short try. Where the index cannot be reached, torch comes with the rest, from PyPI.
    """
    short = ["--no-deps", "--timeout", "15", "--retries", "1"]
    if pip("install", *short, "--index-url", index, pin, check=False):
        print("PyTorch's CPU index does not answer: taking the larger build from PyPI instead.")


def main() -> None:
    """Install what requirements.txt pins, then costlab itself, editable."""
    check_python()
    if not works(PYTHON):
        print("Creating .venv", flush=True)
        subprocess.run([sys.executable, "-m", "venv", "--clear", VENV], check=True)
    lines = (ROOT / "requirements.txt").read_text().splitlines()
    pins = [line for line in lines if "==" in line]
    index = next(line.removeprefix(INDEX) for line in lines if line.startswith(INDEX))
    print(f"Installing {len(pins)} pinned packages into .venv: minutes, the first time", flush=True)
    if platform.system() == "Linux" and not has_nvidia_gpu():
        install_cpu_torch(index, next(pin for pin in pins if pin.startswith("torch==")))
    # Without the index line: pip would ask an index that may be out of reach for every package.
    plain = VENV / "requirements.txt"
    plain.write_text("\n".join(pins) + "\n")
    pip("install", "-r", plain)
    pip("install", "--no-deps", "--no-build-isolation", "--editable", ".")


if __name__ == "__main__":
    main()
