"""Checks of what readers hand in: one clear sentence, before any work starts."""

from collections.abc import Iterable
from difflib import get_close_matches

MOST = {"count": 10**9, "number": 1e18}  # beyond these a number is a slip, not a machine


def whole(name: str, value: object, *, least: int = 1, most: int = MOST["count"]) -> int:
    """`value` as a whole number from `least` to `most`; ValueError names the argument otherwise."""
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, int):
        raise ValueError(f"{name} must be a whole number, got {value!r}.")
    if not least <= value <= most:
        raise ValueError(f"{name} must be a whole number from {least} to {most:,}, got {value!r}.")
    return value


def number(name: str, value: object, *, least: float = 0.0, most: float = MOST["number"]) -> float:
    """`value` as a finite number above `least`, at most `most`; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    if not least < value <= most:
        raise ValueError(
            f"{name} must be a number above {least:g}, at most {most:g}, got {value!r}."
        )
    return float(value)


def amount(name: str, value: object, *, most: float = MOST["number"]) -> float:
    """`value` as a finite number from 0 to `most`; ValueError otherwise."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    if not 0 <= value <= most:
        raise ValueError(f"{name} must be a number from 0 to {most:g}, got {value!r}.")
    return float(value)


def choice(name: str, value: object, known: Iterable) -> object:
    """`value` where it is one of `known`; ValueError lists them, and the nearest, otherwise."""
    known = list(known)
    if not isinstance(value, bool) and value in known:
        return value
    near = get_close_matches(str(value).lower(), [str(k) for k in known], n=1, cutoff=0.5)
    hint = f" Did you mean {near[0]!r}?" if near else ""
    raise ValueError(f"{name} must be one of {', '.join(map(str, known))}, got {value!r}.{hint}")
