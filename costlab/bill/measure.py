"""Measure a model, or several side by side, in dollars and in quality. Taught in notebook 01."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from statistics import median

import torch
from safetensors.torch import save as to_safetensors
from torch import Tensor, nn
from tqdm import tqdm

from costlab.bill import counting, memory
from costlab.bill.machine import this_machine
from costlab.bill.quality import score, share_that_parses
from costlab.bill.records import Bill, Ledger, Workload
from costlab.lm import corpus
from costlab.lm.decoding import Session, context_of, is_language_model, pick, vocabulary_of

SCORED_BYTES = 49_152  # of validation text, taken evenly: enough for three figures of bits per byte
REPEATS = 5  # timed runs of the whole workload; medians are reported

Data = Tensor | tuple | dict | Iterable | None


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
    price: dollars per machine-hour; None asks the catalogue, and falls back on a stated reference
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
    batches = _check(models, data, workload, quality)
    first = next(iter(models.values()))
    parameter = next(first.parameters())
    machine = this_machine(price=price, device=parameter.device.type, dtype=parameter.dtype)
    scored = "validation text" if data is None and is_language_model(first) else "the data given"
    workload = replace(workload, scored=scored)
    bills = {}
    for name, model in tqdm(models.items(), desc="counting and scoring", unit="model", leave=False):
        with counting.evaluating(model):
            bill = Bill(workload, machine, name=name, **_counts(model, workload))
            base = first if model is not first else None
            bills[name] = replace(bill, **_quality(model, base, batches, data is None, quality))
    clocks = {name: _Clock(model, batches, workload) for name, model in models.items()}
    for _ in tqdm(range(REPEATS + 1), desc="timing in turn", unit="round", leave=False):
        for clock in clocks.values():
            clock.once()
    done = []
    for name, model in models.items():
        peak = _peak(model, workload)
        done.append(_price(replace(bills[name], peak_memory_bytes=peak, **clocks[name].medians())))
    return Ledger(tuple(done))


def _check(models: dict, data: Data, workload: Workload, quality: object) -> list:
    """Refuse what cannot be measured, in one sentence; returns the batches to score and time."""
    if not isinstance(models, dict) or not models:
        raise TypeError(f"models must be a dict of name: model with at least one, got {models!r}")
    for name, model in models.items():
        if not isinstance(model, nn.Module):
            raise TypeError(f"model {name!r} must be a torch.nn.Module, got {type(model).__name__}")
        if next(model.parameters(), None) is None:
            raise ValueError(f"model {name!r} has no parameters: there is nothing to measure")
    if quality is not None and not callable(quality):
        raise TypeError(f"quality must be a function of the model, got {type(quality).__name__}")
    for field, least in (("batch", 1), ("prompt", 1), ("generate", 0)):
        value = getattr(workload, field)
        if not isinstance(value, int) or isinstance(value, bool) or value < least:
            raise ValueError(f"{field} must be a whole number of at least {least}, got {value!r}")
    _check_devices(models)
    for name, model in models.items():
        total = workload.prompt + workload.generate
        if is_language_model(model) and total > context_of(model):
            raise ValueError(
                f"prompt + generate is {total} tokens; "
                f"model {name!r} reads {context_of(model)} at most"
            )
    return _batches(models, data)


def _check_devices(models: dict[str, nn.Module]) -> None:
    devices = {p.device.type for model in models.values() for p in model.parameters()}
    if len(devices) > 1:
        raise ValueError(f"models must lie on one device to be compared, got {sorted(devices)}")
    if not devices <= {"cpu", "cuda"}:
        raise ValueError(f"model must lie on 'cpu' or 'cuda', got {devices.pop()!r}")


def _batches(models: dict[str, nn.Module], data: Data) -> list:
    device = next(next(iter(models.values())).parameters()).device
    if data is None:
        for name, model in models.items():
            if not is_language_model(model) or vocabulary_of(model) != 256:
                raise ValueError(
                    f"data is needed: model {name!r} is not a language model that reads bytes, "
                    "so the book's validation text cannot be used; give a batch"
                )
        context = min(512, *(context_of(model) for model in models.values()))
        return [
            b.to(device) for b in corpus.validation_batches(context=context, limit=SCORED_BYTES)
        ]
    one = isinstance(data, Tensor | tuple | dict)
    batches = [data] if one else list(data)
    if not batches:
        raise ValueError("data must hold at least one batch, got none")
    for item in batches:
        held = (
            item.values() if isinstance(item, dict) else item if isinstance(item, tuple) else [item]
        )
        found = [value for value in held if isinstance(value, Tensor)]
        if not found or any(value.numel() == 0 for value in found):
            raise ValueError(
                "data must be batches of tensors that are not empty, got an empty batch"
            )
    return batches


def _tokens(batch: Tensor | tuple | dict) -> Tensor:
    """The tokens (batch, positions) of a batch for a language model."""
    if isinstance(batch, dict):
        return batch["input_ids"]
    return batch[0] if isinstance(batch, tuple) else batch


def _counts(model: nn.Module, workload: Workload) -> dict:
    """All that needs no clock."""
    parameters = list(model.parameters())
    flops = counting.flops_per_token(model)
    attention = counting.attention_flops(model, workload.prompt + workload.generate / 2)
    state = {n: t for n, t in model.state_dict().items() if isinstance(t, Tensor)}
    untied = {t.data_ptr(): (n, t.detach().contiguous().clone()) for n, t in state.items()}
    return {
        "parameters": sum(p.numel() for p in parameters),
        "nonzero_parameters": sum(int(p.count_nonzero()) for p in parameters),
        "bytes_in_memory": counting.bytes_in_memory(model),
        "bytes_on_disk": len(to_safetensors(dict(untied.values()))),
        "flops_per_token": flops,
        "flops_per_token_with_attention": None if None in (flops, attention) else flops + attention,
    }


def _quality(model, base, batches: list, book: bool, quality: Callable | None) -> dict:
    """Quality of one model; against `base` where there is one."""
    found = {"quality": None if quality is None else float(quality(model))}
    if not is_language_model(model):
        return found
    if base is not None and vocabulary_of(base) != vocabulary_of(model):
        base = None  # other tokens: nothing to diverge from
    scores = score(model, [_tokens(b) for b in batches], base)
    found |= {"divergence": scores.divergence, "flips": scores.flips}
    if vocabulary_of(model) == 256:
        found["bits_per_byte"] = scores.bits_per_token
    if book and context_of(model) >= 288:
        found["parses"] = share_that_parses(model)
    return found


class _Clock:
    """Times one model, one round of its workload at a time.

    The first round warms up and does not count.
    """

    def __init__(self, model: nn.Module, batches: list, workload: Workload) -> None:
        self.model, self.workload, self.batch = model, workload, batches[0]
        self.writes = is_language_model(model) and workload.generate > 0
        self.device = next(model.parameters()).device
        self.calls, self.firsts, self.steps, self.totals = [], [], [], []

    @torch.inference_mode()
    def once(self) -> None:
        """One round: score a batch, then serve the workload."""
        with counting.evaluating(self.model):
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
        tokens = torch.randint(1, vocabulary_of(self.model), (load.batch, load.prompt))
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
        scored = _tokens(self.batch)
        found = {"scored_per_second": scored.numel() / call}
        if self.writes:
            steps = [s for s in self.steps[1:] if s is not None]
            written = self.workload.batch * self.workload.generate
            found |= {
                "ttft_seconds": median(self.firsts[1:]),
                "latency_seconds": median(steps) if steps else None,
                "tokens_per_second": written / median(self.totals[1:]),
            }
        return found


def _peak(model: nn.Module, workload: Workload) -> int | None:
    """Peak memory in a new process.

    On a GPU and for kinds that cannot be written down it stays unknown.
    """
    parameter = next(model.parameters())
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
