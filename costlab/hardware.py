"""What machine this is, in words."""

import os
import platform
import subprocess

import costlab


def describe() -> str:
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
