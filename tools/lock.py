"""Pin the environment that this runs in: write its exact versions to requirements.txt.

.venv/bin/python tools/lock.py
"""

import os
import re
import subprocess
import sys
from pathlib import Path

REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
HEADER = """\
--extra-index-url https://download.pytorch.org/whl/cpu
# The line above is for Linux machines without a GPU: torch comes from there as +cpu, which meets
# its pin below without gigabytes of CUDA. PyPI has all of them too. Written by tools/lock.py.
"""


def frozen() -> list[str]:
    """The environment's `name==version` lines, without local suffixes such as +cpu."""
    command = [sys.executable, "-m", "pip", "freeze", "--all", "--local", "--exclude-editable"]
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    pins = [re.sub(r"\+[\w.]+$", "", line) for line in lines if not re.match("costlab|pip=", line)]
    loose = [line for line in pins if "==" not in line]
    if loose:
        sys.exit(f"Not installed from an index, so it cannot be pinned: {', '.join(loose)}.")
    return pins


def main() -> None:
    """Write the pins of an environment in which nothing is broken."""
    subprocess.run([sys.executable, "-m", "pip", "check"], check=True)
    draft = REQUIREMENTS.with_suffix(".tmp")
    draft.write_text(HEADER + "\n".join(frozen()) + "\n")
    os.replace(draft, REQUIREMENTS)


if __name__ == "__main__":
    main()
