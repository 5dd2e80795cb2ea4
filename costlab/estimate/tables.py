"""Estimates as readable text: dotted leaders, a unit on every figure, ranges where known."""

from collections.abc import Iterable, Sequence

WIDTH = 34


def line(label: str, value: object, unit: str = "", low: object = None, high: object = None) -> str:
    """One line of a slip: label, leaders, value, unit, range."""
    shown = figure(value)
    text = f"{label} {'.' * max(2, WIDTH - len(label))} {shown}{' ' + unit if unit else ''}"
    if low is None or high is None or figure(low) == figure(high):
        return text
    return f"{text}  ({figure(low)} to {figure(high)})"


def figure(value: object) -> str:
    """Three significant digits, thousands set off; words and unknowns as they are."""
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int):
        return f"{value:,}"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 1e-4 <= abs(value) < 1000:
        return f"{value:.3g}"
    return f"{value:,.0f}" if abs(value) < 1e9 else f"{value:.3g}"


def ranged(estimate: object, name: str, label: str, unit: str = "") -> str:
    """The line of a predicted figure `name` with its range."""
    ends = (getattr(estimate, f"{name}_{end}", None) for end in ("low", "high"))
    return line(label, getattr(estimate, name), unit, *ends)


def columns(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Rows under a header, numbers to the right."""
    shown = [[figure(cell) for cell in row] for row in rows]
    widths = [max(len(r[i]) for r in [list(header), *shown]) for i in range(len(header))]
    texts = [
        "  ".join(c.rjust(w) for c, w in zip(r, widths, strict=True)) for r in [header, *shown]
    ]
    return "\n".join(text.rstrip() for text in texts)


def serving_table(e: object) -> str:
    """A `ServingEstimate` as a slip."""
    stages = f" x {e.pipeline} stages" if e.pipeline > 1 else ""
    head = (
        f"{e.model} on {e.devices} x {e.accelerator}: {e.replicas} of {e.tensor}{stages}, weights "
        f"in {figure(e.weight_bits)} bits, cache in {figure(e.kv_bits)}"
    )
    load = f"{e.prompt:,} tokens in, {e.generate:,} out, {e.cached_share:.0%} of the prompt cached"
    lines = [head, load, line("fits", e.fits)]
    lines += [
        line("memory of a device", e.memory_gib, f"GiB of {figure(e.memory_limit_gib)}"),
        line("of it cache", e.kv_gib, "GiB"),
        line("requests at once", e.batch, f"of {e.max_batch:,}"),
    ]
    seconds, dollars = "s", "$ per million tokens"
    for name, label, unit in (
        ("ttft_seconds", "to the first token", seconds),
        ("ttft_p95_seconds", "  at p95", seconds),
        ("tpot_seconds", "per further token", seconds),
        ("tpot_p95_seconds", "  at p95", seconds),
        ("tokens_per_s", "written", "tokens/s"),
        ("tokens_per_s_per_device", "  per device", "tokens/s"),
        ("utilization", "utilization", ""),
        ("dollars_per_million_tokens", "whole cost, per token written", dollars),
        ("dollars_per_million_input", "  of it, per token read", dollars),
        ("dollars_per_million_output", "  of it, per token written", dollars),
    ):
        lines.append(ranged(e, name, label, unit))
    lines.append(line("promise kept", e.keeps_promise))
    if e.price is not None:
        lines.append(line("at", e.price, "$ per device-hour"))
    return "\n".join([*lines, *e.notes])


def storage_table(e: object) -> str:
    """A `StorageEstimate` as a slip."""
    lines = [
        f"{e.tier}, prices of {', '.join(e.providers)}, the oldest of {e.oldest_price or 'today'}",
        line("corpus and logs", e.data_gb, "GB"),
        line("weights", e.weights_gb, "GB"),
        line("checkpoints", e.checkpoints_kept, f"of {figure(e.checkpoint_gb)} GB"),
        line("kept", e.gb, "GB"),
    ]
    for name, label in (
        ("dollars_storage", "keeping"),
        ("dollars_retrieval", "reading"),
        ("dollars_egress", "sending out"),
        ("dollars_per_month", "whole"),
    ):
        lines.append(ranged(e, name, label, "$ a month"))
    return "\n".join(lines)


def curve_table(points: Sequence[object]) -> str:
    """The cost curve: a row for each load."""
    header = ("load", "requests/s", "first token p95 s", "next p95 s", "$/M tokens", "$/MB")
    return columns(
        header,
        [
            (f"{p.load:.0%}", p.requests_per_s, p.ttft_p95_seconds, p.tpot_p95_seconds,
             p.dollars_per_million_tokens, p.dollars_per_megabyte)
            for p in points
        ],
    )  # fmt: skip


def break_even_table(e: object) -> str:
    """A `BreakEven` as a slip."""
    lines = [
        f"renting against {e.api} from {e.provider}, priced {e.as_of}",
        line("the interface, per request", e.api_per_request, "$"),
        line("the interface, per megabyte written", e.api_per_megabyte, "$"),
        line("renting at full load, per megabyte", e.rent_per_megabyte, "$"),
        line("renting is cheaper above", e.requests_per_s, "requests/s"),
        line("which is of the most", f"{e.utilization:.0%}"),
        line("and can be served", e.reachable),
    ]
    return "\n".join(lines)


def search_table(found: object) -> str:
    """A `SearchResult`: the axes, how many fitted, and the best."""
    axes = [f"{name}: {', '.join(map(str, values))}" for name, values in found.axes.items()]
    lines = [*axes, f"{found.considered:,} layouts are valid, {found.fitting:,} of them fit"]
    if not found.best:
        return "\n".join([*lines, "the closest:", str(found.closest)])
    names = (*found.axes, "data")
    header = (*(n.replace("_", "-") for n in names), "s/step", "GiB", "MFU", "$")
    rows = [
        (*(getattr(lay, n) for n in names), e.step_seconds, e.memory_gib_per_device,
         e.mfu, e.dollars)
        for e, lay in zip(found.best, found.layouts, strict=True)
    ]  # fmt: skip
    return "\n".join([*lines, columns(header, rows)])


def training_table(e: object) -> str:
    """A `TrainingEstimate` as a slip."""
    lines = [
        f"{e.model} on {e.devices:,} x {e.accelerator} in {e.precision}: {e.layout}",
        line("fits", e.fits),
        ranged(e, "memory_gib_per_device", "memory of a device",
               f"GiB of {figure(e.memory_limit_gib)}"),
    ]  # fmt: skip
    for name, label, unit in (
        ("step_seconds", "a step", "s"),
        ("tokens_per_s_per_device", "tokens", "a second and device"),
        ("tflops_per_device", "useful operations", "TFLOP/s a device"),
        ("mfu", "share of the data sheet, MFU", ""),
        ("hfu", "what is done twice included, HFU", ""),
        ("goodput", "share of the time in steps", ""),
        ("device_hours", "device-hours", ""),
        ("wall_hours", "hours", ""),
        ("energy_kwh", "energy", "kWh"),
        ("dollars", "whole", "$"),
    ):
        lines.append(ranged(e, name, label, unit))
    lines.append(line("operations", e.flops_total, f"for {figure(e.tokens)} tokens"))
    return "\n".join([*lines, *e.remedies, *e.notes])
