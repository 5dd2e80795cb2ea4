"""The machine a bill was measured on: its name, what it can do at best, what an hour costs.

Taught in notebooks 01 and 02.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import torch

from costlab import catalog
from costlab.hardware import processor

CPUS = Path("/sys/devices/system/cpu")
# Kinds of number that a plain matrix product takes, as data sheets call them.
PRECISIONS = {
    torch.float32: "fp32",
    torch.bfloat16: "bf16",
    torch.float16: "fp16",
    torch.int8: "int8",
}


@dataclass(frozen=True)
class Machine:
    """A machine and its price.

    `sheet_flops` is the data sheet's dense peak, `peak_flops` the best matrix product measured
    here, both in operations per second in `precision`; `bandwidth` the measured bytes per second of
    a large copy. `price_per_hour` is in dollars; `assumed` says that it is the reference price
    because the catalog does not know the machine.
    """

    name: str
    device: str
    cores: int
    threads: int
    precision: str
    peak_flops: float
    bandwidth: float
    sheet_flops: float | None
    price_per_hour: float
    price_source: str
    assumed: bool


def best_of(work: Callable[[], object], device: str, *, repeats: int = 7) -> float:
    """Shortest of several runs of `work`, in seconds, after one that does not count."""
    shortest = float("inf")
    for turn in range(repeats + 1):
        start = time.perf_counter()
        work()
        if device == "cuda":
            torch.cuda.synchronize()
        if turn:
            shortest = min(shortest, time.perf_counter() - start)
    return shortest


@lru_cache
def peak_flops(device: str, dtype: torch.dtype, threads: int) -> float:
    """Operations per second of the best square matrix product on this machine now.

    Of 8-bit integers in floats, which hold them exactly, where these are multiplied faster.
    """
    sizes = (4096, 8192) if device == "cuda" else (256, 512, 1024)
    floats = torch.float32
    if dtype == torch.int8 and rate(device, dtype, sizes[0]) < rate(device, floats, sizes[0]):
        dtype = floats
    return max(rate(device, dtype, size) for size in sizes)


def rate(device: str, dtype: torch.dtype, size: int) -> float:
    """Operations per second of one product of two square matrices of that size."""
    a = torch.ones(size, size, dtype=dtype, device=device)
    # `compress.kernels`, which chooses among ways, comes after the bill
    multiply = torch._int_mm if dtype == torch.int8 else torch.mm
    return 2 * size**3 / best_of(lambda: multiply(a, a.t()), device)


@lru_cache
def copy_bandwidth(device: str, threads: int) -> float:
    """Bytes read and written per second when an array far larger than the caches is copied."""
    array = torch.zeros(1 << 28 if device == "cuda" else 1 << 25, device=device)
    target = torch.empty_like(array)
    return 2 * array.numel() * array.element_size() / best_of(lambda: target.copy_(array), device)


def this_machine(
    *, price: float | None = None, device: str = "cpu", dtype: torch.dtype = torch.float32
) -> Machine:
    """Describe and measure the machine this runs on, in under two seconds.

    price: dollars per machine-hour; None looks it up in the catalog, and where that does not know
    the machine takes its stated reference price, marked `assumed`.
    dtype: the kind of number the model computes in, int8 where it multiplies integers; the peak is
    that of float32 for other kinds.
    """
    dtype = dtype if dtype in PRECISIONS else torch.float32
    number = isinstance(price, int | float) and not isinstance(price, bool)
    if price is not None and not (number and 0 < price < float("inf")):
        raise ValueError(f"price must be a positive number of dollars per hour, got {price!r}")
    cores = _cores()
    name, sheet, known, origin = _known(device, cores, PRECISIONS[dtype])
    assumed = price is None and known is None
    if price is not None:
        known, origin = price, "given by the caller"
    elif known is None:
        known, origin = catalog.reference_price(cores), "reference price per core, assumed"
    return Machine(
        name=name,
        device=device,
        cores=cores,
        threads=torch.get_num_threads(),
        precision=str(dtype).removeprefix("torch."),
        peak_flops=peak_flops(device, dtype, torch.get_num_threads()),
        bandwidth=copy_bandwidth(device, torch.get_num_threads()),
        sheet_flops=sheet,
        price_per_hour=known,
        price_source=origin,
        assumed=assumed,
    )


def _cores() -> int:
    """Physical cores this process may use; logical ones where the system does not tell (not Linux).

    On Linux they are fewer than the machine's where the process is confined.
    """
    if not hasattr(os, "sched_getaffinity"):
        return os.cpu_count() or 1
    cores = set()
    for cpu in os.sched_getaffinity(0):
        siblings = CPUS / f"cpu{cpu}" / "topology" / "thread_siblings_list"
        cores.add(siblings.read_text() if siblings.is_file() else cpu)
    return len(cores)


def _known(device: str, cores: int, sheet: str) -> tuple[str, float | None, float | None, str]:
    """Name, data-sheet peak, price per hour and its source, as far as the catalog has them."""
    if device == "cuda":
        name = torch.cuda.get_device_name(0)
        chip = _accelerator(name)
        if chip is None:
            return name, None, None, ""
        prices = catalog.prices(chip.id, kind="on-demand")
        known = catalog.price(chip.id).median if prices else None
        return name, chip.peak_flops(sheet), known, f"catalog, median of {chip.id}"
    name = processor()
    machine = catalog.identify_machine(name, cores, _memory_gib())
    if machine is None:
        return name, None, None, ""
    peak = machine.peak_flops if sheet == "fp32" else None
    return name, peak, machine.price_per_hour, f"catalog, {machine.id}, {machine.as_of}"


def _accelerator(name: str):
    """The catalog's accelerator whose name stands in a CUDA device's name, the longest first."""
    rows = sorted(catalog.accelerators(), key=lambda row: -len(row.id))
    words = name.lower().replace("nvidia", "").replace("-", " ").split()
    return next((r for r in rows if set(r.id.removesuffix("-sxm").split("-")) <= set(words)), None)


def _memory_gib() -> float | None:
    """Memory of the machine in GiB, where the system says."""
    if not hasattr(os, "sysconf") or "SC_PHYS_PAGES" not in os.sysconf_names:
        return None
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") / 2**30
