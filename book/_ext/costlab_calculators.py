"""Calculators in pages: ``{calculator} NAME`` is the place of one, the page carries what it needs.

What travels in the page as JSON is the package's own: the expressions of ``costlab.estimate``, its
coefficients, and the catalog's models, chips and prices as those expressions take them. The scripts
beside (``_static/calc-*.js``) evaluate them and draw the forms. Without JavaScript a reader sees a
table of examples, which the package computed when the book was built.
"""

from __future__ import annotations

import html
import json
from functools import cache

from docutils import nodes
from sphinx.application import Sphinx
from sphinx.util.docutils import SphinxDirective

from costlab import catalog, estimate, levers
from costlab.estimate import layout, memory, rental, serve_time, storing, train_time
from costlab.estimate.devices import BITS, PRECISIONS
from costlab.estimate.formulas import export
from costlab.estimate.train_record import GOODPUT
from costlab.workload.log import COLUMNS

PLACE = '<div class="calculator" data-calculator="{name}">'
WEIGHT_BITS = (16, 8, 4)


# --- what the page's script computes with ----------------------------------------------------


@cache
def data() -> str:
    """Everything as JSON that may stand inside a script element."""
    found = {
        **export(),
        "residuals": {
            "training": train_time.residuals(),
            **{kind: serve_time.residuals(kind) for kind in ("decode", "throughput")},
            "goodput": GOODPUT,
        },
        "update_bytes": train_time.UPDATE_BYTES,
        "micro_batches": layout.MICRO_BATCHES,
        "bits": BITS,
        "frozen": memory.FROZEN,
        "unpacking": memory.UNPACKING,
        "models": {row.id: _model(row) for row in catalog.models()},
        "chips": {row.id: _chip(row) for row in catalog.accelerators()},
        "apis": {name: _api(name) for name in rental.apis()},
        "tiers": {name: _tier(name) for name in storing.tiers()},
        "send": _rows("internet", "egress"),
        "levers": levers.table(),
        "columns": COLUMNS,
        "recent": levers.RECENT,
        "most_levers": levers.MOST,
    }
    return json.dumps(found, separators=(",", ":"), allow_nan=False).replace("<", "\\u003c")


def _model(row: catalog.ModelShape) -> dict:
    shape = estimate.resolve_model(row.id)
    return {
        "name": row.name,
        "as_of": row.as_of,
        "context": shape.context,
        "heads": shape.heads,
        "adapter_each": train_time.adapter_params(shape, 1),
        "train": train_time.shape_inputs(shape),
        "serve": serve_time.model_inputs(shape),
    }


def _chip(row: catalog.Accelerator) -> dict:
    chip = estimate.resolve_accelerator(row.id)
    known, serving = train_time.constants(), serve_time.constants()
    (link, latency), runs = chip.link(1), {}
    for precision in PRECISIONS:
        try:
            runs[precision] = train_time.rates(chip, precision, known)
            runs[precision]["peak_sheet"] = chip.peak_flops(precision)
        except ValueError:
            continue  # this chip has nothing like it
    return {
        "name": row.name,
        "memory_gib": chip.memory_gib,
        "power_w": chip.power_w,
        "as_of": row.as_of,
        "links": {name: getattr(chip, name) for name in ("link_gbs", "network_gbs", "node_size")},
        "train": runs,
        "serve": {bits: serve_time.chip_inputs(chip, bits, serving) for bits in WEIGHT_BITS},
        "link": link * serving["link_share"],
        "latency": latency + serving["exchange_latency"],
        "price": _price(row.id),
    }


def _price(id: str) -> dict | None:
    if rental.price_per_hour(estimate.resolve_accelerator(id), None) is None:
        return None
    found = catalog.price(id)
    return {name: getattr(found, name) for name in ("median", "low", "high", "oldest", "newest")}


def _api(name: str) -> dict:
    read, cached, written = rental.api_prices(name)
    return {
        "read": read.price,
        "cached": cached.price,
        "written": written.price,
        "provider": read.provider,
        "as_of": read.as_of,
    }


def _tier(name: str) -> dict:
    """Prices of keeping, and of reading: unknown (null) where a tier charges and nobody says."""
    read = [{"provider": "", "price": 0.0, "as_of": ""}]
    if name in storing.READS_COST:
        try:
            read = _rows(name, "retrieval")
        except ValueError:
            read = None
    return {"keep": _rows(name, "storage"), "read": read}


def _rows(item: str, kind: str) -> list[dict]:
    rows = catalog.price(item, kind=kind).rows
    return [{"provider": r.provider, "price": r.price, "as_of": r.as_of} for r in rows]


# --- examples for those without JavaScript ---------------------------------------------------


def _figure(value: object) -> str:
    if value is None:
        return "unknown"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, int | float):
        return str(value)
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def _memory_rows():
    yield "model", "devices", "how", "weights, GiB", "activations, GiB", "all, GiB"
    for model, devices, how in (
        ("llama-3.2-1b", 1, {}),
        ("llama-3.1-8b", 1, {"adapters": 16}),
        ("llama-3.1-8b", 8, {"zero": 3}),
        ("llama-3.1-70b", 64, {"zero": 1, "tensor": 8, "pipeline": 4}),
        ("llama-3.1-405b", 1024, {"zero": 1, "tensor": 8, "pipeline": 16}),
    ):
        e = estimate.training(model, "h100-sxm", devices=devices, **how)
        words = ", ".join(f"{name} {value}" for name, value in how.items()) or "one device"
        m = e.memory
        yield model, devices, words, m["weights"], m["activations"], e.memory_gib_per_device


def _training_rows():
    yield "model", "tokens", "devices", "days", "dollars", "from", "to"
    for model, tokens, devices, how in (
        ("llama-3.2-1b", 1e11, 8, {}),
        ("llama-3.1-8b", 1e12, 256, {"zero": 3}),
        ("llama-3.1-70b", 15e12, 4096, {"zero": 1, "tensor": 8, "pipeline": 4}),
    ):
        e = estimate.training(
            model, "h100-sxm", devices=devices, tokens=tokens, global_batch=4096, **how
        )
        yield (model, f"{tokens:.0e}", devices, e.wall_hours / 24, e.dollars, e.dollars_low,
               e.dollars_high)  # fmt: skip


def _serving_rows():
    yield "model", "devices", "bits", "requests/s", "cache of a token, kB", "$ per million tokens"
    for model, devices, bits, rate in (
        ("llama-3.1-8b", 1, 16, 1.0),
        ("llama-3.1-8b", 1, 16, 10.0),
        ("llama-3.1-8b", 1, 8, 10.0),
        ("llama-3.1-70b", 4, 16, 5.0),
        ("llama-3.1-70b", 4, 8, 5.0),
    ):
        e = estimate.serving(model, "h100-sxm", devices=devices, weight_bits=bits,
                             prompt=1000, generate=300, requests_per_s=rate)  # fmt: skip
        each = estimate.resolve_model(model).kv_bytes_per_token() / 1000
        yield model, devices, bits, rate, each, e.dollars_per_million_tokens


def _quantized_rows():
    yield "model", "bits", "weights a scale", "GB", "of GB", "noise, dB"
    for model, bits, group in (
        ("llama-3.1-8b", 8, None),
        ("llama-3.1-8b", 4, 128),
        ("llama-3.1-8b", 4, 32),
        ("llama-3.1-8b", 3, 64),
        ("llama-3.1-70b", 4, 128),
    ):
        e = estimate.quantized(model, bits=bits, group=group)
        yield model, bits, e.group, e.gb, e.gb_before, e.noise_db


def _storage_rows():
    yield "tier", "GB kept", "dollars a month", "from", "to"
    for tier in storing.tiers():
        e = estimate.storage(
            "llama-3.1-8b", tier=tier, data_gb=10_000, checkpoints_per_day=4, retention_days=7
        )
        yield (tier, e.gb, e.dollars_per_month, e.dollars_per_month_low, e.dollars_per_month_high)


def _rent_rows():
    yield "interface", "$ a request", "rented", "$ an hour", "cheaper above, requests/s"
    for api in ("gpt-4o-mini", "gpt-4o", "llama-3.1-8b", "llama-3.3-70b"):
        e = rental.break_even("llama-3.1-8b", "h100-sxm", api=api, prompt=1000, generate=300)
        yield (api, e.api_per_request, "llama-3.1-8b on one h100-sxm", e.rent_per_hour,
               e.requests_per_s)  # fmt: skip


def _bill_rows():
    yield "requests a day", "model", "dollars a month", "lever", "saves, $ a month", "risk"
    for requests, model in ((100_000, "llama-3.1-8b"), (2_000_000, "llama-3.1-70b")):
        service = levers.Service(
            requests_per_day=requests, prompt=1500, generate=300, shared=0.4, model=model
        )
        today, found = levers.levers(service)
        for lever in found:
            yield requests, model, today[0], lever.label, lever.saved, lever.risk


EXAMPLES = {
    "memory": _memory_rows,
    "training": _training_rows,
    "serving": _serving_rows,
    "quantized": _quantized_rows,
    "storage": _storage_rows,
    "rent": _rent_rows,
    "bill": _bill_rows,
}


def table(name: str) -> str:
    """The examples of a calculator as an HTML table."""
    head, *rows = EXAMPLES[name]()
    cells = "".join(f'<th scope="col">{html.escape(text)}</th>' for text in head)
    body = "".join(
        "<tr>" + "".join(f"<td>{html.escape(_figure(value))}</td>" for value in row) + "</tr>"
        for row in rows
    )
    caption = "Examples; the calculator itself needs JavaScript"
    return (
        f"<table><caption>{caption}</caption><thead><tr>{cells}</tr></thead>"
        f"<tbody>{body}</tbody></table>"
    )


# --- pages -----------------------------------------------------------------------------------


class Calculator(SphinxDirective):
    """``{calculator} NAME``: the place of one calculator, with its table of examples."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """Leave the place; the data come once a page, in `carry`."""
        name = self.arguments[0]
        if name not in EXAMPLES:
            known = ", ".join(EXAMPLES)
            raise self.error(f"calculator must be one of {known}, got {name!r}.")
        inner = f"<noscript>{table(name)}</noscript>"
        return [nodes.raw("", PLACE.format(name=name) + inner + "</div>", format="html")]


def carry(app: Sphinx, pagename: str, templatename: str, context: dict, doctree) -> None:
    """Put the data, and the chapters that calculators may point to, before a page's first one."""
    body, first = context.get("body", ""), PLACE.partition("{")[0]
    if first not in body:
        return
    names = sorted(name for name in app.env.found_docs if name.startswith("notebooks/"))
    chapters = {name.partition("/")[2]: app.env.titles[name].astext() for name in names}
    script = '<script type="application/json" id="{}">{}</script>'
    words = json.dumps(chapters).replace("<", "\\u003c")
    both = script.format("calculator-data", data()) + script.format("calculator-chapters", words)
    context["body"] = body.replace(first, both + first, 1)


def setup(app: Sphinx) -> dict:
    """Register the directive and what a page carries."""
    app.add_directive("calculator", Calculator)
    app.connect("html-page-context", carry, priority=940)  # before pages are finished
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
