"""Which compression: clipping, quantization and distillation at one load, on one accelerator.

Dollars come from the estimate, qualities from published tables and from the book's recorded runs.
Taught in: notebooks/20_advisor.ipynb.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import replace

from costlab import catalog, results
from costlab.advisor.fleet import Load, Rented, rented
from costlab.advisor.records import Option, Recommendation, answer, money
from costlab.catalog import QualityResult
from costlab.estimate import Transformer, resolve_accelerator, resolve_model, training
from costlab.estimate.checks import amount, number, whole
from costlab.estimate.rental import HOURS

_RECORDED = {"rtn": "nearest", "gptq": "GPTQ"}  # names in costlab/results/quantization.json
_SHAPES = {"llama-3-8b": "llama-3.1-8b"}  # names in published tables of shapes with another id


def compression(
    model: object = "llama-3.1-8b",
    *,
    accelerator: str = "h100-sxm",
    requests_per_s: float = 50.0,
    prompt: int = 1000,
    generate: int = 250,
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
    max_loss: float = 0.05,
    student: object = None,
    student_tokens: float = 1e11,
    budget: float | None = None,
) -> Recommendation:
    """Which compression serves `model` at the least rent and loses no more than `max_loss`.

    Args:
        model: a catalog id, a Transformer, a config.json.
        accelerator: a catalog id.
        requests_per_s, prompt, generate, slo_ttft, slo_tpot: the load, as for `compute`.
        max_loss: share by which the perplexity may rise, as published for the model nearest in size
            to which the method was applied.
        student: a smaller model to distill into [none]; student_tokens: what it would read.
        budget: dollars a month [none].

    Raises:
        ValueError: an argument is out of its range, or an id is unknown.

    Taught in: notebooks/20_advisor.ipynb.
    """
    shape, chip = resolve_model(model), resolve_accelerator(accelerator)
    load = Load(requests_per_s=requests_per_s, prompt=prompt, generate=generate,
                slo_ttft=slo_ttft, slo_tpot=slo_tpot)  # fmt: skip
    amount("max_loss", max_loss, most=10)
    budget = None if budget is None else number("budget", budget)
    whole("student_tokens", student_tokens, most=10**15)
    fleets: dict[float, Rented | str] = {}
    options, left_out = [], {}
    for name, bits, loss, words in [("as it is", 16.0, 0.0, "16-bit weights"), *_methods(shape)]:
        found = fleets.setdefault(bits, rented(shape, chip, replace(load, weight_bits=bits)))
        if isinstance(found, str):
            left_out[name] = found
        elif loss > max_loss:
            left_out[name] = f"perplexity rises by {loss:.1%} ({words}), {max_loss:.1%} is allowed"
        else:
            options.append(_option(name, bits, loss, words, found))
    options.sort(key=lambda o: (o.dollars, o.figures["loss"]))
    left_out["clipping"] = _clipping(shape)
    if student is None:
        left_out["distillation"] = "no student is named: student='llama-3.2-1b' prices one"
    else:
        left_out["distillation"] = _distillation(shape, resolve_model(student), chip, load,
                                                 float(student_tokens), options)  # fmt: skip
    return answer("compression", "month", budget, options, left_out,
                  lambda: _concessions(fleets, shape, chip, load))  # fmt: skip


def nearest(rows: Iterable[QualityResult], model: Transformer) -> QualityResult:
    """The row of the published model nearest in size; of several, of the newest model."""
    shapes = {row.id: row for row in catalog.models()}
    known = [(row, shapes[_SHAPES.get(row.model, row.model)]) for row in rows
             if _SHAPES.get(row.model, row.model) in shapes]  # fmt: skip
    newest = sorted(known, key=lambda pair: pair[1].as_of, reverse=True)
    return min(newest, key=lambda pair: round(abs(math.log(pair[1].params / model.params)), 6))[0]


def published_loss(row: QualityResult) -> float | None:
    """Share by which the perplexity rose over the same source's for the model as it was."""
    bases = [
        base.value
        for base in catalog.quality_results(technique=row.technique, model=row.model, method="none")
        if base.source == row.source
    ]
    return row.value / bases[0] - 1 if bases else None


def _methods(model: Transformer) -> Iterator[tuple[str, float, float, str]]:
    """Name, bits a weight, published loss and words of each way to quantize."""
    rows = [row for row in catalog.quality_results(technique="quantization")
            if row.method != "none" and published_loss(row) is not None]  # fmt: skip
    ways = dict.fromkeys((r.method, r.bits, r.activation_bits, r.group) for r in rows)
    for method, bits, inner, group in ways:
        alike = [
            r
            for r in rows
            if (r.method, r.bits, r.activation_bits, r.group) == (method, bits, inner, group)
        ]
        row = nearest(alike, model)
        name = f"{method}, {bits} bits" + (f" in groups of {group}" if group else "")
        name += ", inputs too" if inner == bits else ""
        words = f"published for {row.model}: {row.value:g}{_recorded(method, bits, group)}"
        yield name, float(bits), published_loss(row), words


def _recorded(method: str, bits: int, group: int | None) -> str:
    """What the same method lost on the book's model, as recorded."""
    kind = _RECORDED.get(method)
    if kind is None:
        return ""
    table = results.read("quantization")["lost_bits_per_byte"]
    lost = table[f"{kind}, {'groups' if group else 'per row'}"][str(bits)]
    return f"; the book's model lost {lost:.3f} bits per byte"


def _option(name: str, bits: float, loss: float, words: str, found: Rented) -> Option:
    figures = {"devices": found.devices, "busy": round(found.busy, 3), "bits": bits}
    figures["loss"] = round(loss, 4)
    return Option(name, found.dollars, found.low, found.high, figures, words)


def _clipping(model: Transformer) -> str:
    rows = catalog.quality_results(technique="pruning", method="magnitude")
    row = nearest((r for r in rows if "pattern" not in r.note), model)
    return (
        "zeros are carried and multiplied like other weights, so no dollar moves; half the "
        f"weights of {row.model} at zero raise its perplexity by {published_loss(row):.0%}"
    )


def _distillation(teacher, student, chip, load, tokens, options) -> str:
    """The student's rent, what training it costs once, and after how many months it is paid."""
    found = rented(student, chip, load)
    if isinstance(found, str):
        return f"the student: {found}"
    run = training(student, chip, devices=8, zero=2, recompute="full", tokens=tokens)
    once = run.dollars * (1 + teacher.active_params / (3 * student.active_params))
    saved = (options[0].dollars if options else 0.0) - found.dollars
    paid = f"paid back in {once / saved:.0f} months" if saved > 0 else "never paid back"
    return (
        f"{student.name} would cost {money(found.dollars)} a month and {money(once)} once (reading "
        f"{tokens:.2g} tokens, the teacher's part included), {paid}; what it loses must be measured"
    )


def _concessions(fleets: dict, model, chip, load: Load) -> Iterator[tuple[str, float]]:
    """Words and dollars of every change that was tried."""
    few = sorted((f.dollars, bits) for bits, f in fleets.items() if isinstance(f, Rented))
    if few:
        yield f"{few[0][1]:.3g} bits a weight, whatever is lost", few[0][0]
        for share in (0.5, 0.25, 0.1):
            less = replace(load, weight_bits=few[0][1], requests_per_s=load.requests_per_s * share)
            found = rented(model, chip, less)
            if isinstance(found, Rented):
                yield f"the same, with {share:.0%} of the requests", found.dollars
    one = catalog.price(chip.id).low * HOURS
    devices = few and fleets[few[0][1]].devices
    if devices:
        yield "the same, from the cheapest provider of the chip", devices * one
