"""How dated facts change: a straight line through logarithms, and how far the data leave it open.

Taught in: notebooks/19_trends.ipynb.
"""

import math
import random
from collections import defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from datetime import date


@dataclass(frozen=True)
class Trend:
    """`factor` by which values change for each unit of x, with an 80 % range; see `trend`."""

    factor: float
    low: float
    high: float
    points: int
    groups: int

    def __str__(self) -> str:
        return f"x{self.factor:.3g} (x{self.low:.3g} to x{self.high:.3g}, {self.points} points)"


def year(as_of: str) -> float:
    """A date such as '2026-07-20' as a number of years: 2026.55."""
    then = date.fromisoformat(as_of)
    return then.year + (then - date(then.year, 1, 1)).days / 365.25


def trend(
    points: Iterable[tuple[float, float]],
    *,
    groups: Sequence[Hashable] | None = None,
    draws: int = 1000,
    seed: int = 0,
) -> Trend:
    """The factor by which y changes as x grows by one: least squares on log y.

    With `groups`, only changes within a group count, such as those of one chip's price at one
    provider; each group keeps its own level. The range comes from a bootstrap: the fit is repeated
    on points (or whole groups) drawn with replacement, and its 10th and 90th percentile are kept.

    Args:
        points: pairs (x, y) with y above zero.
        groups: a label for each point [none: all have one level].
        draws, seed: how many fits the range is taken from, and where chance starts.

    Raises:
        ValueError: a y is not above zero, labels and points differ in number, or x never changes.

    Taught in: notebooks/19_trends.ipynb.
    """
    points = [(float(x), y) for x, y in points]
    for _, y in points:
        if not y > 0:
            raise ValueError(f"points must have y above zero, got {y!r}.")
    if groups is not None and len(groups) != len(points):
        raise ValueError(f"groups must have a label for each of {len(points)} points.")
    logs = [(x, math.log(y)) for x, y in points]
    held = defaultdict(list)
    for label, point in zip(groups or [None] * len(points), logs, strict=True):
        held[label].append(point)
    units = [[p] for p in logs] if groups is None else list(held.values())
    joined = groups is None
    slope = _slope(units, joined)
    if slope is None:
        raise ValueError("points must have at least two different x, within a group where given.")
    chance = random.Random(seed)
    found = [_slope(chance.choices(units, k=len(units)), joined) for _ in range(draws)]
    ends = sorted(s for s in found if s is not None)
    low, high = (ends[min(len(ends) - 1, int(share * len(ends)))] for share in (0.1, 0.9))
    factors = (math.exp(s) for s in (slope, low, high))
    return Trend(*factors, points=len(points), groups=len(held))


def _slope(units: list[list[tuple[float, float]]], joined: bool) -> float | None:
    """Least squares through all units, each around its own mean unless `joined`."""
    units = [[p for unit in units for p in unit]] if joined else units
    above = below = 0.0
    for unit in filter(None, units):
        mean_x, mean_y = (sum(values) / len(unit) for values in zip(*unit, strict=True))
        above += sum((x - mean_x) * (y - mean_y) for x, y in unit)
        below += sum((x - mean_x) ** 2 for x, _ in unit)
    return above / below if below > 1e-12 else None
