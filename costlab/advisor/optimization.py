"""Which optimization: pruning, regularization and shearing at one load, healing paid for.

Taught in: notebooks/20_advisor.ipynb.
"""

from collections.abc import Iterator
from dataclasses import replace
from statistics import mean

from costlab import catalog, results
from costlab.advisor.compression import nearest, published_loss
from costlab.advisor.fleet import Load, Rented, rented
from costlab.advisor.records import Option, Recommendation, answer
from costlab.estimate import Transformer, resolve_accelerator, resolve_model, training
from costlab.estimate.checks import amount, number, whole

SPARSE_BITS = 9.0  # 2:4 of 16 bits: half of them, and 2 bits to say where each of the rest stood


def optimization(
    model: object = "llama-3.1-8b",
    *,
    accelerator: str = "h100-sxm",
    requests_per_s: float = 50.0,
    prompt: int = 1000,
    generate: int = 250,
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
    fraction: float = 0.25,
    heal_tokens: float = 1e10,
    months: float = 12.0,
    max_loss: float | None = None,
    budget: float | None = None,
) -> Recommendation:
    """Which optimization costs least a month once healing is spread over the months of use.

    Args:
        model: a catalog id, a Transformer, a config.json.
        accelerator: a catalog id.
        requests_per_s, prompt, generate, slo_ttft, slo_tpot: the load, as for `compute`.
        fraction: share of the neurons, or of the layers, that shearing removes (0 to 0.9).
        heal_tokens: tokens that a sheared model is trained on.
        months: how long the model will serve.
        max_loss: share by which the perplexity may rise; what nobody published is then left out.
        budget: dollars a month [none].

    Raises:
        ValueError: an argument is out of its range, or an id is unknown.

    Taught in: notebooks/20_advisor.ipynb.
    """
    shape, chip = resolve_model(model), resolve_accelerator(accelerator)
    load = Load(requests_per_s=requests_per_s, prompt=prompt, generate=generate,
                slo_ttft=slo_ttft, slo_tpot=slo_tpot)  # fmt: skip
    number("fraction", fraction, most=0.9)
    whole("heal_tokens", heal_tokens, most=10**15)
    number("months", months, most=1e4)
    budget = None if budget is None else number("budget", budget)
    if max_loss is not None:
        amount("max_loss", max_loss, most=10)
    options, left_out = [], {}
    for name, small, bits, loss, words in _ways(shape, fraction):
        why = _ruled_out(loss, max_loss)
        found = why or rented(small, chip, replace(load, weight_bits=bits))
        if isinstance(found, str):
            left_out[name] = found
        else:
            once = _healing(small, chip, heal_tokens) if small is not shape else 0.0
            options.append(_option(name, found, once, months, loss, words))
    left_out["pruning without a pattern"] = _scattered(shape)
    left_out["regularization"] = (
        "a penalty makes zeros, or whole empty neurons, while a model is trained: it costs a "
        "training run, and pays through the pruning or shearing that follows"
    )
    options.sort(key=lambda o: o.dollars)
    if options and options[0].figures["loss"] is None:
        left_out["a verdict on quality"] = (
            f"what {options[0].name} loses at this size nobody has published: measure it, or give "
            "max_loss to choose among what is known"
        )
    return answer("optimization", "month", budget, options, left_out,
                  lambda: _concessions(shape, chip, load, fraction))  # fmt: skip


def sheared(model: Transformer, *, width: float = 0.0, depth: float = 0.0) -> Transformer:
    """The shape without that share of the neurons (a multiple of 8 stays) and of the layers.

    Taught in: notebooks/20_advisor.ipynb.
    """
    narrow = lambda n: n and max(8, round(n * (1 - width) / 8) * 8)  # noqa: E731
    layers = max(1, round(model.layers * (1 - depth)))
    return replace(
        model,
        ffn=narrow(model.ffn),
        expert_ffn=narrow(model.expert_ffn),
        shared_ffn=narrow(model.shared_ffn) or None,
        layers=layers,
        dense_layers=min(model.dense_layers, layers),
        window_layers=min(model.window_layers or 0, layers),
    )


def _ways(model: Transformer, fraction: float) -> Iterator[tuple]:
    """Name, shape, bits a weight, published loss (None: nobody's) and words of each way."""
    yield "as it is", model, 16, 0.0, "16-bit weights"
    rows = catalog.quality_results(technique="pruning", method="sparsegpt")
    row = nearest((r for r in rows if "2:4" in r.note), model)
    words = f"at best, with the chip's sparse kernels; published for {row.model}: {row.value:g}"
    yield "pruning 2:4 (sparsegpt)", model, SPARSE_BITS, published_loss(row), words
    for units, knob in (("neurons", "width"), ("layers", "depth")):
        words = f"on the book's model {_recorded(knob)}"
        yield (
            f"shearing {fraction:.0%} of the {units}",
            sheared(model, **{knob: fraction}),
            16,
            None,
            words,
        )


def _recorded(child: str) -> str:
    """What shearing cost the book's model in quality, before and after healing."""
    record = results.read("shearing")
    base = record["parent"]["bits_per_byte"]
    gone = 1 - record["before_healing"][child]["parameters"] / record["parent"]["parameters"]
    healed = mean(
        run["bits_per_byte"] for run in record["runs"]
        if (run["start"], run["child"], run["times"]) == ("sheared", child, 1)
    )  # fmt: skip
    before = record["before_healing"][child]["bits_per_byte"] - base
    return (
        f"{gone:.0%} of all weights gone cost {before:.2f} bits per byte, {healed - base:.2f} "
        "after a little healing"
    )


def _ruled_out(loss: float | None, most: float | None) -> str | None:
    if most is None or (loss is not None and loss <= most):
        return None
    if loss is None:
        return "nobody published what it loses at this size: measure it, then drop max_loss"
    return f"perplexity rises by {loss:.0%}, {most:.1%} is allowed"


def _healing(model: Transformer, chip: object, tokens: float) -> float:
    return training(model, chip, devices=8, zero=2, recompute="full", tokens=float(tokens)).dollars


def _option(name, found: Rented, once: float, months: float, loss, words: str) -> Option:
    more = once / months
    figures = {"devices": found.devices, "busy": round(found.busy, 3), "once, $": once}
    figures["loss"] = loss
    return Option(name, found.dollars + more, found.low + more, found.high + more, figures, words)


def _scattered(model: Transformer) -> str:
    rows = catalog.quality_results(technique="pruning", method="wanda")
    row = nearest((r for r in rows if "pattern" not in r.note), model)
    return (
        f"half the weights of {row.model} at zero raise its perplexity by "
        f"{published_loss(row):.0%}, and a dense product carries "
        "and multiplies zeros like other weights: no dollar moves"
    )


def _concessions(model, chip, load: Load, fraction: float) -> Iterator[tuple[str, float]]:
    """Words and dollars of every change that was tried, healing left out."""
    for share in (0.25, 0.5, 0.75):
        if share > fraction:
            found = rented(sheared(model, width=share), chip, load)
            if isinstance(found, Rented):
                yield f"{share:.0%} of the neurons gone, before healing is paid", found.dollars
    found = rented(model, chip, replace(load, weight_bits=4))
    if isinstance(found, Rented):
        yield "weights in 4 bits instead: see compression", found.dollars
    found = rented(model, chip, replace(load, requests_per_s=load.requests_per_s / 2))
    if isinstance(found, Rented):
        yield "half the requests, the model as it is", found.dollars
