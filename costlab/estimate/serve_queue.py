"""A layout at work: how many requests are under way, how fast they are served, how long they wait.

A replica interleaves prompts and decoding steps. With b sequences under way, each reading of a
prompt holds all of them up, so that it finishes b / (b x prefill + generate x step) requests a
second. Requests that arrive at random wait behind other prompts and, near the limit, for a place.
Taught in: notebooks/17_serving.ipynb.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from costlab.estimate.formulas import formula
from costlab.estimate.serve_time import Replica


@dataclass(frozen=True)
class Load:
    """What is asked of a service: lengths in tokens, an arrival rate or a batch, a promise."""

    prompt: int
    generate: int
    cached: float = 0.0
    batch: int | None = None
    rate: float | None = None
    slo_ttft: float | None = None
    slo_tpot: float | None = None

    @property
    def promised(self) -> bool:
        """Whether there is a promise to keep."""
        return self.slo_ttft is not None or self.slo_tpot is not None

    @property
    def tokens(self) -> int:
        """Positions that a finished request takes in the cache: what a replica sets aside."""
        return self.prompt + self.generate

    @property
    def context(self) -> float:
        """Positions that a token being written attends to, on average."""
        return self.prompt + self.generate / 2


@dataclass(frozen=True)
class Point:
    """A layout at work: `batch` sequences in each of `replicas`, and what comes of it."""

    replica: Replica
    replicas: int
    places: float
    batch: float
    prefill: float
    step: float
    rate: float
    most: float
    ttft: float
    tpot: float
    ttft_p95: float
    tpot_p95: float
    kept: bool

    @property
    def capacity(self) -> float:
        """Requests per second of all replicas at the most, promises kept."""
        return self.most * self.replicas


def at_work(replica: Replica, devices: int, load: Load) -> Point:
    """One layout under `load`."""
    return _Layout(replica, devices // replica.devices, load).point()


@dataclass(frozen=True)
class _Layout:
    """`replicas` copies under `load`; what follows is per replica unless told otherwise."""

    replica: Replica
    replicas: int
    load: Load

    @cached_property
    def places(self) -> float:
        return float(max(int(self.replica.capacity(self.load.tokens)), 1))

    @cached_property
    def prefill(self) -> float:
        cached = self.load.prompt * self.load.cached
        fresh = self.load.prompt - cached
        return self.replica.prefill(fresh, cached) if fresh else 0.0

    @cached_property
    def each(self) -> float:
        """Seconds of the replica that one prompt takes; stages work on several at a time."""
        return self.prefill / self.replica.pipeline

    def rate(self, batch: float, step: float) -> float:
        """Requests per second with `batch` sequences under way."""
        return self._under_way(batch, step)["rate"]

    def _under_way(self, batch: float, step: float) -> dict[str, float]:
        return formula("under_way")(
            batch=batch, step=step, each=self.each, generate=self.load.generate, places=self.places
        )

    @cached_property
    def most(self) -> float:
        """The same with every place taken: no promise kept, no queue ever empty."""
        return self.rate(self.places, self.replica.step(self.places, self.load.context))

    def point(self) -> Point:
        load = self.load
        if load.rate is None and (load.batch is not None or not load.promised):
            return self.closed(self.places if load.batch is None else load.batch / self._used())
        top = self._most_kept() if load.promised else self.places
        ceiling = self.open(top or 1.0)
        if load.rate is None:
            return replace(ceiling, most=ceiling.rate, kept=top is not None)
        return self._at_rate(ceiling, top is not None)

    def _used(self) -> int:
        """Replicas that have something to do."""
        batch = self.load.batch
        return self.replicas if batch is None else min(self.replicas, batch)

    def closed(self, under_way: float) -> Point:
        """So many requests are always there, the next arriving as one leaves; some may queue."""
        batch, used = min(under_way, self.places), self._used()
        step = self.replica.step(batch, self.load.context)
        rate = self.rate(batch, step)
        tpot = step + max(batch - 1, 0.0) * self.each / self.load.generate
        busy = min(rate * self.each, 0.999999)
        wait = min(busy / (2 * (1 - busy)), max(batch - 1, 0.0) / 2) * self.each
        ttft = self.prefill + step + wait
        if under_way > self.places:
            ttft = max(ttft, under_way / rate - self.load.generate * tpot)
        most = self.most * self.replicas / used
        return self._point(batch, step, rate, most, (ttft, tpot, ttft, tpot), used)

    def open(self, batch: float) -> Point:
        """Requests arrive at random, at the rate that keeps `batch` under way on average."""
        step = self.replica.step(batch, self.load.context)
        at = self._under_way(batch, step)  # `left` is for decoding, `crowd` the p95 of a Poisson
        tpot_p95 = self.replica.step(at["crowd"], self.load.context) / at["left"]
        wait = formula("waiting")(
            **at, prefill=self.each, places=self.places, load=at["rate"] / self.most,
            read=self.prefill, step=step,
        )  # fmt: skip
        times = (wait["ttft"], at["tpot"], wait["ttft_p95"], tpot_p95)
        return self._point(batch, step, at["rate"], self.most, times)

    def _point(self, batch, step, rate, most, times, used=None) -> Point:
        limits = (self.load.slo_ttft, self.load.slo_tpot)
        kept = all(t <= (slo or t) for t, slo in zip(times[2:], limits, strict=True))
        used = used or self.replicas
        return Point(
            self.replica, used, self.places, batch, self.prefill, step, rate, most, *times, kept
        )

    def _most_kept(self) -> float | None:
        """The mean number of sequences up to which the promise is kept; None where it never is."""
        low, high = 1e-3, self.places * 0.999
        if not self.open(low).kept:
            return None
        if self.open(high).kept:
            return high
        for _ in range(20):
            middle = (low * high) ** 0.5
            low, high = (middle, high) if self.open(middle).kept else (low, middle)
        return low

    def _at_rate(self, ceiling: Point, possible: bool) -> Point:
        """Arrivals at random: the mean number under way follows from the rate (Little's law)."""
        asked = self.load.rate / self.replicas
        if asked >= ceiling.rate * 0.999999:
            late = float("inf") if asked > self.most else None
            times = {"ttft": late or ceiling.ttft, "ttft_p95": late or ceiling.ttft_p95}
            return replace(ceiling, kept=False, most=ceiling.rate, **times)
        low, high = 0.0, ceiling.batch
        for _ in range(30):
            middle = (low + high) / 2
            rate = self.rate(middle, self.replica.step(middle, self.load.context))
            low, high = (middle, high) if rate < asked else (low, middle)
        point = self.open(high)
        return replace(point, rate=asked, most=ceiling.rate, kept=possible and point.kept)
