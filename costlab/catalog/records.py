"""The rows of the catalog: one frozen dataclass a table, and the reader that fills them.

Every row carries `source` and `as_of`, the date at which the source says the fact held. Where a
source gives only a year or a month, `as_of` is its first day, so that an age is never understated;
where it gives none, it is the day the source was read. An empty cell is None: unknown, never zero.
"""

import csv
import types
import typing
from dataclasses import dataclass, fields
from datetime import date
from functools import cache
from importlib.resources import files

from costlab.catalog.published import (
    MemoryPeak,
    ModelShape,
    PublishedRun,
    QualityResult,
    ServingLedger,
    ServingResult,
    TrainingResult,
    TrainingStep,
)

OLD_DAYS = 180  # a price older than this prints its age


def age_days(as_of: str, today: date | None = None) -> int:
    """Days from `as_of` (an ISO date) to `today`, the current date unless given.

    Raises:
        ValueError: `as_of` is not a date such as 2026-07-20.

    Taught in: notebooks/01_the_bill.ipynb.
    """
    try:
        then = date.fromisoformat(as_of)
    except (TypeError, ValueError):
        raise ValueError(f"as_of must be a date such as '2026-07-20', got {as_of!r}.") from None
    return ((today or date.today()) - then).days


def aged(as_of: str) -> str:
    """A date, with its age where that is old: '2024-01-29 (1033 days old)'."""
    age = age_days(as_of)
    return f"{as_of} ({age} days old)" if age > OLD_DAYS else as_of


@dataclass(frozen=True)
class Accelerator:
    """A chip as its vendor describes it; peaks are dense, without structured sparsity.

    `memory_gb` is the number on the data sheet (HBM or GDDR; most vendors mean GiB and write GB).
    `bandwidth_gbs` and `link_gbs` (to a neighbor in the same machine, one way) are decimal GB/s.
    `links` of them leave a device of a torus (TPU); a switch needs one and the cell is empty.
    `node_size` devices share such links (a TPU's pod); `network_gbs` is one device's share of what
    leaves the node, one way, in the vendor's reference system or the usual cloud instance;
    `links_source` says where these three are from, and what of them is assumed.
    `best_matmul_tflops` is the best bf16 matrix product anyone measured on it.
    """

    id: str
    name: str
    vendor: str
    year: int
    memory_gb: float
    bandwidth_gbs: float
    fp32_tflops: float | None
    tf32_tflops: float | None
    bf16_tflops: float | None
    fp16_tflops: float | None
    fp8_tflops: float | None
    int8_tops: float | None
    fp4_tflops: float | None
    link_gbs: float | None
    links: int | None
    network_gbs: float | None
    node_size: int | None
    power_w: float | None
    best_matmul_tflops: float | None
    note: str
    source: str
    as_of: str
    links_source: str
    links_as_of: str

    def peak_flops(self, precision: str = "bf16") -> float | None:
        """Dense peak in operations per second; None where the chip lacks it or nobody says.

        Args:
            precision: fp32, tf32, bf16, fp16, fp8, int8 or fp4.
        """
        column = {"int8": "int8_tops"}.get(precision, f"{precision}_tflops")
        if column not in self.__dataclass_fields__ or column.startswith("best"):
            raise ValueError(
                "precision must be one of fp32, tf32, bf16, fp16, fp8, int8, fp4, "
                f"got {precision!r}."
            )
        peak = getattr(self, column)
        return None if peak is None else peak * 1e12


@dataclass(frozen=True)
class Machine:
    """A machine without accelerator that anyone can rent by the hour; `id` is the provider's name.

    `vcpus` are what the provider counts, `cores` the physical cores behind them. `clock_ghz` is the
    sustained or all-core clock the provider states. `cpu_pattern` is text found in the CPU's model
    name on this instance family and on no other; empty where the name proves nothing.
    `bandwidth_gbs` is None wherever providers do not state a slice's share of the memory bus.
    """

    id: str
    provider: str
    family: str
    vcpus: int
    cores: int
    memory_gib: float
    cpu: str
    cpu_pattern: str
    clock_ghz: float | None
    fp32_flops_per_cycle: int | None
    flops_reason: str
    bandwidth_gbs: float | None
    price_per_hour: float
    region: str
    source: str
    as_of: str

    @property
    def peak_flops(self) -> float | None:
        """fp32 operations per second of all cores; None where clock or width is not stated."""
        if self.clock_ghz is None or self.fp32_flops_per_cycle is None:
            return None
        return self.cores * self.clock_ghz * 1e9 * self.fp32_flops_per_cycle


@dataclass(frozen=True)
class Price:
    """One published price in US dollars per `unit`, as one provider stated it on one day."""

    item: str
    kind: str
    provider: str
    instance: str
    region: str
    unit: str
    price: float
    as_of: str
    source: str
    note: str

    def __str__(self) -> str:
        where = f"{self.provider}, {self.region}" if self.region else self.provider
        return (
            f"{self.item}, {self.kind}: ${self.price:g} per {self.unit} "
            f"({where}), as of {aged(self.as_of)}"
        )


FILES = {
    Accelerator: "accelerators.csv",
    Machine: "machines.csv",
    Price: "prices.csv",
    PublishedRun: "published_runs.csv",
    ServingLedger: "serving_ledgers.csv",
    ServingResult: "published_serving.csv",
    QualityResult: "published_quality.csv",
    ModelShape: "models.csv",
    TrainingStep: "training_steps.csv",
    MemoryPeak: "memory_peaks.csv",
    TrainingResult: "published_training.csv",
}


def _cell(text: str, kind: object) -> object:
    """Read one cell as its column's type; an empty one is None where the column allows it."""
    if isinstance(kind, types.UnionType):
        if text == "":
            return None
        kind = typing.get_args(kind)[0]
    if kind is bool:
        return {"true": True, "false": False}[text]
    return kind(text)


@cache
def read(record: type) -> tuple:
    """All rows of one table, in the order of its file."""
    text = files(__package__).joinpath(FILES[record]).read_text(encoding="utf-8")
    kinds = {field.name: field.type for field in fields(record)}
    rows = csv.DictReader(text.splitlines())
    return tuple(record(**{name: _cell(row[name], kinds[name]) for name in kinds}) for row in rows)
