"""What a measurement leaves behind: a `Bill` for one model, a `Ledger` for several.

Taught in notebook 01.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING

from costlab.bill.machine import Machine

if TYPE_CHECKING:
    from matplotlib.figure import Figure


@dataclass(frozen=True)
class Workload:
    """What was timed.

    `batch` sequences of `prompt` tokens each, followed by `generate` new tokens.
    """

    batch: int = 1
    prompt: int = 128
    generate: int = 128
    kv_cache: bool = True
    scored: str = "validation text"

    def __str__(self) -> str:
        cache = "with" if self.kv_cache else "without"
        return (
            f"batch {self.batch}, prompt {self.prompt}, generate {self.generate}, {cache} cache; "
            f"scored on {self.scored}"
        )


@dataclass(frozen=True)
class Bill:
    """Everything measured of one model. What is unknown is None, never zero.

    Quality: `bits_per_byte`, or the caller's own `quality`; against the first model of a comparison
    `divergence` (nats per token) and `flips` (share of changed likeliest tokens); `parses` (share
    of completions). Size: counts and bytes. `flops_per_token` without and with attention at the
    workload's mean position. Speed: `ttft_seconds` to the first token, `latency_seconds` the median
    of a generated step (of a call, for a model that generates nothing), `tokens_per_second`
    generated over the whole workload, prompt included. Shares: `mfu` of the data sheet's peak,
    `share_of_peak` of the measured one, `bandwidth_share` of the measured copy bandwidth (above 1
    when weights stay in the processor's cache). Dollars: per million generated and per million
    scored tokens.
    """

    workload: Workload
    machine: Machine
    name: str = "model"
    bits_per_byte: float | None = None
    quality: float | None = None
    divergence: float | None = None
    flips: float | None = None
    parses: float | None = None
    parameters: int | None = None
    nonzero_parameters: int | None = None
    bytes_in_memory: int | None = None
    bytes_on_disk: int | None = None
    flops_per_token: float | None = None
    flops_per_token_with_attention: float | None = None
    ttft_seconds: float | None = None
    latency_seconds: float | None = None
    tokens_per_second: float | None = None
    scored_per_second: float | None = None
    peak_memory_bytes: int | None = None
    mfu: float | None = None
    share_of_peak: float | None = None
    bandwidth_share: float | None = None
    dollars_per_million_tokens: float | None = None
    dollars_per_million_scored: float | None = None

    def to_dict(self) -> dict:
        """Plain values, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict) -> Bill:
        """The bill that `to_dict` came from.

        Raises ValueError when a field is missing or unknown.
        """
        known = {f.name for f in fields(cls)}
        if not isinstance(values, dict) or set(values) != known:
            odd = sorted(known.symmetric_difference(values)) if isinstance(values, dict) else values
            raise ValueError(f"values must hold exactly the fields of a Bill; these differ: {odd}")
        parts = {}
        for name, kind in (("machine", Machine), ("workload", Workload)):
            try:
                parts[name] = kind(**values[name])
            except TypeError as error:
                raise ValueError(
                    f"{name} must hold the fields of a {kind.__name__}: {error}"
                ) from error
        return cls(**values | parts)

    def to_json(self) -> str:
        """One JSON object."""
        return json.dumps(self.to_dict(), indent=1)

    @classmethod
    def from_json(cls, text: str) -> Bill:
        """The bill that `to_json` wrote."""
        return cls.from_dict(json.loads(text))

    def __str__(self) -> str:
        return _receipt().text(self)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _receipt().html(self)

    def since(self, before: Bill) -> Receipt:
        """The same receipt with the change of every line since `before`.

        Raises ValueError when the two were measured under other requests, machines or prices; a
        cache of keys and values may come or go, since the requests stay the same.
        """
        check_comparable(self, before)
        return Receipt(self, before)


COMPARED = {
    "workload": ("batch", "prompt", "generate", "scored"),
    "machine": ("name", "device", "threads", "price_per_hour"),
}


def check_comparable(bill: Bill, other: Bill) -> None:
    """Refuse to mix bills of different requests, machines or prices, in one sentence."""
    for part, names in COMPARED.items():
        for what in names:
            here, there = getattr(getattr(bill, part), what), getattr(getattr(other, part), what)
            if here != there:
                raise ValueError(
                    f"bills of different {part}s are not compared: {what} is {here!r} for "
                    f"{bill.name!r}, {there!r} for {other.name!r}"
                )


@dataclass(frozen=True, repr=False)
class Receipt:
    """A bill shown beside the one before it."""

    bill: Bill
    before: Bill

    def __str__(self) -> str:
        return _receipt().text(self.bill, self.before)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _receipt().html(self.bill, self.before)


@dataclass(frozen=True, repr=False)
class Ledger:
    """Bills of several models under one workload on one machine.

    The first is what the others are compared with.
    """

    bills: tuple[Bill, ...]

    def __post_init__(self) -> None:
        for bill in self.bills[1:]:
            check_comparable(bill, self.bills[0])

    def __getitem__(self, name: str) -> Bill:
        for bill in self.bills:
            if bill.name == name:
                return bill
        raise KeyError(
            f"no bill named {name!r} in this ledger: it has {[b.name for b in self.bills]}"
        )

    def __iter__(self) -> Iterator[Bill]:
        return iter(self.bills)

    def __len__(self) -> int:
        return len(self.bills)

    def to_json(self) -> str:
        """One JSON object with the bills in order."""
        return json.dumps({"bills": [bill.to_dict() for bill in self.bills]}, indent=1)

    @classmethod
    def from_json(cls, text: str) -> Ledger:
        """The ledger that `to_json` wrote."""
        held = json.loads(text)
        if not isinstance(held, dict) or set(held) != {"bills"}:
            raise ValueError("text must be one JSON object with the key 'bills' alone")
        return cls(tuple(Bill.from_dict(values) for values in held["bills"]))

    def __str__(self) -> str:
        return _receipt().table_text(self.bills)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return _receipt().table_html(self.bills)

    def figure(self, **options: str) -> Figure:
        """The book's standard figure: dollars against quality.

        `options` as for `figures.money_vs_quality`.
        """
        from costlab import figures

        rows = [
            {
                "name": b.name,
                "dollars": b.dollars_per_million_tokens,
                "quality": b.bits_per_byte if b.bits_per_byte is not None else b.quality,
            }
            for b in self.bills
        ]
        return figures.money_vs_quality(rows, **options)


def _receipt():
    """The drawing code, imported when something is drawn."""
    from costlab.bill import receipt

    return receipt
