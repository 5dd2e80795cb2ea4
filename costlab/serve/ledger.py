"""What a replay leaves behind: when each request was served, and the bill. See notebook 17."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from costlab.serve.engine import Policy
from costlab.workload.service import Promise


@dataclass(frozen=True)
class Served:
    """One request of a replay: what was written, and when (seconds on the replay's clock).

    `times` holds one for each token. `reused` tokens of the prompt came from a kept prefix.
    `refused` says why a request was not served, and is empty otherwise.
    """

    index: int
    arrival: float
    prompt: int = 0
    reused: int = 0
    tokens: tuple[int, ...] = ()
    times: tuple[float, ...] = ()
    canceled: bool = False
    refused: str = ""

    @property
    def finished(self) -> bool:
        """Whether it was served to its end."""
        return not self.canceled and not self.refused

    @property
    def ttft(self) -> float:
        """Seconds from arrival to the first token."""
        return self.times[0] - self.arrival

    @property
    def tpot(self) -> float:
        """Seconds per token after the first; 0 for a single one."""
        return (self.times[-1] - self.times[0]) / max(len(self.times) - 1, 1)

    @property
    def worst_gap(self) -> float:
        """The longest pause between two tokens, in seconds."""
        return max((b - a for a, b in zip(self.times, self.times[1:])), default=0.0)


@dataclass(frozen=True)
class Replay:
    """The account of a replay: one machine, rented for `seconds`, at work for `busy_seconds`.

    `policy` is what was in force (memory may have left fewer places); `passes` counts passes of the
    model. Dollars count the whole rent, idle stretches too, over the tokens of finished requests.
    """

    policy: Policy
    served: tuple[Served, ...]
    seconds: float
    busy_seconds: float
    passes: int
    price_per_hour: float
    promise: Promise

    @property
    def finished(self) -> list[Served]:
        """Requests that were served to their end."""
        return [one for one in self.served if one.finished]

    @property
    def tokens(self) -> int:
        """Tokens written to finished requests."""
        return sum(len(one.tokens) for one in self.finished)

    @property
    def utilization(self) -> float:
        """Share of the time in which the machine had something to do."""
        return self.busy_seconds / self.seconds

    @property
    def requests_per_second(self) -> float:
        """Finished requests over the whole time."""
        return len(self.finished) / self.seconds

    @property
    def capacity(self) -> float:
        """Finished requests over the time at work: what could be served were none idle."""
        return len(self.finished) / self.busy_seconds

    @property
    def dollars(self) -> float:
        """The rent."""
        return self.price_per_hour * self.seconds / 3600

    @property
    def dollars_per_million_tokens(self) -> float:
        """The rent over the tokens written; a megabyte, for a model that writes bytes."""
        return self.dollars / self.tokens * 1e6

    def ttft(self, percentile: float | None = None) -> float:
        """Seconds to the first token at a percentile (the promise's), a value that occurred."""
        return self._at([one.ttft for one in self.finished], percentile)

    def tpot(self, percentile: float | None = None) -> float:
        """Seconds per further token at a percentile (the promise's), a value that occurred."""
        times = [one.tpot for one in self.finished if len(one.times) > 1]
        return self._at(times or [0.0], percentile)

    def worst_gap(self, percentile: float | None = None) -> float:
        """Longest pause within an answer, at a percentile (the promise's)."""
        return self._at([one.worst_gap for one in self.finished], percentile)

    @property
    def keeps_promise(self) -> bool:
        """Whether both limits of the promise are kept at its percentile."""
        promise = self.promise
        return self.ttft() <= promise.ttft_seconds and self.tpot() <= promise.tpot_seconds

    def _at(self, values: list[float], percentile: float | None) -> float:
        percent = self.promise.percentile if percentile is None else percentile
        return float(np.percentile(values, percent, method="inverted_cdf"))

    def __str__(self) -> str:
        count = lambda name: sum(bool(getattr(one, name)) for one in self.served)  # noqa: E731
        p = self.promise.percentile
        lines = [
            f"{len(self.finished)} requests served, {count('canceled')} canceled, "
            f"{count('refused')} refused; {self.tokens:,} tokens written",
            f"[measured] {self.requests_per_second:.3g} requests a second, "
            f"the machine busy {self.utilization:.0%} of the time",
            f"[measured] first token p{p} {1e3 * self.ttft():.3g} ms, "
            f"each further one p{p} {1e3 * self.tpot():.3g} ms",
            f"[measured] promise {'kept' if self.keeps_promise else 'broken'}, "
            f"${self.dollars_per_million_tokens:.3g} per million tokens",
        ]
        return "\n".join(lines)

    __repr__ = __str__
