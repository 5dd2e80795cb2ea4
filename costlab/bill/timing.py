"""Time a model at its workload, one round at a time, so that several can be timed in turn.

Taught in notebook 01.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from statistics import median

import torch
from torch import nn

from costlab.bill.checks import tokens_of
from costlab.bill.counting import evaluating
from costlab.bill.records import Workload
from costlab.lm.decoding import Session, first_weight, is_language_model, pick, vocabulary_of


class Clock:
    """Times one model, one round of its workload at a time.

    The first round warms up and does not count.
    """

    def __init__(self, model: nn.Module, batches: list, workload: Workload) -> None:
        self.model, self.workload, self.batch = model, workload, batches[0]
        self.writes = is_language_model(model) and workload.generate > 0
        self.device = first_weight(model).device
        self.calls, self.firsts, self.steps, self.totals = [], [], [], []

    @torch.inference_mode()
    def once(self) -> None:
        """One round: score a batch, then serve the workload."""
        with evaluating(self.model):
            self.calls.append(self._timed(self._call))
            if self.writes:
                self._generate()

    def _call(self) -> None:
        if isinstance(self.batch, dict):
            self.model(**self.batch)
        elif isinstance(self.batch, tuple):
            self.model(*self.batch)
        else:
            self.model(self.batch)

    def _timed(self, work: Callable[[], object]) -> float:
        start = time.perf_counter()
        work()
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter() - start

    def _generate(self) -> None:
        load = self.workload
        session = Session(self.model, kv_cache=load.kv_cache, capacity=load.prompt + load.generate)
        generator = torch.Generator().manual_seed(0)  # the caller's own dice stay as they lie
        shape, vocabulary = (load.batch, load.prompt), vocabulary_of(self.model)
        tokens = torch.randint(1, vocabulary, shape, generator=generator)
        state = {"new": tokens.to(self.device)}

        def step() -> None:
            state["new"] = pick(session.feed(state["new"]), None, 1.0)

        times = [self._timed(step) for _ in range(load.generate)]
        self.firsts.append(times[0])
        self.steps.append(median(times[1:]) if times[1:] else None)
        self.totals.append(sum(times))

    def medians(self) -> dict:
        """Medians over the rounds that count."""
        call = median(self.calls[1:])
        if not is_language_model(self.model):
            return {"latency_seconds": call}
        scored = tokens_of(self.batch)
        found = {"scored_per_second": scored.numel() / call, "latency_seconds": call}
        if self.writes:
            steps = [s for s in self.steps[1:] if s is not None]
            written = self.workload.batch * self.workload.generate
            found |= {
                "ttft_seconds": median(self.firsts[1:]),
                "latency_seconds": median(steps) if steps else None,
                "tokens_per_second": written / median(self.totals[1:]),
            }
        return found
