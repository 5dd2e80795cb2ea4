"""Replay traffic on a model: what it costs, how late answers are, and whether the promise is kept.

Taught in notebook 17.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from costlab.bill.counting import evaluating, kv_bytes_per_token
from costlab.bill.machine import this_machine
from costlab.lm import corpus
from costlab.lm.decoding import check_language_model, first_weight, vocabulary_of
from costlab.lm.model import LanguageModel
from costlab.serve.engine import Engine, Job, Policy
from costlab.serve.generation import check_request
from costlab.serve.ledger import Replay, Served
from costlab.serve.pace import Pace
from costlab.workload import SERVICE, text_for
from costlab.workload.service import Promise
from costlab.workload.trace import SECONDS_PER_DAY, Trace


def at_rate(trace: Trace, requests_per_second: float) -> Trace:
    """The same requests in the same order, the gaps between them scaled to another mean rate.

    So only the load differs between two replays. Bursts stay: a gap twice another one stays so.
    Raises ValueError for a rate that is not positive, or so low that they outlast a day.
    """
    if not isinstance(requests_per_second, int | float) or not 0 < requests_per_second < 1e9:
        raise ValueError(f"requests_per_second must be positive, got {requests_per_second!r}")
    stop = len(trace) / requests_per_second
    if not 0 < stop <= SECONDS_PER_DAY:
        raise ValueError(
            f"requests_per_second must spread {len(trace)} requests over a day at most, "
            f"got {requests_per_second:g}"
        )
    scale = stop / (trace.stop - trace.start)
    return replace(
        trace, arrival_seconds=(trace.arrival_seconds - trace.start) * scale, start=0, stop=stop
    )


def replay(
    model: nn.Module,
    trace: Trace,
    *,
    policy: Policy | str = "continuous",
    prompts: Sequence[str | bytes | Tensor] | None = None,
    price: float | None = None,
    promise: Promise | None = None,
    canceled: Mapping[int, float] | None = None,
    pace: Pace | None = None,
) -> Replay:
    """Serve every request of `trace` on one replica of `model`, and account for it.

    The model really reads each prompt and writes each answer (the likeliest tokens, as many as the
    trace asks for). Time is virtual: a clock goes forward by what each pass of the model took, and
    jumps over the stretches in which nothing is there to do. So a quiet hour takes no hour to
    replay, yet it is priced: the machine is rented from the trace's start to its stop, or to the
    last token where that is later.

    policy: how requests share the model; "continuous" and "static" stand for the `Policy` of that
    name. prompts: one for each request; None cuts them from the book's validation text, for models
    that read bytes. price: dollars per machine-hour, as for `measure`. promise: the service's
    unless told. canceled: index of a request -> seconds after its arrival at which its reader
    leaves. pace: rehearses: the schedule is gone through, each pass takes the time that the pace
    says, and nothing is computed (`pace_of` measures one).

    A request that this model cannot serve (an empty prompt, one that outgrows the context) is
    refused with one sentence, in its `Served.refused`; all others are served. Raises TypeError or
    ValueError for arguments that no request could be served with, MemoryError where there is no
    room for the cache.
    """
    policy = Policy(batching=policy) if isinstance(policy, str) else policy
    _check(model, trace, policy, prompts)
    jobs, refused = _jobs(model, trace, prompts)
    capacity = max((job.prompt.shape[1] + job.tokens for job in jobs), default=1)
    policy = _fitting(model, policy, capacity)
    device = first_weight(model).device.type
    hour = this_machine(price=price, device=device).price_per_hour
    engine = Engine(model, policy, capacity, pace)
    with evaluating(model), torch.inference_mode():
        clock, busy, passes, gone = _serve(engine, list(jobs), trace.start, dict(canceled or {}))
    served = [_record(job, job.index in gone) for job in jobs]
    served += [Served(i, float(trace.arrival_seconds[i]), refused=r) for i, r in refused.items()]
    return Replay(
        policy=policy,
        served=tuple(sorted(served, key=lambda one: one.index)),
        seconds=max(clock, trace.stop) - trace.start,
        busy_seconds=busy,
        passes=passes,
        price_per_hour=hour,
        promise=SERVICE.promise if promise is None else promise,
    )


def _serve(
    engine: Engine, coming: list[Job], clock: float, canceled: dict[int, float]
) -> tuple[float, float, int, set[int]]:
    """Run until all is done: the clock then, seconds at work, passes, who was canceled."""
    waiting: list[Job] = []
    busy, passes, gone = 0.0, 0, set()
    while coming or waiting or not engine.idle:
        while coming and coming[0].arrival <= clock:
            waiting.append(coming.pop(0))
        for job in _leaving(engine, waiting, canceled, clock):
            gone.add(job.index)
            engine.drop(job)
            waiting[:] = [other for other in waiting if other is not job]
        if engine.idle and not waiting:
            if coming:
                clock = coming[0].arrival  # nothing to do: the clock jumps, the rent does not stop
            continue
        written = engine.turn(waiting)
        clock, busy, passes = clock + engine.took, busy + engine.took, passes + 1
        for job in written:
            job.times.append(clock)
    return clock, busy, passes, gone


def _leaving(
    engine: Engine, waiting: list[Job], canceled: dict[int, float], clock: float
) -> list[Job]:
    if not canceled:
        return []
    under_way = [*waiting, *engine.running, *([engine.reading] if engine.reading else [])]
    patience = lambda job: job.arrival + canceled.get(job.index, float("inf"))  # noqa: E731
    return [job for job in under_way if patience(job) <= clock and not job.done]


def _record(job: Job, canceled: bool) -> Served:
    return Served(
        job.index, job.arrival, job.prompt.shape[1], job.reused, tuple(job.written),
        tuple(job.times), canceled=canceled,
    )  # fmt: skip


def _check(model: object, trace: object, policy: object, prompts: object) -> None:
    check_language_model(model)
    check_trace(trace)
    if not isinstance(policy, Policy):
        raise TypeError(f"policy must be a Policy or its batching, got {type(policy).__name__}")
    if prompts is None and vocabulary_of(model) != 256:
        raise ValueError("prompts must be given for a model that does not read bytes, got None")
    if prompts is not None and len(prompts) != len(trace):
        raise ValueError(
            f"prompts must hold one for each of the {len(trace)} requests, got {len(prompts)}"
        )


def check_trace(trace: object) -> None:
    """Raise ValueError with one sentence for what is no trace, or an empty one."""
    if not isinstance(trace, Trace) or not len(trace):
        given = "an empty one" if isinstance(trace, Trace) else type(trace).__name__
        raise ValueError(f"trace must be a Trace with at least one request, got {given}")


def _jobs(model, trace: Trace, prompts) -> tuple[list[Job], dict[int, str]]:
    """Requests that can be served, and why the others cannot."""
    jobs, refused = [], {}
    text = corpus.validation_text() if prompts is None else b""
    for i, request in enumerate(trace.requests()):
        prompt = text_for(request, text) if prompts is None else prompts[i]
        try:
            ids = check_request(model, prompt, request.output_tokens)
        except (TypeError, ValueError) as error:
            refused[i] = str(error)
            continue
        shared = min(request.prefix_tokens, ids.shape[1])
        jobs.append(
            Job(
                i, request.arrival_seconds, ids[:1], request.output_tokens, request.prefix_id,
                shared,
            )
        )  # fmt: skip
    return jobs, refused


def cache_bytes(model: nn.Module, tokens: int, *, bits: int | None = None) -> float:
    """Bytes of keys and values of `tokens` positions, as floats or as integers with scales."""
    whole = kv_bytes_per_token(model) * tokens
    if bits is None:
        return whole
    numbers = whole / first_weight(model).element_size()
    head = model.config.head_dim if isinstance(model, LanguageModel) else _head(model.config)
    return numbers * bits / 8 + numbers / head * 4


def _head(config: object) -> int:
    return getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads


def _fitting(model: nn.Module, policy: Policy, capacity: int) -> Policy:
    """The policy with as many places as its memory holds."""
    if policy.memory is None:
        return policy
    each = cache_bytes(model, capacity, bits=policy.kv_bits)
    if policy.memory < each:
        raise ValueError(
            f"memory must hold at least one request of {capacity} tokens, {each:,.0f} bytes, "
            f"got {policy.memory:,.0f}"
        )
    return replace(policy, places=min(policy.places, int(policy.memory // each)))
