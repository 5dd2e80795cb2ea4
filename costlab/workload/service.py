"""The service: its name, its size, what it promises and what it may spend."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Promise:
    """A latency promise, kept when `percentile` percent of the requests stay within both limits.

    `ttft_seconds` is the time from a request to its first token, `tpot_seconds` the time per
    token after the first.
    """

    ttft_seconds: float
    tpot_seconds: float
    percentile: int = 95

    def __str__(self) -> str:
        return (
            f"first token in {self.ttft_seconds:g} s, each further one in "
            f"{self.tpot_seconds:g} s, for {self.percentile}% of requests"
        )


@dataclass(frozen=True)
class Service:
    """A language model offered as a service.

    `requests_per_day` is the real traffic, of which a `Trace` holds a sample.
    `budget_dollars_per_month` is what the machines may cost in `days_per_month` days.
    """

    name: str
    description: str
    requests_per_day: int
    promise: Promise
    budget_dollars_per_month: float
    days_per_month: int = 30

    def __str__(self) -> str:
        return (
            f"{self.name}: {self.description}\n"
            f"  traffic  {self.requests_per_day:,} requests a day\n"
            f"  promise  {self.promise}\n"
            f"  budget   ${self.budget_dollars_per_month:,.0f} a month of "
            f"{self.days_per_month} days"
        )


SERVICE = Service(
    name="Siskin",
    description="code completion for Python, by a model that reads bytes",
    requests_per_day=4_000_000,
    promise=Promise(ttft_seconds=0.25, tpot_seconds=0.02, percentile=95),
    budget_dollars_per_month=400.0,
)
