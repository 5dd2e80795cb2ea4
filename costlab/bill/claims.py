"""Claims are code: a sentence with a number that is checked where it is printed.

Taught in notebook 01.
"""

from __future__ import annotations

import inspect
import math
import operator
import textwrap
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

OPERATORS = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "==": operator.eq,
}
KINDS = ("exact", "measured", "recorded")


class ClaimError(AssertionError):
    """A claim of the book that does not hold."""


def claim(
    text: str,
    value: float,
    op: str,
    bound: float,
    *,
    kind: str = "measured",
    noise: float | None = None,
) -> None:
    """Print `text` when `value op bound` holds, and raise ClaimError when it does not.

    kind: 'exact' for an identity, 'measured' for a ratio or a quality measured here, 'recorded' for
    a figure from `costlab/results`. noise: how far `value` may move from run to run, in its own
    unit; the claim must hold at the unlucky end of it.
    """
    if op not in OPERATORS:
        raise ValueError(f"op must be one of {', '.join(OPERATORS)}, got {op!r}")
    if kind not in KINDS:
        raise ValueError(f"kind must be one of {', '.join(KINDS)}, got {kind!r}")
    for name, number in (("value", value), ("bound", bound), ("noise", noise or 0.0)):
        if not isinstance(number, int | float) or math.isnan(number):
            raise ValueError(f"{name} must be a number, got {number!r}")
    if noise is not None and (noise < 0 or op == "==" or kind == "exact"):
        raise ValueError(
            "noise must be at least 0, and neither '==' nor kind 'exact' allows any, "
            f"got {noise!r} with {op!r}, {kind!r}"
        )
    unlucky = value - (noise or 0) if op in (">", ">=") else value + (noise or 0)
    figures = f"{value:.4g} {op} {bound:.4g}" + (f" (noise {noise:.2g})" if noise else "")
    if not OPERATORS[op](unlucky, bound):
        raise ClaimError(f"claim does not hold: {text} [{figures}]")
    print(textwrap.fill(f"claim holds ({kind}): {text}", 76, subsequent_indent="  "))
    print(f"[measured] {figures}" if kind == "measured" else f"  {figures}")


@dataclass(frozen=True, repr=False)
class Source:
    """The source of an object as it stands in the package, shown as code."""

    title: str
    code: str

    def __repr__(self) -> str:
        return f"# {self.title}\n{self.code}"

    def _repr_markdown_(self) -> str:
        return f"`{self.title}`\n\n```python\n{self.code}\n```"


def source(obj: object) -> Source:
    """Show the code of a function, class or module of `costlab`: the page cannot drift from it."""
    try:
        path = Path(inspect.getsourcefile(inspect.unwrap(obj)))  # not that of a decorator
        code = inspect.getsource(obj)
    except (TypeError, OSError) as error:
        raise TypeError(
            f"obj must be a function, class or module with source, got {obj!r}"
        ) from error
    parts = path.parts
    inside = "costlab" in parts
    place = (
        "/".join(parts[len(parts) - parts[::-1].index("costlab") - 1 :]) if inside else path.name
    )
    name = (
        ""
        if isinstance(obj, ModuleType)
        else f" · {getattr(obj, '__qualname__', type(obj).__name__)}"
    )
    return Source(place + name, code.rstrip())
