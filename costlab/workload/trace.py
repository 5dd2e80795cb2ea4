"""A trace: when requests arrive, how much they read, how much they write; and the book's day."""

import gzip
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from costlab.workload.service import SERVICE

DAY_FILE = Path(__file__).with_name("day.csv.gz")
SECONDS_PER_DAY = 86_400
CONTEXT_TOKENS = 512
NO_PREFIX = -1
COLUMNS = (
    "arrival_seconds",
    "prompt_tokens",
    "output_tokens",
    "prefix_id",
    "prefix_tokens",
    "tenant",
)


@dataclass(frozen=True)
class Request:
    """One request: read `prompt_tokens` bytes, write `output_tokens` bytes.

    The first `prefix_tokens` bytes of the prompt are the same in every request with the same
    `prefix_id`; a `prefix_id` of -1 shares nothing. `arrival_seconds` counts from midnight.
    """

    arrival_seconds: float
    prompt_tokens: int
    output_tokens: int
    prefix_id: int
    prefix_tokens: int
    tenant: int


@dataclass(frozen=True, eq=False)
class Trace:
    """Requests in order of arrival, one numpy column per field of `Request` (read-only).

    Every row stands for `sample_of` requests of the real service that arrive as it does: the
    real day is this day, `sample_of` times over. `start` and `stop` (seconds since midnight)
    bound the stretch of the day that the trace covers, also where nothing arrives in it.

    Raises `ValueError` when columns differ in length, arrivals are unsorted or outside of
    [`start`, `stop`), or a prompt with its output exceeds the model's context of 512 bytes.
    """

    arrival_seconds: np.ndarray
    prompt_tokens: np.ndarray
    output_tokens: np.ndarray
    prefix_id: np.ndarray
    prefix_tokens: np.ndarray
    tenant: np.ndarray
    sample_of: float = 1
    start: float = 0
    stop: float = SECONDS_PER_DAY

    def __post_init__(self) -> None:
        for name in COLUMNS:
            kind = np.float64 if name == "arrival_seconds" else np.int64
            column = np.array(getattr(self, name), dtype=kind)
            column.setflags(write=False)
            object.__setattr__(self, name, column)
        _check(self)

    def __len__(self) -> int:
        return len(self.arrival_seconds)

    def requests(self) -> Iterator[Request]:
        """Yield the rows as `Request`s, in order of arrival."""
        for row in zip(*(getattr(self, name).tolist() for name in COLUMNS), strict=True):
            yield Request(*row)

    def slice(self, start: float, stop: float) -> "Trace":
        """Return the requests that arrive in [`start`, `stop`), in seconds since midnight.

        Arrivals keep their time of day. Raises `ValueError` unless
        `self.start <= start < stop <= self.stop`.
        """
        if not self.start <= start < stop <= self.stop:
            raise ValueError(
                f"start and stop must satisfy {self.start:g} <= start < stop <= {self.stop:g} "
                f"seconds; got start={start!r}, stop={stop!r}"
            )
        keep = slice(*np.searchsorted(self.arrival_seconds, [start, stop]))
        return replace(self._take(keep), start=start, stop=stop)

    def scaled(self, load: float, *, seed: int = 0) -> "Trace":
        """Return the trace with `load` times as many arrivals, on average; the same each time.

        `load` below 1 keeps each request with probability `load`; with one `seed`, a smaller
        load keeps a subset of a larger one. Above 1, every request comes floor(`load`) times
        and once more with the probability that is left; repeats arrive up to a minute after
        the original (around the end of the stretch, they continue at its start).

        Raises `ValueError` unless `load` is a positive finite number.
        """
        if not (isinstance(load, int | float | np.number) and 0 < load < np.inf):
            raise ValueError(f"load must be a positive number, such as 0.5 or 2; got {load!r}")
        random = np.random.default_rng(seed)
        whole = int(load)
        copies = whole + (random.random(len(self)) < load - whole)
        rows = np.repeat(np.arange(len(self)), copies)
        first = np.r_[True, rows[1:] != rows[:-1]][: len(rows)]
        delay = np.where(first, 0.0, 60 * random.random(len(rows)))
        return self._shifted(rows, delay)

    def summary(self) -> dict[str, float]:
        """Return exact statistics of the traffic. Requests and tokens are those of the real
        service, `sample_of` to a row; medians and 95th percentiles are values that occur.

        A minute (hour) begins when the clock's does. The peak rate is that of the busiest
        minute. Per day means at the pace of this stretch; a month has the service's number of
        days, all of them like this one. `shared_prefix_share` is the share of prompt tokens
        that lie in a header which the trace also sends with another request;
        `repeated_prefix_share` leaves out the first time each header is read, and so is the
        most that a prefix cache could save. Raises `ValueError` when the trace is empty.
        """
        if not len(self):
            raise ValueError("trace must hold at least one request to be summarized; got none")
        per_day = self.sample_of * SECONDS_PER_DAY / (self.stop - self.start)
        minute = float(self.per_window(60).max())
        mean_rate = len(self) * self.sample_of / (self.stop - self.start)
        numbers = {
            "rows": len(self),
            "requests": round(len(self) * self.sample_of),
            "tenants": len(np.unique(self.tenant)),
            "busiest_tenant_share": float(np.bincount(self.tenant).max() / len(self)),
            "requests_in_busiest_hour": round(float(self.per_window(3600).max())),
            "requests_in_busiest_minute": round(minute),
            "mean_requests_per_second": mean_rate,
            "peak_requests_per_second": minute / 60,
            "read_tokens_per_day": round(int(self.prompt_tokens.sum()) * per_day),
            "generated_tokens_per_day": round(int(self.output_tokens.sum()) * per_day),
        }
        for kind in ("read", "generated"):
            daily = numbers[f"{kind}_tokens_per_day"]
            numbers[f"{kind}_tokens_per_month"] = daily * SERVICE.days_per_month
        for column in ("prompt_tokens", "output_tokens"):
            for name, percent in (("median", 50), ("p95", 95)):
                value = np.percentile(getattr(self, column), percent, method="inverted_cdf")
                numbers[f"{column}_{name}"] = int(value)
        return numbers | self._prefix_shares()

    def per_window(self, seconds: int, weights: np.ndarray | None = None) -> np.ndarray:
        """Return the real service's requests (or `weights`, one per row) in each window of
        `seconds` of the clock, from the window that holds `start` to the one before `stop`."""
        first = int(self.start // seconds)
        windows = int(np.ceil(self.stop / seconds)) - first
        window = (self.arrival_seconds // seconds).astype(np.int64) - first
        return np.bincount(window, weights, minlength=windows) * self.sample_of

    def __str__(self) -> str:
        if not len(self):
            return f"no requests from {_clock(self.start)} to {_clock(self.stop)}"
        s = self.summary()
        rate, peak = s["mean_requests_per_second"], s["peak_requests_per_second"]
        lines = {
            "time of day": f"{_clock(self.start)} to {_clock(self.stop)}",
            "requests": f"{s['requests']:,} ({len(self):,} rows of {self.sample_of:g})",
            "busiest hour": f"{s['requests_in_busiest_hour']:,} requests",
            "busiest minute": f"{s['requests_in_busiest_minute']:,} requests",
            "requests per second": f"{rate:.1f} on average, {peak:.1f} in the busiest minute",
            "prompt tokens": f"median {s['prompt_tokens_median']}, p95 {s['prompt_tokens_p95']}",
            "output tokens": f"median {s['output_tokens_median']}, p95 {s['output_tokens_p95']}",
            "shared prefixes": f"{s['shared_prefix_share']:.1%} of the prompt tokens",
            "tenants": f"{s['tenants']}, the busiest sends {s['busiest_tenant_share']:.1%}",
            "read per day": f"{s['read_tokens_per_day']:,} tokens",
            "generated per day": f"{s['generated_tokens_per_day']:,} tokens",
        }
        return "\n".join(f"{label:<20}{text}" for label, text in lines.items())

    def _take(self, rows) -> "Trace":
        return replace(self, **{name: getattr(self, name)[rows] for name in COLUMNS})

    def _shifted(self, rows: np.ndarray, delay: np.ndarray) -> "Trace":
        """Return `rows`, each `delay` seconds later, in order of arrival."""
        arrival = self.arrival_seconds[rows] + delay
        late = arrival >= self.stop
        # A stretch shorter than the delay wraps around more than once.
        arrival[late] = self.start + (arrival[late] - self.start) % (self.stop - self.start)
        arrival = np.minimum(arrival, np.nextafter(self.stop, self.start))
        order = np.argsort(arrival, kind="stable")
        columns = {name: getattr(self, name)[rows][order] for name in COLUMNS}
        return replace(self, **columns | {"arrival_seconds": arrival[order]})

    def _prefix_shares(self) -> dict[str, float]:
        has = self.prefix_id != NO_PREFIX
        _, first, group, count = np.unique(
            self.prefix_id[has], return_index=True, return_inverse=True, return_counts=True
        )
        tokens = self.prefix_tokens[has]
        shared = int(tokens[count[group] > 1].sum())
        once = int(tokens[first][count > 1].sum())
        total = int(self.prompt_tokens.sum())
        return {
            "shared_prefix_share": shared / total,
            "repeated_prefix_share": (shared - once) / total,
        }


def from_table(table: np.ndarray) -> Trace:
    """The trace of a whole day from six rows of integers, arrivals in milliseconds."""
    milliseconds, *others = table
    return Trace(milliseconds / 1000, *others, sample_of=SERVICE.requests_per_day / table.shape[1])


def day() -> Trace:
    """Return the service's day of traffic: 10,000 requests that stand for all of them.

    It is read from the package; `tools/traffic.py` drew it and says from which distributions.
    """
    with gzip.open(DAY_FILE, "rt", encoding="ascii") as file:
        return from_table(np.loadtxt(file, dtype=np.int64, delimiter=",", skiprows=1).T)


def _clock(seconds: float) -> str:
    return f"{int(seconds // 3600):02d}:{int(seconds % 3600 // 60):02d}"


def _check(trace: Trace) -> None:
    lengths = {name: len(getattr(trace, name)) for name in COLUMNS}
    arrival, prefix = trace.arrival_seconds, trace.prefix_tokens
    in_order = bool((np.diff(arrival) >= 0).all())
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns must have one length; got {lengths}")
    if not trace.sample_of > 0:
        raise ValueError(f"sample_of must be positive; got {trace.sample_of!r}")
    if not 0 <= trace.start < trace.stop <= SECONDS_PER_DAY:
        raise ValueError(
            f"start and stop must satisfy 0 <= start < stop <= {SECONDS_PER_DAY} seconds; "
            f"got {trace.start!r} and {trace.stop!r}"
        )
    if not (in_order and ((arrival >= trace.start) & (arrival < trace.stop)).all()):
        raise ValueError(
            f"arrival_seconds must be sorted and lie in [{trace.start:g}, {trace.stop:g}); "
            f"got {arrival.min():g} to {arrival.max():g}, {'sorted' if in_order else 'unsorted'}"
        )
    if (trace.prompt_tokens < 1).any() or (trace.output_tokens < 1).any():
        raise ValueError("prompt_tokens and output_tokens must be at least 1; got a smaller one")
    longest = int((trace.prompt_tokens + trace.output_tokens).max(initial=0))
    if longest > CONTEXT_TOKENS:
        raise ValueError(
            f"prompt_tokens + output_tokens must be at most {CONTEXT_TOKENS}; got {longest}"
        )
    if ((prefix < 0) | (prefix > trace.prompt_tokens)).any() or (trace.tenant < 0).any():
        raise ValueError(
            "prefix_tokens must lie between 0 and prompt_tokens and tenant be at least 0; "
            "got a row where they do not"
        )
