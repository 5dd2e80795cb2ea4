"""What the answers of this package have in common: plain values, JSON, and the ends of ranges."""

import json
from dataclasses import asdict


class Record:
    """A dataclass that can be printed as JSON."""

    def to_dict(self) -> dict:
        """All figures as plain values."""
        return asdict(self)

    def to_json(self) -> str:
        """The same as JSON."""
        return json.dumps(self.to_dict(), indent=1)


class Ranged(Record):
    """One whose every predicted `x` (named in `RANGED`) has `x_low` and `x_high`.

    Its class has `end(name, value, high)`: an end of the 80 % range that validation found.
    """

    RANGED: tuple[str, ...] = ()

    def __getattr__(self, name: str) -> float | None:
        base, _, end = name.rpartition("_")
        if end not in ("low", "high") or base not in self.RANGED:
            raise AttributeError(f"{type(self).__name__} has no attribute {name!r}")
        value = getattr(self, base)
        return None if value is None else self.end(base, value, end == "high")

    def to_dict(self) -> dict:
        """All figures with their ranges, as plain values."""
        ends = [f"{name}_{end}" for name in self.RANGED for end in ("low", "high")]
        return super().to_dict() | {name: getattr(self, name) for name in ends}
