"""The answer of `serving`: figures with ranges, in words and as JSON."""

import math
from dataclasses import dataclass, field

from costlab.estimate.record import Ranged
from costlab.estimate.serve_time import residuals

_FASTER = ("tokens_per_s", "tokens_per_s_per_device")  # more where the truth is faster
_DOLLARS = tuple(f"dollars_per_million_{what}" for what in ("tokens", "input", "output"))
_SLOWER = (
    "ttft_seconds", "ttft_p95_seconds", "tpot_seconds", "tpot_p95_seconds", "utilization",
    *_DOLLARS,
)  # fmt: skip
FEW = 4  # sequences in a replica up to which latency, not throughput, is what is predicted


@dataclass(frozen=True)
class ServingEstimate(Ranged):
    """What serving costs. Each predicted `x` has `x_low` and `x_high`, an 80 % range.

    Memory is in GiB on each device at the mean load, `kv_gib` the cache's part of it; times are in
    seconds, dollars per million tokens. `tokens_per_s` counts generated tokens over all devices;
    input and output dollars split the whole by the device-seconds of prefill and of decoding, so
    prompt x input + generate x output = generate x `dollars_per_million_tokens`. `batch` and
    `max_batch` count sequences in the whole service. `utilization` is the load as a share of the
    most that keeps the promise.

    Taught in: notebooks/17_serving.ipynb.
    """

    RANGED = (*_FASTER, *_SLOWER)

    model: str
    accelerator: str
    devices: int
    tensor: int
    pipeline: int
    replicas: int
    weight_bits: float
    kv_bits: float
    prompt: int
    generate: int
    cached_share: float
    requests_per_s: float
    batch: float
    max_batch: int
    fits: bool
    memory_gib: float
    kv_gib: float
    ttft_seconds: float
    tpot_seconds: float
    ttft_p95_seconds: float
    tpot_p95_seconds: float
    tokens_per_s: float
    tokens_per_s_per_device: float
    utilization: float
    keeps_promise: bool
    arrivals: bool
    price: float | None
    dollars_per_million_tokens: float | None
    dollars_per_million_input: float | None
    dollars_per_million_output: float | None
    parts: dict[str, float] = field(repr=False)
    memory_limit_gib: float = field(repr=False)
    notes: tuple[str, ...] = field(repr=False, default=())

    def end(self, name: str, value: float, high: bool) -> float:
        """An end of the range of `name`: see `Ranged`."""
        if self._settled(name):
            return value
        few = self.batch <= FEW * self.replicas
        low, top = residuals("decode" if few else "throughput")
        if name in _SLOWER:
            low, top = 1 / top, 1 / low
        return value * (top if high else low)

    def _settled(self, name: str) -> bool:
        """Whether a figure follows from what was asked alone, and is not a prediction."""
        if not self.arrivals:
            return name == "utilization"
        return self.utilization < 1 and name in (*_FASTER, *_DOLLARS)

    def explain(self) -> str:
        """Where the time of one step goes, whether it fits, and what would make it fit."""
        total = self.parts["seconds"]
        names = {
            "matrices": "weights", "cache": "cache", "traffic": "activations",
            "exchange": "exchanges", "start": "starts of exchanges", "overhead": "overhead",
        }  # fmt: skip
        lines = [self._memory_line()]
        for name, label in names.items():
            if self.parts[name] > 0:
                lines.append(f"{label:<20} {self.parts[name] / total:6.1%} of a step")
        slow = "reading them" if self.parts["read"] > self.parts["compute"] else "multiplying"
        lines.append(f"what takes time in the weights is {slow}")
        return "\n".join(lines)

    def _memory_line(self) -> str:
        if self.fits:
            return (
                f"fits: {self.memory_gib:.1f} of {self.memory_limit_gib:g} GiB on each device, "
                f"{self.kv_gib:.1f} of them cache"
            )
        more = self.memory_gib - self.memory_limit_gib
        return (
            f"does not fit: needs {self.memory_gib:.1f} GiB on each device, which has "
            f"{self.memory_limit_gib:g} ({more:.1f} over, or no room beside the workspace); more "
            "devices, fewer weight_bits, or a shorter prompt would help"
        )

    def to_dict(self) -> dict:
        """All figures with their ranges, as plain numbers; what is unbounded is None."""
        wild = lambda v: isinstance(v, float) and not math.isfinite(v)  # noqa: E731
        return {name: None if wild(v) else v for name, v in super().to_dict().items()}

    def __str__(self) -> str:
        from costlab.estimate.tables import serving_table

        return serving_table(self)
