"""The service of the book: what it promises, its day of traffic, and its monthly bill.

`SERVICE` says who we are, `day()` returns the seeded day of requests, `monthly_bill` prices it.
Nothing here imports torch, and numpy is imported on first use of a trace.

Taught in chapter 1, The bill (`notebooks/01_the_bill.ipynb`).
"""

from importlib import import_module

_HOME = {
    "Promise": "service",
    "SERVICE": "service",
    "Service": "service",
    "MonthlyBill": "monthly",
    "month": "monthly",
    "monthly_bill": "monthly",
    "Log": "log",
    "read_log": "log",
    "Request": "trace",
    "Trace": "trace",
    "day": "trace",
    "text_for": "texts",
}
__all__ = sorted(_HOME)


def __getattr__(name: str):
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
