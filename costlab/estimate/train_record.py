"""The answer of `training`: figures with ranges, in words and as JSON."""

import math
from dataclasses import dataclass, field

from costlab.estimate.devices import Accelerator
from costlab.estimate.formulas import formula
from costlab.estimate.layout import Layout
from costlab.estimate.record import Ranged
from costlab.estimate.train_time import residuals
from costlab.estimate.transformer import Transformer

FASTER = ("tflops_per_device", "mfu", "hfu", "tokens_per_s_per_device")  # more where faster
SLOWER = ("step_seconds", "device_hours", "wall_hours", "dollars", "energy_kwh")
MEMORY = ("memory_gib_per_device",)
GOODPUT = (0.85, 1.05)  # low and high end over the middle: how well a cluster is kept differs


@dataclass(frozen=True)
class TrainingEstimate(Ranged):
    """What training costs. Each predicted `x` has `x_low` and `x_high`, an 80 % range.

    `flops_total` is the usual 6 x active parameters x tokens (4 with adapters), attention left out,
    as sources report it; `tflops_per_device` and `mfu` count attention over the whole square, as
    published MFU does, `hfu` what is computed again as well. `memory` splits
    `memory_gib_per_device`. A step takes `step_seconds`; `device_hours`, `wall_hours`, `dollars`
    and `energy_kwh` are of all `tokens`, stops and restarts (`goodput`) included. `dollars` is None
    where no price is known, `energy_kwh` (the devices alone, at full power) where no power is.

    Taught in: notebooks/02_compute.ipynb.
    """

    RANGED = (*FASTER, *SLOWER, *MEMORY, "goodput")

    model: str
    accelerator: str
    layout: str
    devices: int
    precision: str
    tokens: float
    flops_total: float
    tflops_per_device: float
    mfu: float
    hfu: float
    tokens_per_s_per_device: float
    step_seconds: float
    memory_gib_per_device: float
    memory: dict[str, float]
    memory_limit_gib: float
    fits: bool
    goodput: float
    device_hours: float
    wall_hours: float
    price: float | None
    dollars: float | None
    energy_kwh: float | None
    parts: dict[str, float] = field(repr=False)
    kind: str = field(repr=False)
    remedies: tuple[str, ...] = field(repr=False)
    notes: tuple[str, ...] = field(repr=False)

    def end(self, name: str, value: float, high: bool) -> float:
        """An end of the range of `name`: see `Ranged`."""
        return value * self._factor(name, high)

    def _factor(self, base: str, high: bool) -> float:
        if base in MEMORY:
            return residuals()["memory"][high]
        if base == "goodput":
            return (GOODPUT[0], min(GOODPUT[1], 1 / self.goodput))[high]
        if base in FASTER:
            return residuals()[self.kind][high]
        slow, fast = residuals()[self.kind]
        if base == "step_seconds":
            return 1 / (slow if high else fast)
        ends = formula("training_range")(slow=slow, fast=fast, goodput=self.goodput)
        return ends["high" if high else "low"]

    def explain(self) -> str:
        """Where the time of a step goes, whether it fits, and what would make it fit."""
        lines = [self._memory_line(), *self.remedies]
        total = sum(self.parts.values())
        for name, seconds in sorted(self.parts.items(), key=lambda item: -item[1]):
            if seconds > 5e-4 * total:
                lines.append(f"{name:<28} {seconds / total:6.1%} of a step")
        return "\n".join([*lines, *self.notes])

    def _memory_line(self) -> str:
        most = max(self.memory, key=self.memory.get)
        held = f"{self.memory_gib_per_device:.1f} GiB on the fullest device, up to "
        held += f"{self.memory_gib_per_device_high:.1f} with the range, most of it {most} "
        held += f"({self.memory[most]:.1f})"
        if self.fits:
            return f"fits in {self.memory_limit_gib:g} GiB: {held}"
        over = self.memory_gib_per_device_high - self.memory_limit_gib
        return f"does not fit in {self.memory_limit_gib:g} GiB: {held}; {over:.1f} GiB too much"

    def __str__(self) -> str:
        from costlab.estimate.tables import training_table

        return training_table(self)


def where_time_goes(
    parts: dict[str, dict[str, float]], model: Transformer, chip: Accelerator, lay: Layout
) -> dict[str, float]:
    """Seconds of a step by cause; overlapping work is charged in proportion."""
    layer, step = parts["layer"], parts["step"]
    frozen = lay.adapters is not None
    work = {
        "matrix products": layer["products"] * (3 - frozen),
        "memory traffic between them": layer["traffic"] * (3 - 0.5 * frozen),
        "attention": layer["attend"] * 3.5,
        "computing again": layer["repeated"],
        "exchange in a layer": layer["tensor_exchange"],
        "exchange between experts": layer["expert_exchange"],
    }
    work["waiting for the host"] = max(0.0, layer["seconds"] - layer["device"])
    scale = layer["seconds"] / sum(work.values())
    layers = model.layers / lay.pipeline * lay.micro_batches
    shown = {name: value * scale * layers for name, value in work.items() if value > 0}
    shown["last matrix and loss"] = parts["head"]["seconds"] * lay.micro_batches / lay.pipeline
    shown["stages waiting for each other"] = step["bubble"]
    uneven = step["working"] - sum(shown.values()) + step["bubble"]
    shown["uneven stages, handing on"] = max(0.0, uneven)
    shown["gathering weights"] = step["computing"] - step["working"] - step["bubble"]
    shown["exchanging gradients"] = step["reducing"]
    shown["updating weights"] = step["updating"]
    shown["stragglers and fixed time"] = step["seconds"] - sum(
        step[name] for name in ("computing", "reducing", "updating")
    )
    return {name: value for name, value in shown.items() if value > 0 and math.isfinite(value)}
