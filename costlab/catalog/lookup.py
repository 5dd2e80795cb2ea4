"""Look things up in the catalog: by id, with the nearest names offered when there is none."""

import difflib
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass, is_dataclass
from statistics import median

from costlab.catalog.records import (
    Accelerator,
    Machine,
    MemoryPeak,
    ModelShape,
    Price,
    PublishedRun,
    QualityResult,
    ServingLedger,
    ServingResult,
    TrainingResult,
    TrainingStep,
    read,
)


@dataclass(frozen=True)
class PriceRange:
    """What one item costs today, as far as the catalog knows: US dollars per `unit`.

    `rows` holds the newest price of each provider and region, from which `low`, `median` and
    `high` are taken; `oldest` and `newest` are their dates.
    """

    item: str
    kind: str
    unit: str
    low: float
    median: float
    high: float
    rows: tuple[Price, ...]
    oldest: str
    newest: str

    def __str__(self) -> str:
        what = f"{self.item}, {self.kind}:"
        if len(self.rows) == 1:
            return f"{what} ${self.low:g} per {self.unit} (one price, {self.newest})"
        return (
            f"{what} ${self.low:g} to ${self.high:g} per {self.unit}, median ${self.median:g} "
            f"({len(self.rows)} prices, {self.oldest} to {self.newest})"
        )


def _unknown(what: str, name: object, known: Iterable[str]) -> ValueError:
    """The error for a name that is not in the catalog, with the nearest ones that are."""
    known = list(dict.fromkeys(known))
    text = str(name).lower().strip()
    near = [k for k in known if text and text in k.lower()]
    near = (near or difflib.get_close_matches(text, known, n=3, cutoff=0.5))[:3]
    if not near:
        return ValueError(f"unknown {what} {name!r}: the catalog has {', '.join(known)}.")
    offer = [repr(k) for k in near]
    offer = " or ".join([", ".join(offer[:-1]), offer[-1]] if offer[1:] else offer)
    return ValueError(f"unknown {what} {name!r}: did you mean {offer}?")


def _by_id(record: type, what: str, name: str):
    rows = read(record)
    for row in rows:
        if isinstance(name, str) and row.id.lower() == name.lower().strip():
            return row
    raise _unknown(what, name, (row.id for row in rows))


def accelerators() -> tuple[Accelerator, ...]:
    """All accelerators of the catalog. Taught in: notebooks/01_the_bill.ipynb."""
    return read(Accelerator)


def accelerator(id: str) -> Accelerator:
    """The accelerator called `id`, such as 'h100-sxm'; ValueError offers the nearest names."""
    return _by_id(Accelerator, "accelerator", id)


def machines() -> tuple[Machine, ...]:
    """All CPU machines of the catalog. Taught in: notebooks/01_the_bill.ipynb."""
    return read(Machine)


def machine(id: str) -> Machine:
    """The CPU machine called `id`, such as 'c7a.large'; ValueError offers the nearest names."""
    return _by_id(Machine, "machine", id)


def models() -> tuple[ModelShape, ...]:
    """The shapes of the public models the book refers to."""
    return read(ModelShape)


def model(id: str) -> ModelShape:
    """The shape of the model called `id`, such as 'llama-3.1-8b'; ValueError offers near names."""
    return _by_id(ModelShape, "model", id)


def published_runs() -> tuple[PublishedRun, ...]:
    """Training runs with published size, data and hours. Taught in: notebooks/01_the_bill.ipynb."""
    return read(PublishedRun)


def training_steps() -> tuple[TrainingStep, ...]:
    """Published paces of training with their layouts: what the cost model is fitted on."""
    return read(TrainingStep)


def memory_peaks() -> tuple[MemoryPeak, ...]:
    """Published peaks of memory in training, with their layouts."""
    return read(MemoryPeak)


def serving_ledgers() -> tuple[ServingLedger, ...]:
    """Days of real services with published traffic, cost and income."""
    return read(ServingLedger)


def serving_results(kind: str | None = None) -> tuple[ServingResult, ...]:
    """Published measurements of serving, all or of one kind, such as 'decode' or 'kv cache'."""
    rows = read(ServingResult)
    _check("kind of serving result", kind, (row.kind for row in rows))
    return _where(rows, kind=kind)


def training_results(kind: str | None = None) -> tuple[TrainingResult, ...]:
    """Published figures of training, all or of one kind: 'zero memory' or 'interruptions'."""
    rows = read(TrainingResult)
    _check("kind of training result", kind, (row.kind for row in rows))
    return _where(rows, kind=kind)


def quality_results(
    *, technique: str | None = None, model: str | None = None, method: str | None = None
) -> tuple[QualityResult, ...]:
    """Published qualities after compression, such as those of "quantization" of "llama-2-7b"."""
    rows = read(QualityResult)
    for name, value in (("technique", technique), ("model", model), ("method", method)):
        _check(name, value, (getattr(row, name) for row in rows))
    return _where(rows, technique=technique, model=model, method=method)


def _check(what: str, value: str | None, known: Iterable[str]) -> None:
    """Refuse a value that the catalog has nowhere; None stands for any."""
    known = list(known)
    if value is not None and value not in known:
        raise _unknown(what, value, known)


def _where(rows: tuple, **wanted: str | None) -> tuple:
    """The rows whose fields have the wanted values; None stands for any."""
    wanted = {field: value for field, value in wanted.items() if value is not None}
    return tuple(row for row in rows if all(getattr(row, f) == v for f, v in wanted.items()))


def prices(
    item: str | None = None, *, kind: str | None = None, provider: str | None = None
) -> tuple[Price, ...]:
    """Every price row, old ones too, of an item, a kind, a provider, or all.

    Args:
        item: an accelerator's id, a storage tier ('object-standard'), 'internet', or a model.
        kind: on-demand, spot, storage, retrieval, egress, input, cached-input, output, batch-input.
        provider: such as 'AWS'.

    Returns:
        The rows, newest last; empty where item, kind and provider exist but not together.

    Raises:
        ValueError: an item, kind or provider of which the catalog has never heard.
    """
    rows = read(Price)
    chips = [row.id for row in accelerators()]  # some of them nobody rents out at a stated price
    _check("item", item, [row.item for row in rows] + chips)
    _check("kind", kind, (row.kind for row in rows))
    _check("provider", provider, (row.provider for row in rows))
    return tuple(
        sorted(_where(rows, item=item, kind=kind, provider=provider), key=lambda row: row.as_of)
    )


def price(item: str, *, kind: str = "on-demand", provider: str | None = None) -> PriceRange:
    """The range of the newest price of each provider and region, in US dollars.

    Args:
        item: an accelerator's id, a storage tier ('object-standard'), 'internet', or a model.
        kind: on-demand unless told; see `prices`.
        provider: one provider only; all unless told.

    Raises:
        ValueError: the name is unknown, or nobody's price is known: it is never taken as zero.

    Taught in: notebooks/01_the_bill.ipynb.
    """
    rows = prices(item, kind=kind, provider=provider)
    if not rows:
        kinds = ", ".join(dict.fromkeys(row.kind for row in prices(item))) or "none"
        whose = f" from {provider}" if provider else ""
        raise ValueError(
            f"no {kind} price{whose} of {item!r} is known; kinds of its prices that are: {kinds}."
        )
    newest = tuple({(row.provider, row.region): row for row in rows}.values())
    values, dates = [row.price for row in newest], [row.as_of for row in newest]
    return PriceRange(
        item=item,
        kind=kind,
        unit=newest[0].unit,
        low=min(values),
        median=median(values),
        high=max(values),
        rows=newest,
        oldest=min(dates),
        newest=max(dates),
    )


def reference_price(cores: int) -> float:
    """Dollars per hour assumed for a machine with `cores` physical cores that is not catalogd.

    It is the median, over the instance families of machines.csv, of the on-demand price per
    physical core-hour, times `cores`. A family counts once, however many of its sizes are listed.
    Bills that use it say `assumed`: give your own price where you know it.

    Raises:
        ValueError: `cores` is not a number above zero.

    Taught in: notebooks/01_the_bill.ipynb.
    """
    if isinstance(cores, bool) or not isinstance(cores, int | float) or not cores > 0:
        raise ValueError(f"cores must be a number of physical cores above zero, got {cores!r}.")
    per_core = defaultdict(list)
    for row in machines():
        per_core[row.provider, row.family].append(row.price_per_hour / row.cores)
    return cores * median(median(family) for family in per_core.values())


def identify_machine(cpu_name: str, cores: int, memory_gib: float | None = None) -> Machine | None:
    """The one catalogd machine that fits what an operating system reports, or None.

    Different instances share a CPU, so a name and a number of cores rarely prove which it is; the
    memory decides between them (an instance reports a little less than its nominal GiB).

    Args:
        cpu_name: the model name of the CPU, such as 'AMD EPYC 9R14'.
        cores: physical cores.
        memory_gib: total memory reported, binary GiB; None where unknown.
    """
    fits = [
        row
        for row in machines()
        if row.cpu_pattern and row.cpu_pattern in cpu_name and row.cores == cores
    ]
    if memory_gib is not None:
        fits = [row for row in fits if 0.85 * row.memory_gib <= memory_gib <= row.memory_gib]
    return fits[0] if len(fits) == 1 else None


def as_rows(table: Iterable) -> list[dict]:
    """Rows of the catalog as plain dictionaries, for a table or a data frame; None stays None.

    Raises:
        ValueError: something in `table` is not a row of the catalog.
    """
    if is_dataclass(table):
        table = (table,)
    rows = list(table)
    for row in rows:
        if not is_dataclass(row) or isinstance(row, type):
            raise ValueError(f"table must hold rows such as prices() returns, got {row!r}.")
    return [asdict(row) for row in rows]
