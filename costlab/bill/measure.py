"""Measure a model, or several side by side, in dollars and in quality. Taught in notebook 01."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from tqdm import tqdm

from costlab.bill import counting, memory
from costlab.bill.checks import Data, check, tokens_of
from costlab.bill.machine import Machine, this_machine
from costlab.bill.quality import score, share_that_parses
from costlab.bill.records import Bill, Ledger, Workload
from costlab.bill.timing import Clock
from costlab.lm.decoding import context_of, first_weight, is_language_model, vocabulary_of

REPEATS = 5  # timed runs of the whole workload; medians are reported


def measure(
    model: nn.Module,
    data: Data = None,
    *,
    batch: int = 1,
    prompt: int = 128,
    generate: int = 128,
    kv_cache: bool = True,
    price: float | None = None,
    quality: Callable[[nn.Module], float] | None = None,
) -> Bill:
    """Measure what a model costs and how good it is; under 20 s for the book's model on two cores.

    data: one batch or an iterable of batches; a batch is a tensor, a tuple (positional) or a dict
    (keywords). None means the book's validation text, for a model that reads bytes. A language
    model is scored on the tokens in it; any other module is timed on its first batch.
    batch, prompt, generate: sequences, tokens each begins with, tokens written to each. generate=0
    generates nothing.
    price: dollars per machine-hour; None asks the catalog, and falls back on a stated reference
    price.
    quality: a function of the model that returns a number, for models that are not language models.

    Raises TypeError or ValueError with one sentence before any work starts.
    """
    ledger = compare(
        {type(model).__name__: model}, data, batch=batch, prompt=prompt, generate=generate,
        kv_cache=kv_cache, price=price, quality=quality,
    )  # fmt: skip
    return ledger.bills[0]


def compare(
    models: dict[str, nn.Module],
    data: Data = None,
    *,
    batch: int = 1,
    prompt: int = 128,
    generate: int = 128,
    kv_cache: bool = True,
    price: float | None = None,
    quality: Callable[[nn.Module], float] | None = None,
) -> Ledger:
    """Measure several models under one workload, timed in turn: noise then meets all of them.

    models: name -> model; divergence, flips and every change are against the first. The other
    arguments are those of `measure`. All models must lie on one device; one workload serves all, so
    nothing is ever compared across two.
    """
    workload = Workload(batch, prompt, generate, kv_cache)
    batches = check(models, data, workload, quality)
    first = next(iter(models.values()))
    scored = "validation text" if data is None and is_language_model(first) else "the data given"
    workload = replace(workload, scored=scored)
    bills = {}
    for name, model in tqdm(models.items(), desc="counting and scoring", unit="model", leave=False):
        base = first if bills else None  # the same object under two names diverges by zero
        with counting.evaluating(model), counting.evaluating(first):
            bill = Bill(workload, _machine(model, price), name=name, **_counts(model, workload))
            bills[name] = replace(bill, **_quality(model, base, batches, data is None, quality))
    clocks = {name: Clock(model, batches, workload) for name, model in models.items()}
    for _ in tqdm(range(REPEATS + 1), desc="timing in turn", unit="round", leave=False):
        for clock in clocks.values():
            clock.once()
    done = []
    for name, model in models.items():
        peak = _peak(model, workload)
        done.append(_price(replace(bills[name], peak_memory_bytes=peak, **clocks[name].medians())))
    return Ledger(tuple(done))


def _machine(model: nn.Module, price: float | None) -> Machine:
    """This machine with the peak for the numbers that the model multiplies."""
    weight = first_weight(model)
    integer = any(getattr(module, "integer", False) for module in model.modules())
    dtype = torch.int8 if integer else weight.dtype
    return this_machine(price=price, device=weight.device.type, dtype=dtype)


def _counts(model: nn.Module, workload: Workload) -> dict:
    """All that needs no clock."""
    held = [(w.numel(), int(w.count_nonzero())) for w in counting.weights(model)]
    flops = counting.flops_per_token(model)
    # a written token sees the prompt and half of what is written, a read one half of the prompt
    seen = workload.prompt + workload.generate / 2
    position = seen if workload.generate else (workload.prompt + 1) / 2
    attention = counting.attention_flops(model, position)
    state = {n: t for n, t in model.state_dict().items() if isinstance(t, Tensor)}
    untied = {
        (t.data_ptr(), t.shape): (n, t.detach().contiguous().clone()) for n, t in state.items()
    }
    return {
        "parameters": sum(n for n, _ in held),
        "nonzero_parameters": sum(nonzero for _, nonzero in held),
        "bytes_in_memory": counting.bytes_in_memory(model),
        "bytes_on_disk": len(to_safetensors(dict(untied.values()))),
        "flops_per_token": flops,
        "flops_per_token_with_attention": None if None in (flops, attention) else flops + attention,
    }


def _quality(model, base, batches: list, book: bool, quality: Callable | None) -> dict:
    """Quality of one model; against `base` where there is one."""
    found = {"quality": None if quality is None else _number(quality(model))}
    if not is_language_model(model):
        return found
    if base is not None and (
        not is_language_model(base) or vocabulary_of(base) != vocabulary_of(model)
    ):
        base = None  # other tokens: nothing to diverge from
    scores = score(model, [tokens_of(b) for b in batches], base)
    found |= {"divergence": scores.divergence, "flips": scores.flips}
    if vocabulary_of(model) == 256:
        found["bits_per_byte"] = scores.bits_per_token
    if book and context_of(model) >= 288:
        found["parses"] = share_that_parses(model)
    return found


def _number(value: object) -> float:
    try:
        return float(value)
    except (TypeError, ValueError) as error:
        raise TypeError(f"quality must return a number, got {value!r}") from error


def _peak(model: nn.Module, workload: Workload) -> int | None:
    """Peak memory in a new process.

    On a GPU and for kinds that cannot be written down it stays unknown.
    """
    parameter = first_weight(model)
    if parameter.device.type != "cpu" or not is_language_model(model):
        return None
    with tempfile.TemporaryDirectory() as folder:
        path = memory.write_model(model, Path(folder))
        if path is None:
            return None
        dtype = str(parameter.dtype).removeprefix("torch.")
        load = {n: getattr(workload, n) for n in ("batch", "prompt", "generate", "kv_cache")}
        return memory.peak_in_new_process(path, dtype, load)


def _price(bill: Bill) -> Bill:
    """Turn rates into dollars and into shares of what the machine could do."""
    machine, rate = bill.machine, bill.tokens_per_second
    flops = bill.flops_per_token_with_attention
    found = {}
    if rate:
        found["dollars_per_million_tokens"] = machine.price_per_hour / 3600 / rate * 1e6
        if flops:
            found["share_of_peak"] = flops * rate / machine.peak_flops
            found["mfu"] = flops * rate / machine.sheet_flops if machine.sheet_flops else None
        if bill.latency_seconds:
            found["bandwidth_share"] = (
                bill.bytes_in_memory / bill.latency_seconds / machine.bandwidth
            )
    if bill.scored_per_second:
        per_token = machine.price_per_hour / 3600 / bill.scored_per_second
        found["dollars_per_million_scored"] = per_token * 1e6
    return replace(bill, **found)
