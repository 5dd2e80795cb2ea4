"""The cheapest layout for training on so many devices: every combination of the axes, memory first.

What does not fit is dropped before its time is predicted; the rest is ranked by dollars, which for
given devices and batch is ranking by seconds a step. Taught in: notebooks/08_model_parallel.ipynb.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import product

from costlab.estimate.checks import choice, number, whole
from costlab.estimate.devices import Accelerator, resolve_accelerator
from costlab.estimate.layout import LONGEST, RECOMPUTE, Layout, make_layout
from costlab.estimate.memory import training_memory
from costlab.estimate.record import Record
from costlab.estimate.rental import price_per_hour
from costlab.estimate.shapes import resolve_model
from costlab.estimate.train_cost import estimate
from costlab.estimate.train_record import TrainingEstimate
from costlab.estimate.train_time import residuals, step_parts
from costlab.estimate.transformer import Transformer

AXES = ("tensor", "pipeline", "context", "expert", "zero", "micro_batch", "recompute", "interleave")
STEP_TOKENS = 4e6  # of a step where no batch is given: what runs of this size use
SPLIT_FROM = 8192  # tokens of a sequence that one device of a context group keeps, at least


@dataclass(frozen=True)
class SearchResult(Record):
    """What a search found: `best` first, the axes it went through, and how many layouts it met.

    `considered` layouts are valid, `fitting` of them fit (by the high end of the memory range).
    `layouts` are those of the estimates in `best`, in the same order. Where none fits, `best` is
    empty and `closest` is the one that needs the least memory.

    Taught in: notebooks/08_model_parallel.ipynb.
    """

    axes: Mapping[str, tuple]
    considered: int
    fitting: int
    best: tuple[TrainingEstimate, ...]
    layouts: tuple[Layout, ...]
    closest: TrainingEstimate | None = None

    def to_dict(self) -> dict:
        """All of it as plain values."""
        return {
            "axes": {name: list(values) for name, values in self.axes.items()},
            "considered": self.considered,
            "fitting": self.fitting,
            "best": [
                e.to_dict() | {"layout": asdict(lay)}
                for e, lay in zip(self.best, self.layouts, strict=True)
            ],
            "closest": self.closest and self.closest.to_dict(),
        }

    def __str__(self) -> str:
        from costlab.estimate.tables import search_table

        return search_table(self)


def search(
    model: object,
    accelerator: str | Accelerator,
    *,
    devices: int,
    global_batch: int | None = None,
    sequence: int | None = None,
    precision: str = "bf16",
    adapters: int | None = None,
    tokens: float | None = None,
    price: float | None = None,
    top: int = 10,
    tensor: int | Sequence[int] | None = None,
    pipeline: int | Sequence[int] | None = None,
    context: int | Sequence[int] | None = None,
    expert: int | Sequence[int] | None = None,
    zero: int | Sequence[int] | None = None,
    micro_batch: int | Sequence[int] | None = None,
    recompute: str | Sequence[str] | None = None,
    interleave: int | Sequence[int] | None = None,
) -> SearchResult:
    """The cheapest layouts for training `model` on `devices`, ranked by dollars.

    Args:
        model: a catalog id, a Transformer, a config.json, or the book's model.
        accelerator: a catalog id or an Accelerator.
        devices: how many, all of them used.
        global_batch: sequences a step [about four million tokens, a multiple of `devices`].
        sequence, precision, adapters, tokens, price: as for `training`.
        top: how many of the best to return.
        tensor: sizes to try, one or several [1, 2, 4 … devices of a node].
        pipeline: the same [every divisor of `devices` up to the number of layers].
        context: the same [1, 2, 4 …, at least 8,192 tokens of a sequence on each device].
        expert: the same [every divisor of the number of experts].
        zero: the same [0, 1, 2, 3].
        micro_batch: the same [1, 2, 4, 8].
        recompute: the same [none, selective, full].
        interleave: the same [1, 2, 4, where there is a pipeline].

    Raises:
        ValueError: an argument is out of range, an id is unknown, or no layout is valid.

    Taught in: notebooks/08_model_parallel.ipynb.
    """
    shape, chip = resolve_model(model), resolve_accelerator(accelerator)
    devices, top = whole("devices", devices, most=10**6), whole("top", top)
    tokens = None if tokens is None else number("tokens", tokens)
    price = price_per_hour(chip, price)
    length = min(shape.context, LONGEST) if sequence is None else whole("sequence", sequence)
    usual = global_batch is None
    batch = _usual_batch(length, devices) if usual else whole("global_batch", global_batch)
    given = (tensor, pipeline, context, expert, zero, micro_batch, recompute, interleave)
    axes = _axes(shape, chip, devices, length, dict(zip(AXES, given, strict=True)))
    make_layout(shape, sequence=length, precision=precision, adapters=adapters)  # checks these
    chip.runs(precision)
    fixed = {"devices": devices, "global_batch": batch, "sequence": length,
             "precision": precision, "adapters": adapters}  # fmt: skip
    valid = list(_valid(shape, axes, fixed))
    if not valid:
        raise ValueError(
            f"axes must hold a layout of {devices} devices for a batch of {batch}, got {axes}."
        )
    held = [sum(training_memory(shape, lay).values()) for lay in valid]
    room = chip.memory_gib / residuals()["memory"][1]
    fitting = [lay for lay, gib in zip(valid, held, strict=True) if gib <= room]
    fitting.sort(key=lambda lay: step_parts(shape, chip, lay)["step"]["seconds"])
    best = tuple(estimate(shape, chip, lay, tokens, price) for lay in fitting[:top])
    least = None if best else estimate(shape, chip, valid[held.index(min(held))], tokens, price)
    return SearchResult(axes, len(valid), len(fitting), best, tuple(fitting[:top]), least)


def _usual_batch(length: int, devices: int) -> int:
    return devices * max(1, round(STEP_TOKENS / length / devices))


def _axes(shape: Transformer, chip: Accelerator, devices: int, length: int, given: dict) -> dict:
    """The values of every axis: those given, else the usual ones."""
    doublings = lambda most: [2**i for i in range(int(most).bit_length()) if 2**i <= most]  # noqa: E731
    divisors = lambda n, most: [d for d in range(1, int(most) + 1) if n % d == 0]  # noqa: E731
    usual = {
        "tensor": [t for t in doublings(min(chip.node_size, shape.heads)) if devices % t == 0],
        "pipeline": divisors(devices, min(devices, shape.layers)),
        "context": doublings(max(1, length // SPLIT_FROM)),
        "expert": divisors(shape.experts, shape.experts),
        "zero": [0, 1, 2, 3],
        "micro_batch": [1, 2, 4, 8],
        "recompute": list(RECOMPUTE),
        "interleave": [1, 2, 4],
    }
    axes = {}
    for name in AXES:
        value = usual[name] if given[name] is None else given[name]
        value = value if isinstance(value, list | tuple) else [value]
        for one in value:
            if name == "recompute":
                choice(name, one, RECOMPUTE)
            else:
                least, most = (0, 3) if name == "zero" else (1, 10**6)
                whole(name, one, least=least, most=most)
        axes[name] = tuple(value)
    return axes


def _valid(shape: Transformer, axes: dict, fixed: dict) -> Iterator[Layout]:
    """Every combination that multiplies and divides as it must."""
    devices, batch = fixed["devices"], fixed["global_batch"]
    for t, p, c in product(axes["tensor"], axes["pipeline"], axes["context"]):
        data, rest = divmod(devices, t * p * c)
        if rest or not data or p > shape.layers or t > shape.heads:
            continue
        for e, m in product(axes["expert"], axes["micro_batch"]):
            if data * c % e or shape.experts % e or batch % (data * m):
                continue
            for z, again, v in product(axes["zero"], axes["recompute"], axes["interleave"]):
                if (v > 1 and p == 1) or p * v > shape.layers:
                    continue
                yield Layout(data=data, tensor=t, pipeline=p, context=c, expert=e, zero=z,
                             micro_batch=m, recompute=again, interleave=v, **fixed)  # fmt: skip
