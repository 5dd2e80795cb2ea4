"""Which storage: every tier of every provider, with reads, sends and what is kept.

Taught in: notebooks/20_advisor.ipynb.
"""

from collections.abc import Iterator

from costlab import catalog
from costlab.advisor.records import Option, Recommendation, answer
from costlab.estimate import storage as keep
from costlab.estimate.checks import number
from costlab.estimate.storing import tiers

# Archives from which an object is first restored, for minutes to hours (AWS S3 and Azure Blob
# documentation, access tiers); Google Cloud's coldest class is read at once.
RESTORED_FIRST = {("object-archive", "AWS"), ("object-deep-archive", "AWS"),
                  ("object-deep-archive", "Azure")}  # fmt: skip
WEIGHTS_ALONE = 2.0  # bytes of a parameter in a checkpoint that nothing is resumed from


def storage(
    model: object = None,
    *,
    data_gb: float = 0.0,
    checkpoints_per_day: float = 0.0,
    retention_days: float = 30.0,
    checkpoint_bytes: float = 14.0,
    copies: int = 1,
    reads_gb: float = 0.0,
    egress_gb: float = 0.0,
    at_once: bool = True,
    budget: float | None = None,
) -> Recommendation:
    """Which tier keeps data, weights and checkpoints at the least cost, reads included.

    Args:
        model, data_gb, checkpoints_per_day, retention_days, checkpoint_bytes, copies: what is kept,
            as for `costlab.estimate.storage`.
        reads_gb, egress_gb: read back, and sent out to the internet, a month.
        at_once: whether a read may not wait for hours.
        budget: dollars a month [none].

    Raises:
        ValueError: an argument is out of its range, or there is nothing to keep.

    Taught in: notebooks/20_advisor.ipynb.
    """
    asked = {
        "data_gb": data_gb, "checkpoints_per_day": checkpoints_per_day, "copies": copies,
        "retention_days": retention_days, "checkpoint_bytes": checkpoint_bytes,
        "reads_gb": reads_gb, "egress_gb": egress_gb,
    }  # fmt: skip
    if not isinstance(at_once, bool):
        raise ValueError(f"at_once must be True or False, got {at_once!r}.")
    budget = None if budget is None else number("budget", budget)
    if keep(model, **asked | {"reads_gb": 0.0, "egress_gb": 0.0}).gb == 0:
        raise ValueError("data_gb must be above zero where no model is kept, got 0.")
    options, left_out = _options(model, asked, at_once)
    return answer("storage", "month", budget, options, left_out,
                  lambda: _concessions(model, asked, at_once))  # fmt: skip


def _options(model: object, asked: dict, at_once: bool) -> tuple[list[Option], dict[str, str]]:
    options, left_out = [], {}
    for tier in tiers():
        for row in catalog.price(tier, kind="storage").rows:
            name = f"{tier}, {row.provider}"
            if at_once and (tier, row.provider) in RESTORED_FIRST:
                left_out[name] = "a read waits until the object is restored, for hours at worst"
                continue
            try:
                e = keep(model, tier=tier, provider=row.provider, **asked)
            except ValueError as error:  # such as a read whose price nobody states
                left_out[name] = str(error).split(";")[0]
                continue
            parts = {"GB kept": e.gb, "keeping, $": e.dollars_storage,
                     "reading, $": e.dollars_retrieval, "sending, $": e.dollars_egress}  # fmt: skip
            low, high = e.dollars_per_month_low, e.dollars_per_month_high
            options.append(Option(name, e.dollars_per_month, low, high, parts))
    return sorted(options, key=lambda o: o.dollars), left_out


def _concessions(model: object, asked: dict, at_once: bool) -> Iterator[tuple[str, float]]:
    """Words and dollars of every change that was tried."""
    tried: dict[str, dict] = {}
    if asked["checkpoints_per_day"] and model is not None:
        tried["checkpoints kept half as long"] = {"retention_days": asked["retention_days"] / 2}
        tried["checkpoints of the weights alone, from which no run is resumed"] = {
            "checkpoint_bytes": min(WEIGHTS_ALONE, asked["checkpoint_bytes"])
        }
    if asked["egress_gb"]:
        tried["readers in the same region, so that nothing is sent out"] = {"egress_gb": 0.0}
    if asked["data_gb"]:
        tried["half the data"] = {"data_gb": asked["data_gb"] / 2}
    for words, change in tried.items():
        options, _ = _options(model, asked | change, at_once)
        yield from ((words, o.dollars) for o in options[:1])
    if at_once:
        options, _ = _options(model, asked, False)
        yield from (("reads that wait for hours", o.dollars) for o in options[:1])
