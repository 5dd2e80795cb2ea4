"""What serving a model costs: layout, throughput, latency, utilization, dollars, and how sure.

Taught in: notebooks/17_serving.ipynb.
"""

from dataclasses import replace

from costlab.estimate.checks import amount, number, whole
from costlab.estimate.devices import Accelerator, resolve_accelerator
from costlab.estimate.formulas import formula
from costlab.estimate.rental import price_note, price_per_hour
from costlab.estimate.serve_queue import Load, Point, at_work
from costlab.estimate.serve_record import ServingEstimate
from costlab.estimate.serve_time import GIB, Replica
from costlab.estimate.shapes import resolve_model


def serving(
    model: object,
    accelerator: str | Accelerator,
    *,
    devices: int = 1,
    tensor: int | None = None,
    weight_bits: float = 16,
    kv_bits: float = 16,
    batch: int | None = None,
    prompt: int,
    generate: int,
    requests_per_s: float | None = None,
    cached_share: float = 0.0,
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
    price: float | None = None,
) -> ServingEstimate:
    """What serving `model` on `devices` costs, how fast it is, and how busy it keeps them.

    Without `batch` and `requests_per_s` the queue is never empty and the largest batch that fits is
    served (offline throughput; with `slo_tpot`, the largest that keeps it). With `batch`, so many
    requests are always under way in the whole service; those that do not fit wait. With
    `requests_per_s`, requests arrive at random, and utilization is an output.

    Args:
        model: a catalog id, a Transformer, a config.json, or the book's model.
        accelerator: a catalog id or an Accelerator.
        devices: how many; those that no whole replica needs stand idle and are paid for.
        tensor: devices that share a layer [the cheapest layout that fits]; the rest hold replicas.
        weight_bits, kv_bits: bits of a weight, and of a number in the cache.
        batch: requests under way at once, in all replicas together.
        prompt, generate: tokens read and written by a request.
        requests_per_s: arrivals, Poisson, in the whole service.
        cached_share: share of a prompt (0 to 1) that a cache already holds.
        slo_ttft, slo_tpot: promised seconds to the first token and per further token, at p95.
        price: dollars per device-hour [the catalog's median; without one, dollars are None].

    Raises:
        ValueError: an argument is out of its range, or an id is unknown.

    Taught in: notebooks/17_serving.ipynb.
    """
    first = one_device(model, accelerator, weight_bits, kv_bits)
    devices, chip = whole("devices", devices), first.chip
    if tensor is not None:
        tensor = whole("tensor", tensor, most=devices)
    load = make_load(
        prompt=prompt, generate=generate, cached_share=cached_share, batch=batch,
        requests_per_s=requests_per_s, slo_ttft=slo_ttft, slo_tpot=slo_tpot,
    )  # fmt: skip
    point = best(first, devices, tensor, load)
    record = _record(point, devices, load, price_per_hour(chip, price))
    known = price is None and record.price is not None
    return replace(record, notes=(price_note(chip.id),)) if known else record


def one_device(
    model: object, accelerator: object, weight_bits: float = 16, kv_bits: float = 16
) -> Replica:
    """The model on one device, checked: where the search for a layout starts."""
    shape, chip = resolve_model(model), resolve_accelerator(accelerator)
    bits = [number(n, v, most=64) for n, v in (("weight_bits", weight_bits), ("kv_bits", kv_bits))]
    return Replica(shape, chip, 1, 1, *bits)


def make_load(
    *,
    prompt: int,
    generate: int,
    cached_share: float = 0.0,
    batch: int | None = None,
    requests_per_s: float | None = None,
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
) -> Load:
    """The checked load; `serving` says what the words mean."""
    if batch is not None and requests_per_s is not None:
        raise ValueError(
            f"batch and requests_per_s cannot both be given, got {batch!r} and {requests_per_s!r}."
        )
    known = {"requests_per_s": requests_per_s, "slo_ttft": slo_ttft, "slo_tpot": slo_tpot}
    for name, value in known.items():
        if value is not None:
            number(name, value, most=1e9)
    return Load(
        prompt=whole("prompt", prompt),
        generate=whole("generate", generate),
        cached=amount("cached_share", cached_share, most=1),
        batch=None if batch is None else whole("batch", batch),
        rate=requests_per_s,
        slo_ttft=slo_ttft,
        slo_tpot=slo_tpot,
    )


# --- layouts


def layouts(first: Replica, devices: int, tensor: int | None, tokens: int) -> list[Replica]:
    """Replicas worth comparing: those in which one sequence fits; else the largest there is.

    Layers are shared among 1, 2, 4 … devices of a node; what no node holds goes through a pipeline
    of nodes. The last resort is returned even where it does not fit.
    """
    if tensor is not None:
        return [replace(first, tensor=tensor)]
    widths = [2**i for i in range(devices.bit_length()) if 2**i <= _widest(first, devices)]
    found = [replace(first, tensor=t) for t in widths]
    fitting = [r for r in found if r.capacity(tokens) >= 1]
    stages = 2
    while not fitting and stages * widths[-1] <= devices:
        longer = replace(first, tensor=widths[-1], pipeline=stages)
        found.append(longer)
        fitting = [longer] if longer.capacity(tokens) >= 1 else []
        stages += 1
    return fitting or found[-1:]


def _widest(first: Replica, devices: int) -> int:
    return min(devices, first.chip.node_size, first.model.heads)


def best(first: Replica, devices: int, tensor: int | None, load: Load) -> Point:
    """The layout that serves `load` at the least cost per request, promises kept where possible."""
    points = [at_work(r, devices, load) for r in layouts(first, devices, tensor, load.tokens)]
    return max(points, key=lambda p: (p.kept, p.capacity if load.rate else p.rate * p.replicas))


# --- the record


def _record(point: Point, devices: int, load: Load, price: float | None) -> ServingEstimate:
    replica, busy = point.replica, point.replica.devices
    fits = replica.capacity(load.tokens) >= 1
    rate = point.rate * point.replicas
    decode = load.generate * point.step / max(point.batch, 1.0)
    read = point.prefill / replica.pipeline
    written = rate * load.generate
    paid = None if price is None else formula("serving_dollars")(
        price=price, devices=devices, rate=rate, generate=load.generate
    )  # fmt: skip
    share = read / (read + decode)
    million = lambda part, tokens: paid and paid["per_request"] * part / tokens * 1e6  # noqa: E731
    held = replica.cache_bytes(load.context) * max(point.batch, 1.0) / busy
    return ServingEstimate(
        model=replica.model.name,
        accelerator=str(replica.chip),
        devices=devices,
        tensor=replica.tensor,
        pipeline=replica.pipeline,
        replicas=point.replicas,
        weight_bits=replica.weight_bits,
        kv_bits=replica.kv_bits,
        prompt=load.prompt,
        generate=load.generate,
        cached_share=load.cached,
        requests_per_s=rate,
        batch=point.batch * point.replicas,
        max_batch=int(replica.capacity(load.tokens)) * (devices // busy) if fits else 0,
        fits=fits,
        memory_gib=(replica.memory(0, 1) + held) / GIB,
        kv_gib=held / GIB,
        ttft_seconds=point.ttft,
        tpot_seconds=point.tpot,
        ttft_p95_seconds=point.ttft_p95,
        tpot_p95_seconds=point.tpot_p95,
        tokens_per_s=written,
        tokens_per_s_per_device=written / devices,
        utilization=min((load.rate or rate) / point.capacity, 1e9),
        keeps_promise=point.kept and fits,
        arrivals=load.rate is not None,
        price=price,
        dollars_per_million_tokens=paid and paid["per_million_tokens"],
        dollars_per_million_input=million(share, load.prompt),
        dollars_per_million_output=million(1 - share, load.generate),
        parts=replica.step_parts(point.batch, load.context) | {"prefill": point.prefill},
        memory_limit_gib=replica.chip.memory_gib,
    )
