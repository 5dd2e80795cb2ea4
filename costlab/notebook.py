"""The start of every notebook: fixed seeds, quiet progress bars, one figure style, the machine.

The first cell of each notebook is generated from one template (`tools/first_cell.py`) and calls
`begin`, so that a run from top to bottom prints the same numbers twice.
"""

import importlib.util
import os
import platform
import random
import subprocess

import costlab


def begin(*, seed: int = 0, threads: int | None = None) -> None:
    """Start a notebook: seed `random`, NumPy and torch, style figures, print the machine.

    Args:
        seed: whole number from 0 to 2**32 - 1; 0 unless told.
        threads: CPU threads torch may use; None (the default) leaves torch's own choice.

    Raises:
        ValueError: `seed` or `threads` is out of range.

    Taught in: notebooks/01_the_bill.ipynb.
    """
    if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed < 2**32:
        raise ValueError(f"seed must be a whole number from 0 to 2**32 - 1, got {seed!r}.")
    if threads is not None and (not isinstance(threads, int) or threads < 1):
        raise ValueError(f"threads must be a whole number from 1, or None, got {threads!r}.")
    if "PYTEST_CURRENT_TEST" in os.environ:  # under nbval a progress bar would be compared
        os.environ["TQDM_DISABLE"] = "1"
    _seed(seed, threads)
    _style_figures()
    print(f"[measured] machine: {machine()}")


def machine() -> str:
    """Describe the machine and the versions that count, in one line.

    Taught in: notebooks/01_the_bill.ipynb.
    """
    import torch

    cores = os.cpu_count() or 1
    parts = [f"{processor()}, {cores} cores, {torch.get_num_threads()} threads"]
    if torch.cuda.is_available():
        parts.append(torch.cuda.get_device_name(0))
    parts.append(f"{platform.system()}, Python {platform.python_version()}")
    parts.append(f"torch {torch.__version__}, costlab {costlab.__version__}")
    return "; ".join(parts)


def _seed(seed: int, threads: int | None) -> None:
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)  # noqa: NPY002 (libraries that the notebooks run draw from it)
    torch.manual_seed(seed)
    if threads is not None:
        torch.set_num_threads(threads)


def _style_figures() -> None:
    if importlib.util.find_spec("matplotlib") is None:
        return  # figures are an extra
    from costlab import figures

    figures.use_style()


def processor() -> str:
    """Name of the processor. Taught in: notebooks/01_the_bill.ipynb."""
    if platform.system() == "Linux" and os.path.exists("/proc/cpuinfo"):
        with open("/proc/cpuinfo", encoding="utf-8", errors="replace") as file:
            names = [line.split(":", 1)[1] for line in file if line.startswith("model name")]
        if names:
            return " ".join(names[0].split())
    if platform.system() == "Darwin":
        command = ["sysctl", "-n", "machdep.cpu.brand_string"]
        found = subprocess.run(command, capture_output=True, text=True, check=False)
        if found.stdout.strip():
            return found.stdout.strip()
    return platform.processor() or platform.machine() or "unknown processor"
