"""What keeping data costs: a corpus, weights and checkpoints, in a tier, read and sent out.

Taught in: notebooks/03_storage.ipynb.
"""

import math
from dataclasses import dataclass
from statistics import median

from costlab import catalog
from costlab.estimate.checks import amount, choice, number, whole
from costlab.estimate.formulas import formula
from costlab.estimate.record import Record
from costlab.estimate.shapes import resolve_model

# Tiers that charge by the gigabyte for reading; the others' reads are free within a region.
READS_COST = ("object-infrequent", "object-cold", "object-archive", "object-deep-archive")


@dataclass(frozen=True)
class StorageEstimate(Record):
    """Gigabytes (decimal) kept in the steady state, and dollars a month by cause.

    Each dollar figure `x` has `x_low` and `x_high`: the cheapest and dearest provider of the
    catalog. `written_gb` is what checkpoints write in a month.

    Taught in: notebooks/03_storage.ipynb.
    """

    tier: str
    providers: tuple[str, ...]
    data_gb: float
    weights_gb: float
    checkpoint_gb: float
    checkpoints_kept: int
    gb: float
    written_gb: float
    reads_gb: float
    egress_gb: float
    dollars_storage: float
    dollars_retrieval: float
    dollars_egress: float
    dollars_per_month: float
    dollars_storage_low: float
    dollars_storage_high: float
    dollars_retrieval_low: float
    dollars_retrieval_high: float
    dollars_egress_low: float
    dollars_egress_high: float
    dollars_per_month_low: float
    dollars_per_month_high: float
    oldest_price: str

    def __str__(self) -> str:
        from costlab.estimate.tables import storage_table

        return storage_table(self)


def tiers() -> list[str]:
    """The catalog's storage items that have a price, such as 'object-standard'."""
    return sorted({row.item for row in catalog.prices(kind="storage")})


def storage(
    model: object = None,
    *,
    tier: str = "object-standard",
    provider: str | None = None,
    data_gb: float = 0.0,
    weight_bits: float = 16,
    copies: int = 1,
    checkpoint_bytes: float = 14.0,
    checkpoints_per_day: float = 0.0,
    retention_days: float = 30.0,
    reads_gb: float = 0.0,
    egress_gb: float = 0.0,
    price: float | None = None,
) -> StorageEstimate:
    """What a corpus, a model's weights and its checkpoints cost a month, once all are there.

    Args:
        model: whose weights and checkpoints are kept (id, Transformer, config.json); None: neither.
        tier: a storage item of the catalog: object-standard, object-cold, block-ssd, ….
        provider: one provider's prices [the median of all, with the cheapest and the dearest].
        data_gb: corpus and logs, decimal GB.
        weight_bits: bits of a weight that is kept to be served; `copies` such sets.
        checkpoint_bytes: bytes a parameter in a checkpoint to resume from (bf16 weights and Adam in
            fp32: 2 + 12).
        checkpoints_per_day, retention_days: how often one is written, and how long it is kept.
        reads_gb: read back a month; colder tiers charge for it.
        egress_gb: sent out to the internet a month.
        price: dollars per GB-month, instead of the catalog's.

    Raises:
        ValueError: an argument is out of range, a tier is unknown, or a price is not known.

    Taught in: notebooks/03_storage.ipynb.
    """
    amounts = {
        "data_gb": data_gb, "checkpoints_per_day": checkpoints_per_day,
        "retention_days": retention_days, "reads_gb": reads_gb, "egress_gb": egress_gb,
    }  # fmt: skip
    for name, value in amounts.items():
        amount(name, value, most=1e15)
    number("weight_bits", weight_bits, most=64)
    number("checkpoint_bytes", checkpoint_bytes, most=64)
    whole("copies", copies, least=0)
    params = 0 if model is None else resolve_model(model).params
    sizes = formula("kept")(
        data_gb=data_gb, params=params, weight_bits=weight_bits, copies=copies,
        checkpoint_bytes=checkpoint_bytes, checkpoints_per_day=checkpoints_per_day,
        retention_days=retention_days,
    )  # fmt: skip
    rates = _rates(tier, provider, price, reads_gb > 0, egress_gb > 0)
    return _estimate(tier, sizes, rates, data_gb, reads_gb, egress_gb)


def _rates(tier, provider, price, reads, egress) -> dict[str, list[catalog.Price | float]]:
    """Prices of keeping, reading and sending: every provider's newest, or the one that is given."""
    choice("tier", tier, tiers())
    keep = (
        [number("price", price, most=1e3)]
        if price is not None
        else _newest(tier, "storage", provider)
    )
    read = _newest(tier, "retrieval", provider) if reads and tier in READS_COST else [0.0]
    send = _newest("internet", "egress", provider) if egress else [0.0]
    return {"keep": keep, "read": read, "send": send}


def _newest(item: str, kind: str, provider: str | None) -> list[catalog.Price]:
    return list(catalog.price(item, kind=kind, provider=provider).rows)


def _estimate(tier, sizes, rates, data_gb, reads_gb, egress_gb) -> StorageEstimate:
    value = {k: [getattr(row, "price", row) for row in rows] for k, rows in rates.items()}
    rows = [row for found in rates.values() for row in found if not isinstance(row, float)]
    dollars = {}
    for end, pick in (("", median), ("_low", min), ("_high", max)):
        month = formula("storage_month")(
            gb=sizes["gb"], reads_gb=reads_gb, egress_gb=egress_gb,
            price_keep=pick(value["keep"]), price_read=pick(value["read"]),
            price_send=pick(value["send"]),
        )  # fmt: skip
        dollars |= {f"dollars_{name}{end}": month[name] for name in
                    ("storage", "retrieval", "egress", "per_month")}  # fmt: skip
    return StorageEstimate(
        tier=tier,
        providers=tuple(dict.fromkeys(row.provider for row in rows)) or ("as given",),
        data_gb=float(data_gb),
        weights_gb=sizes["weights_gb"],
        checkpoint_gb=sizes["checkpoint_gb"],
        checkpoints_kept=math.ceil(sizes["checkpoints_kept"]),
        gb=sizes["gb"],
        written_gb=sizes["written_gb"],
        reads_gb=float(reads_gb),
        egress_gb=float(egress_gb),
        oldest_price=min((row.as_of for row in rows), default=""),
        **dollars,
    )
