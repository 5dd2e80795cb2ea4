"""The engine of a replica: reads prompts piece by piece, and writes for many requests at once.

Prompts are read one at a time into a cache of their own, which then moves into a place of the
shared one. One decode step writes a token to every request there (arXiv:2309.06180 and Orca, OSDI
2022). Taught in notebook 17.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from costlab.lm.decoding import first_weight
from costlab.serve.pace import Pace
from costlab.serve.slots import SlotCache, feed

BATCHING = ("continuous", "static")


@dataclass(frozen=True)
class Policy:
    """How a replica shares its model among requests.

    batching: "continuous" lets a request join at any step and leave when it is done; "static"
    takes those that wait, reads all their prompts, and steps until the last of them is done.
    places: requests decoded at once; 1 serves one after another. chunk: prompt tokens read
    between two steps; None reads whole prompts. prefixes: shared beginnings of prompts whose keys
    and values are kept for the next request; 0 keeps none. kv_bits: 8 or 4 keeps keys and values
    as integers. memory: bytes for the places' keys and values; with less, there are fewer places.
    """

    batching: str = "continuous"
    places: int = 16
    chunk: int | None = None
    prefixes: int = 0
    kv_bits: int | None = None
    memory: float | None = None

    def __post_init__(self) -> None:
        if self.batching not in BATCHING:
            raise ValueError(f"batching must be 'continuous' or 'static', got {self.batching!r}")
        for name, least in (("places", 1), ("chunk", 1), ("prefixes", 0)):
            value = getattr(self, name)
            whole = isinstance(value, int) and not isinstance(value, bool)
            if not (whole and value >= least) and not (name == "chunk" and value is None):
                raise ValueError(f"{name} must be a whole number from {least}, got {value!r}")
        if self.kv_bits not in (None, 4, 8):
            raise ValueError(f"kv_bits must be 4, 8 or None, got {self.kv_bits!r}")
        if self.memory is not None and not (
            isinstance(self.memory, int | float) and 0 < self.memory < float("inf")
        ):
            raise ValueError(f"memory must be a positive number of bytes, got {self.memory!r}")


@dataclass(eq=False)
class Job:
    """A request under way: `prompt` (1, positions), how many tokens it wants, what it has.

    The first `shared` tokens of the prompt are those of all requests with this `prefix` (-1 for
    none). `times` says when each token was written.
    """

    index: int
    arrival: float
    prompt: Tensor
    tokens: int
    prefix: int = -1
    shared: int = 0
    reused: int = 0
    written: list[int] = field(default_factory=list)
    times: list[float] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether it has all its tokens."""
        return len(self.written) >= self.tokens


class Engine:
    """One model at work under a `policy`, for requests of up to `capacity` tokens.

    `turn(waiting)` passes the model once, over a piece of a prompt or over a token for each running
    request, and returns the jobs to which a token was written. `took` is how long that was: what a
    clock says or, with a `pace`, what that says, and then nothing is computed (all tokens are 0).
    """

    def __init__(
        self, model: nn.Module, policy: Policy, capacity: int, pace: Pace | None = None
    ) -> None:
        self.model, self.policy, self.pace, self.took = model, policy, pace, 0.0
        self.cache = SlotCache(policy.places, capacity, bits=policy.kv_bits)
        self.running: list[Job] = []
        self.reading: Job | None = None
        self.half_read: SlotCache | None = None
        self.prefixes: OrderedDict[int, tuple[SlotCache, Tensor]] = OrderedDict()
        self.closed = self.just_read = False  # closed: a static batch has begun to write

    @property
    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self.running and self.reading is None

    def turn(self, waiting: list[Job]) -> list[Job]:
        """One pass of the model; takes from the front of `waiting` what it begins to read."""
        began = time.perf_counter()
        written = self._turn(waiting)
        if self.pace is None:
            self.took = time.perf_counter() - began
        return written

    def _turn(self, waiting: list[Job]) -> list[Job]:
        self.closed = self.closed and bool(self.running)
        free = len(self.running) < self.policy.places and not self.closed
        can_read = self.reading is not None or (free and bool(waiting))
        patient = self.policy.batching == "static"  # reads all it has taken before it writes
        if can_read and (patient or not self.running or not self.just_read):
            self.just_read = True
            return self._read(waiting)
        self.just_read, self.closed = False, patient
        return self._step()

    def drop(self, job: Job) -> None:
        """Forget a request, at whatever point it is; the others go on unharmed."""
        if job is self.reading:
            self.reading = self.half_read = None
        elif job in self.running:
            self._leave(self.running.index(job))

    def _pass(self, tokens: Tensor, cache: SlotCache) -> list[int]:
        """The likeliest token behind each row's `tokens` (rows, new)."""
        if self.pace is None:
            return feed(self.model, tokens, cache)[:, -1].argmax(-1).tolist()
        rows, new, held = *tokens.shape, cache.length
        reads = cache is self.half_read
        self.took = self.pace.read(new, held) if reads else self.pace.step(rows, held + 1)
        cache.advance(new)
        return [0] * rows

    # --- reading

    def _read(self, waiting: list[Job]) -> list[Job]:
        if self.reading is None:
            self._begin(waiting.pop(0))
        job, cache = self.reading, self.half_read
        held = int(cache.lengths[0])
        end = min(held + (self.policy.chunk or job.prompt.shape[1]), job.prompt.shape[1])
        likeliest = self._pass(job.prompt[:, held:end], cache)
        if end < job.prompt.shape[1]:
            return []
        job.written.append(likeliest[0])
        self._keep_prefix(job, cache)
        if not job.done:
            self.cache.take(cache)
            self.running.append(job)
        self.reading = self.half_read = None
        return [job]

    def _begin(self, job: Job) -> None:
        self.reading = job
        cache = SlotCache(1, job.prompt.shape[1], bits=self.policy.kv_bits)
        known = self.prefixes.get(job.prefix)
        if known is not None and self._begins_with(job, known[1]):
            self.prefixes.move_to_end(job.prefix)
            # the last token of a prompt is always read: its logits are what is asked for
            job.reused = min(known[1].shape[1], job.prompt.shape[1] - 1)
            cache.take(known[0], tokens=job.reused)
        cache.rows = 1
        self.half_read = cache

    @staticmethod
    def _begins_with(job: Job, prefix: Tensor) -> bool:
        return torch.equal(job.prompt[:, : prefix.shape[1]], prefix)

    def _keep_prefix(self, job: Job, cache: SlotCache) -> None:
        if not self.policy.prefixes or job.prefix < 0 or not job.shared:
            return
        if job.prefix not in self.prefixes:
            kept = SlotCache(1, job.shared, bits=self.policy.kv_bits)
            kept.take(cache, tokens=job.shared)
            self.prefixes[job.prefix] = kept, job.prompt[:, : job.shared]
            if len(self.prefixes) > self.policy.prefixes:
                self.prefixes.popitem(last=False)  # the one that was not asked for the longest

    # --- writing

    def _step(self) -> list[Job]:
        """A token for each running request; rows of a static batch that are done are padding."""
        last = [[job.written[-1]] for job in self.running]
        new = self._pass(torch.tensor(last, device=first_weight(self.model).device), self.cache)
        served = []
        for row, job in enumerate(self.running):
            if job.done:
                self.cache.lengths[row] -= 1  # padding writes over itself
            else:
                job.written.append(new[row])
                served.append(job)
        self._clear()
        return served

    def _clear(self) -> None:
        if self.policy.batching == "static" and not all(job.done for job in self.running):
            return
        for row in reversed(range(len(self.running))):
            if self.running[row].done:
                self._leave(row)

    def _leave(self, row: int) -> None:
        self.cache.drop(row)
        self.running[row] = self.running[-1]
        self.running.pop()
