"""What Colab holds, from a checkout of googlecolab/backend-info, where Colab publishes it.

    python tools/colab.py CHECKOUT             write _build/colab.txt, pins for pip, and print
                                               the version of Python as `python=3.13`
    python tools/colab.py CHECKOUT --record    write tests/colab_packages.txt anew

Only the packages that the book needs are kept. The weekly workflow runs the notebooks with them;
tests/test_colab.py holds our ranges against the record. It needs the standard library alone.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
RECORD = ROOT / "tests" / "colab_packages.txt"
PINS = ROOT / "_build" / "colab.txt"
NEEDED = (
    "accelerate", "ipykernel", "ipython", "matplotlib", "numpy", "peft", "safetensors", "torch",
    "torchao", "tqdm", "transformers",
)  # fmt: skip


def held(freeze: str) -> dict[str, str]:
    """Name -> version of each needed package in the text of `pip freeze`, local suffixes apart."""
    pairs = dict(re.findall(r"^([A-Za-z0-9_.-]+)==([\w.]+)", freeze, re.M))
    if lacking := [name for name in NEEDED if name not in pairs]:
        sys.exit(f"Colab's list lacks {', '.join(lacking)}: the notebooks need them there.")
    return {name: pairs[name] for name in NEEDED}


def python_version(os_info: str) -> str:
    """The version of Python in the text of os-info, such as 3.13.15."""
    return re.search(r"^Python (\S+)$", os_info, re.M)[1]


def record(checkout: Path, python: str, packages: dict[str, str]) -> str:
    """The text of the record, with the commit and the date of what it was taken from."""
    ask = ["git", "-C", str(checkout), "log", "-1", "--format=%H %cs"]
    commit, date = subprocess.run(ask, check=True, capture_output=True, text=True).stdout.split()
    head = [
        "# What Colab's GPU machines hold, as far as the book needs it. Written by tools/colab.py.",
        "# Source: googlecolab/backend-info, pip-freeze.gpu.txt and os-info-gpu.txt, at commit",
        f"# {commit}",
        f"# Date: {date}",
    ]
    pins = [f"{name}=={version}" for name, version in packages.items()]
    return "\n".join([*head, f"python=={python}", *pins]) + "\n"


def main() -> None:
    """Write pins, or the record."""
    checkout = Path(sys.argv[1])
    packages = held((checkout / "pip-freeze.gpu.txt").read_text(encoding="utf-8"))
    python = python_version((checkout / "os-info-gpu.txt").read_text(encoding="utf-8"))
    target, text = PINS, "".join(f"{name}=={version}\n" for name, version in packages.items())
    if "--record" in sys.argv[2:]:
        target, text = RECORD, record(checkout, python, packages)
    target.parent.mkdir(exist_ok=True)
    draft = target.with_suffix(".tmp")
    draft.write_text(text, encoding="utf-8")
    os.replace(draft, target)
    print(f"python={'.'.join(python.split('.')[:2])}")


if __name__ == "__main__":
    main()
