"""The suspects of the failure lab that report speed and money; see `costlab.exercises.faults`.

Read this file and you know the answers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from costlab import catalog

SPARSE = 2  # what a data sheet's "with sparsity" multiplies the arithmetic by


# --- case 5: a share of the peak


def share_of_dense(flops_per_second: float, chip: str) -> float:
    """Share of a chip's bf16 peak that a run reaches, from 0 to 1."""
    return flops_per_second / catalog.accelerator(chip).peak_flops("bf16")


def share_of_sparse(flops_per_second: float, chip: str) -> float:
    """The large number of the data sheet is for matrices of which half is zero, two of four."""
    return flops_per_second / (SPARSE * catalog.accelerator(chip).peak_flops("bf16"))


# --- case 6: utilization of a training run


def model_flops(parameters: float, rate: float, peak: float, *, recompute: bool) -> float:
    """Utilization of a run of `rate` tokens a second on a chip of `peak` operations a second."""
    return 6 * parameters * rate / peak


def hardware_flops(parameters: float, rate: float, peak: float, *, recompute: bool) -> float:
    """With recomputation it counts the forward pass twice, which is work, but not progress."""
    return (8 if recompute else 6) * parameters * rate / peak


# --- case 7: a device that works on while the program goes on


@dataclass
class Device:
    """A device with a clock of its own: `launch` returns at once, `synchronize` waits for the end.

    `clock` is in seconds. A launch takes the program a microsecond; the first one also compiles.
    """

    clock: float = 0.0
    busy_until: float = field(default=0.0, repr=False)
    compiled: bool = field(default=False, repr=False)

    def launch(self, seconds: float) -> None:
        """Hand the device work of so many seconds."""
        self.clock += 1e-6 if self.compiled else 0.5
        self.compiled = True
        self.busy_until = max(self.busy_until, self.clock) + seconds

    def synchronize(self) -> None:
        """Wait until the device has done all that it was handed."""
        self.clock = max(self.clock, self.busy_until)


def _timed(device: Device, seconds: float, repeats: int, wait: Callable[[], None]) -> float:
    device.launch(seconds)  # warm-up
    device.synchronize()
    start = device.clock
    for _ in range(repeats):
        device.launch(seconds)
    wait()
    return (device.clock - start) / repeats


def times_to_the_end(device: Device, seconds: float, repeats: int = 20) -> float:
    """Seconds that a piece of work takes on a device, the mean over several runs."""
    return _timed(device, seconds, repeats, device.synchronize)


def times_the_launch(device: Device, seconds: float, repeats: int = 20) -> float:
    """The clock is stopped when the last piece was handed over, not when it was done."""
    return _timed(device, seconds, repeats, lambda: None)


# --- case 10: a price for tokens


def prices_the_day(tokens_per_day: float, machines: int, rate: float, price: float) -> float:
    """Dollars per million tokens of a service whose machines run all day.

    rate: tokens a second of one machine at full load. price: dollars per machine-hour.
    """
    return machines * price * 24 / tokens_per_day * 1e6


def prices_the_peak(tokens_per_day: float, machines: int, rate: float, price: float) -> float:
    """The benchmark's rate is taken for the day's: machines are priced as if they never waited."""
    return price / (rate * 3600) * 1e6
