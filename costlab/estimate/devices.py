"""The machine of an estimate: one accelerator, and the links between many of them.

A row of the catalog becomes an `Accelerator` here; so does a card that is not in the catalog, given
by its data sheet, and the reader's own machine, given by what was measured on it.
Taught in: notebooks/02_compute.ipynb.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache

from costlab import catalog
from costlab.estimate.checks import choice, number, whole

PRECISIONS = ("fp32", "tf32", "bf16", "fp16", "fp8", "fp4")
BITS = {"fp32": 32, "tf32": 32, "bf16": 16, "fp16": 16, "fp8": 8, "int8": 8, "fp4": 4}
# What a chip without the precision multiplies in instead, at the same width and price of memory.
_INSTEAD = {
    "bf16": ("fp16", "fp32"), "fp16": ("bf16", "fp32"), "tf32": ("fp32",), "int8": ("fp8",),
}  # fmt: skip
# A start of one message, seconds: over links inside a node, over a network between nodes.
LINK_LATENCY, NETWORK_LATENCY = 5e-6, 15e-6


@dataclass(frozen=True, kw_only=True)
class Accelerator:
    """One device and its surroundings; bandwidths are decimal GB/s, one way, per device.

    Args:
        memory_gib: memory, binary GiB (data sheets say GB).
        bandwidth_gbs: memory bandwidth.
        tflops: dense peak by precision, such as {"bf16": 989, "fp8": 1979}.
        link_gbs: to the other devices of its node [a PCIe 4.0 slot, 31].
        network_gbs: its share of the node's network [a tenth of `link_gbs`].
        node_size: devices that share the fast links.
        power_w: draw at full load; None where unknown.
        matmul_tflops: best bf16 matrix product measured on it; None where nobody did.
        measured: `tflops` and `bandwidth_gbs` were measured here rather than read off a data sheet.
        id, vendor: names; `id` finds prices.

    Raises:
        ValueError: a number is absurd, or a precision is unknown.

    Taught in: notebooks/02_compute.ipynb.
    """

    memory_gib: float
    bandwidth_gbs: float
    tflops: Mapping[str, float] = field(hash=False)
    link_gbs: float | None = None
    network_gbs: float | None = None
    node_size: int = 8
    power_w: float | None = None
    matmul_tflops: float | None = None
    measured: bool = False
    id: str = ""
    vendor: str = ""

    def __post_init__(self) -> None:
        if not isinstance(self.tflops, Mapping) or not self.tflops:
            raise ValueError(
                "tflops must map precisions to peaks, such as {'bf16': 989}, "
                f"got {self.tflops!r}."
            )
        for precision, peak in self.tflops.items():
            choice("precision in tflops", precision, [*PRECISIONS, "int8"])
            number(f"tflops[{precision!r}]", peak, most=1e7)
        for name, most in (("memory_gib", 1e6), ("bandwidth_gbs", 1e7)):
            number(name, getattr(self, name), most=most)
        for name in ("link_gbs", "network_gbs", "power_w", "matmul_tflops"):
            if getattr(self, name) is not None:
                number(name, getattr(self, name), most=1e7)
        object.__setattr__(self, "node_size", whole("node_size", self.node_size))
        if self.link_gbs is None:
            object.__setattr__(self, "link_gbs", max(31.0, self.network_gbs or 0.0))
        if self.network_gbs is None:
            object.__setattr__(self, "network_gbs", self.link_gbs / 10)

    def runs(self, precision: str) -> str:
        """The precision that arithmetic asked for as `precision` has on this chip.

        bf16 and fp16 stand in for each other, and fp32 for them and for tf32, where a chip has no
        other.

        Raises:
            ValueError: the precision is unknown, or the chip has nothing like it.
        """
        choice("precision", precision, [*PRECISIONS, "int8"])
        for name in (precision, *_INSTEAD.get(precision, ())):
            if name in self.tflops:
                return name
        raise ValueError(
            f"precision must be one that {self} has ({', '.join(self.tflops)}), got {precision!r}."
        )

    def peak_flops(self, precision: str = "bf16") -> float:
        """Dense peak in operations per second; see `runs` for what stands in for what."""
        return self.tflops[self.runs(precision)] * 1e12

    def link(self, devices: int) -> tuple[float, float]:
        """Bytes per second, and seconds to start, of the slowest link among `devices`."""
        if devices <= self.node_size:
            return self.link_gbs * 1e9, LINK_LATENCY
        return self.network_gbs * 1e9, NETWORK_LATENCY

    def __str__(self) -> str:
        return self.id or "this accelerator"


def from_row(row: catalog.Accelerator) -> Accelerator:
    """The accelerator in one row of the catalog.

    On a torus an exchange uses the links of all axes but one, which other exchanges occupy.
    """
    used = max(1, (row.links or 1) - 2)
    peaks = {name: getattr(row, f"{name}_tflops") for name in PRECISIONS}
    peaks["int8"] = row.int8_tops
    return Accelerator(
        id=row.id,
        vendor=row.vendor,
        memory_gib=row.memory_gb,
        bandwidth_gbs=row.bandwidth_gbs,
        tflops={name: peak for name, peak in peaks.items() if peak is not None},
        link_gbs=row.link_gbs and used * row.link_gbs,
        network_gbs=row.network_gbs,
        node_size=row.node_size or 8,
        power_w=row.power_w,
        matmul_tflops=row.best_matmul_tflops,
    )


def resolve_accelerator(accelerator: object) -> Accelerator:
    """The `Accelerator` that `accelerator` names or is.

    Args:
        accelerator: an id of the catalog ('h100-sxm'), a row of it, or an Accelerator.

    Raises:
        ValueError: the id is unknown; the nearest are offered.
        TypeError: it is none of these.

    Taught in: notebooks/02_compute.ipynb.
    """
    if isinstance(accelerator, Accelerator):
        return accelerator
    if isinstance(accelerator, catalog.Accelerator):
        return from_row(accelerator)
    if isinstance(accelerator, str):
        return _from_catalog(accelerator)
    raise TypeError(
        "accelerator must be a catalog id such as 'h100-sxm' or an Accelerator, "
        f"got {type(accelerator).__name__}."
    )


@cache
def _from_catalog(id: str) -> Accelerator:
    return from_row(catalog.accelerator(id))
