"""`training`: how big, how long, how much memory, how many dollars, how sure."""

from collections.abc import Iterator
from dataclasses import replace

from costlab.estimate.checks import number
from costlab.estimate.devices import Accelerator, resolve_accelerator
from costlab.estimate.formulas import formula
from costlab.estimate.layout import Layout, make_layout
from costlab.estimate.memory import training_memory
from costlab.estimate.rental import price_note, price_per_hour
from costlab.estimate.shapes import resolve_model
from costlab.estimate.train_record import TrainingEstimate, where_time_goes
from costlab.estimate.train_time import (
    kind_of,
    layout_inputs,
    residuals,
    shape_inputs,
    step_parts,
)
from costlab.estimate.transformer import Transformer

# Goodput (in `training_run`): 6 % of a run's time go to checkpoints, evaluation and planned stops;
# Llama 3 on 16,384 devices had 419 unplanned stops in 54 days (arXiv:2407.21783, section 3.3.4),
# each of 0.3 hours until it is found, restarted, and the work since a checkpoint done again.


def training(
    model: object,
    accelerator: object,
    *,
    devices: int = 1,
    data: int | None = None,
    tensor: int = 1,
    pipeline: int = 1,
    context: int = 1,
    expert: int = 1,
    zero: int = 0,
    micro_batch: int = 1,
    global_batch: int | None = None,
    sequence: int | None = None,
    precision: str = "bf16",
    recompute: str = "none",
    interleave: int = 1,
    adapters: int | None = None,
    tokens: float | None = None,
    price: float | None = None,
) -> TrainingEstimate:
    """Predict a training run: time, memory, dollars and energy, each with an 80 % range.

    Args:
        model: a catalog id, a Transformer, a config.json (path or dict), or the book's own model.
        accelerator: a catalog id or an Accelerator, such as the reader's measured machine.
        devices: how many, all alike.
        data: replicas [devices / (tensor x pipeline x context)].
        tensor, pipeline, context: devices that share a layer, the layers, a sequence.
        expert: devices that share the experts; divides data x context.
        zero: 1 shards the optimizer over the replicas, 2 gradients too, 3 weights too.
        micro_batch: sequences a replica works on at once.
        global_batch: sequences in a step [8 micro-batches a replica, or 4 x pipeline if more].
        sequence: tokens in a sequence [the model's context, at most 8192].
        precision: fp32, tf32, bf16, fp16, fp8 or fp4; the last two in the layers' products alone.
        recompute: "none", "selective" (attention) or "full" (each layer, from its input).
        interleave: parts of the model that a stage holds.
        adapters: rank of adapters on attention; all else is frozen. None trains everything.
        tokens: tokens of the whole run [one step's].
        price: dollars per device-hour [the median of the catalog's on-demand prices].

    Returns:
        The estimate. What does not fit is predicted all the same, with `fits` False.

    Raises:
        ValueError: a name is unknown, a number absurd, or numbers do not multiply or divide.

    Taught in: notebooks/02_compute.ipynb.
    """
    shape, chip = resolve_model(model), resolve_accelerator(accelerator)
    lay = make_layout(
        shape,
        devices=devices,
        data=data,
        tensor=tensor,
        pipeline=pipeline,
        context=context,
        expert=expert,
        zero=zero,
        micro_batch=micro_batch,
        global_batch=global_batch,
        sequence=sequence,
        precision=precision,
        recompute=recompute,
        interleave=interleave,
        adapters=adapters,
    )
    chip.runs(precision)
    if tokens is not None:
        tokens = number("tokens", tokens)
    run = estimate(shape, chip, lay, tokens, price_per_hour(chip, price))
    if price is None and run.price is not None:
        return replace(run, notes=(*run.notes, price_note(chip.id)))
    return run


def step_flops(model: Transformer, lay: Layout) -> tuple[float, float]:
    """Operations of one token as MFU counts them, and with what is computed again."""
    found = formula("training_flops")(
        **shape_inputs(model),
        **layout_inputs(model, lay),
        attended=model.attended(lay.sequence),
    )
    return found["useful"], found["computed"]


def estimate(
    model: Transformer,
    chip: Accelerator,
    lay: Layout,
    tokens: float | None = None,
    price: float | None = None,
) -> TrainingEstimate:
    """The estimate of a checked layout; `training` says what the words mean."""
    parts = step_parts(model, chip, lay)
    memory = training_memory(model, lay)
    seconds = parts["step"]["seconds"]
    useful, computed = step_flops(model, lay)
    tokens_run = float(lay.step_tokens) if tokens is None else tokens
    run = formula("training_run")(
        **layout_inputs(model, lay), seconds=seconds, run_tokens=tokens_run, useful=useful,
        computed=computed, active_params=model.active_params,
        peak_sheet=chip.peak_flops(lay.precision),
    )  # fmt: skip
    hours, held = run["device_hours"], sum(memory.values())
    return TrainingEstimate(
        model=model.name,
        accelerator=str(chip),
        layout=str(lay),
        devices=lay.devices,
        precision=chip.runs(lay.precision),
        tokens=tokens_run,
        flops_total=run["flops_total"],
        tflops_per_device=run["pace"] * useful / 1e12,
        mfu=run["mfu"],
        hfu=run["hfu"],
        tokens_per_s_per_device=run["pace"],
        step_seconds=seconds,
        memory_gib_per_device=held,
        memory=memory,
        memory_limit_gib=chip.memory_gib,
        fits=_fits(held, chip),
        goodput=run["goodput"],
        device_hours=hours,
        wall_hours=run["wall_hours"],
        price=price,
        dollars=None if price is None else price * hours,
        energy_kwh=None if chip.power_w is None else hours * chip.power_w / 1000,
        parts=where_time_goes(parts, model, chip, lay),
        kind=kind_of(model, lay.precision),
        remedies=() if _fits(held, chip) else tuple(remedies(model, chip, lay)),
        notes=tuple(_notes(model, chip, lay, tokens, price)),
    )


def _fits(gib: float, chip: Accelerator) -> bool:
    """Whether the high end of the range fits."""
    return gib * residuals()["memory"][1] <= chip.memory_gib


def remedies(model: Transformer, chip: Accelerator, lay: Layout) -> Iterator[str]:
    """What would make it fit, each tried: the first that does of every kind of change."""
    found = False
    for kind in _changes(model, lay):
        for words, change in kind.items():
            if _fits(sum(training_memory(model, replace(lay, **change)).values()), chip):
                found = True
                yield f"would fit with {words}"
                break
    if not found:
        yield "even 1,024 times the devices with zero=3 and recompute='full' would not make it fit"


def _changes(model: Transformer, lay: Layout) -> Iterator[dict[str, dict]]:
    """Kinds of change, each a list of ever larger ones: words and what to replace."""
    yield {"recompute='full'": {"recompute": "full"}}
    if lay.data * lay.context > 1:
        more = range(lay.zero + 1, 4)
        yield {f"zero={zero}": {"zero": zero} for zero in more}
        yield {
            f"zero={zero} and recompute='full'": {"zero": zero, "recompute": "full"}
            for zero in more
        }
    yield {"micro_batch=1": {"micro_batch": 1}}
    times = (2, 4, 8, 16, 64, 256, 1024)
    yield {
        f"tensor={lay.tensor * n} on {lay.devices * n:,} devices": {
            "tensor": lay.tensor * n,
            "devices": lay.devices * n,
        }
        for n in times
        if lay.tensor * n <= min(8, model.heads)
    }
    yield {
        f"{lay.devices * n:,} devices, zero=3 and recompute='full'": {
            "data": lay.data * n,
            "devices": lay.devices * n,
            "global_batch": lay.global_batch * n,
            "zero": 3,
            "recompute": "full",
        }
        for n in times
    }


def _notes(
    model: Transformer, chip: Accelerator, lay: Layout, tokens: float | None, price: float | None
) -> Iterator[str]:
    runs = chip.runs(lay.precision)
    if runs != lay.precision:
        yield f"{chip} has no {lay.precision}: {runs} is assumed"
    if price is None:
        yield f"no price of {chip} is known: give price= for dollars"
    if tokens is None:
        yield "hours, dollars and energy are of one step: give tokens= for a run"
