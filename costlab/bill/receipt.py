"""Draw bills as receipts and ledgers as tables, as plain text and as HTML.

What varies with the machine stands on text lines that begin with `[measured]` and in elements of
class `measured`, and nothing else does: so a notebook's other outputs can be compared digit by
digit.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from html import escape
from importlib import resources

from costlab.bill.records import Bill

GUTTER, WIDTH = "[measured] ", 44
NOISE = 0.1  # a timing that moved by less is not shown as a change: shared machines wander that far


@dataclass(frozen=True)
class Line:
    """One line of a receipt.

    Which field, its words, how to write it, whether it varies, whether less is better. `beside`
    names a field: where that is known, the line stands there even if its own figure is not, so that
    a receipt has the same lines on every machine.
    """

    field: str
    label: str
    write: object
    measured: bool = False
    less_is_better: bool | None = True
    beside: str = ""
    noise: float = 0.005  # a smaller relative change is not shown


def three(value: float) -> str:
    """Three significant digits, written out up to a million: 1010.4 -> '1010'."""
    return f"{value:.0f}" if 999.5 <= abs(value) < 1e6 else f"{value:.3g}"


def count(value: float) -> str:
    """1234567 -> '1.23 M'."""
    for size, unit in ((1e12, " T"), (1e9, " G"), (1e6, " M"), (1e3, " k")):
        if abs(value) >= 0.9995 * size:  # 999 900 is 1 M, not 1000 k
            return f"{three(value / size)}{unit}"
    return three(value)


def size(value: float) -> str:
    """Bytes in decimal units."""
    return count(value) + "B" if abs(value) >= 999.5 else f"{value:.0f} B"


def memory(value: float) -> str:
    """Bytes in binary units: what a device's memory is counted in."""
    unit, name = (2**30, "GiB") if abs(value) >= 2**30 else (2**20, "MiB")
    return f"{three(value / unit)} {name}"


def seconds(value: float) -> str:
    """0.0021 -> '2.1 ms'."""
    for unit, name in ((1, "s"), (1e-3, "ms"), (1e-6, "µs")):
        if value >= 0.9995 * unit:
            return f"{three(value / unit)} {name}"
    return f"{value:.3g} s"


def dollars(value: float) -> str:
    """Two decimals from a dollar up, three figures below."""
    return f"${value:,.2f}" if value >= 0.9995 else f"${value:.3g}"


def percent(value: float) -> str:
    """A share as percent, three figures."""
    return f"{three(100 * value)} %"


COST = (
    Line("parameters", "parameters", count),
    Line("nonzero_parameters", "of these not zero", count),
    Line("bytes_in_memory", "weights in memory", size),
    Line("bytes_on_disk", "on disk", size),
    Line("flops_per_token", "operations per token", count),
    Line("flops_per_token_with_attention", "with attention", count),
    Line("peak_memory_bytes", "peak memory", memory, True, beside="parameters"),
    Line("ttft_seconds", "to the first token", seconds, True),
    Line("latency_seconds", "per step", seconds, True),
    Line("tokens_per_second", "tokens per second", count, True, False),
    Line("mfu", "of the data sheet's peak", percent, True, None, "share_of_peak"),
    Line("share_of_peak", "of the measured peak", percent, True, None),
    Line("bandwidth_share", "of the memory bandwidth", percent, True, None),
    Line("dollars_per_million_scored", "per million scored", dollars, True),
)
TOTAL = (Line("dollars_per_million_tokens", "PER MILLION WRITTEN", dollars, True),)
QUALITY = (
    Line("bits_per_byte", "bits per byte", lambda v: f"{v:.3g}"),
    Line("quality", "quality", lambda v: f"{v:.3g}", False, None),
    Line("divergence", "divergence, nats per token", lambda v: f"{v:.2g}"),
    Line("flips", "flipped likeliest tokens", lambda v: f"{float(f'{100 * v:.2g}'):g} %"),
    Line(
        "parses",
        "completions that parse",
        lambda v: f"{100 * v:.0f} %",
        measured=True,  # a drawn byte follows the last digit of a float, so the processor
        less_is_better=False,
        noise=0.12,  # 64 drawn completions
    ),
)


def change(line: Line, now: float, before: float | None) -> tuple[str, str]:
    """('▼ 31 %', 'saved') when a line moved since before; two empty strings when it did not."""
    least = max(NOISE * line.measured, line.noise)
    if now is None or not before or abs(now - before) < least * abs(before):
        return "", ""
    better = line.less_is_better is not None and (now < before) == line.less_is_better
    mark = f"{'▼' if now < before else '▲'} {100 * abs(now / before - 1):.0f} %"
    return mark, "saved" if better else "spent" if line.less_is_better is not None else ""


def written(line: Line, value: float | None) -> str:
    """A figure as it is read."""
    return "unknown" if value is None else line.write(value)


def entries(bill: Bill, lines: tuple[Line, ...], before: Bill | None) -> list[tuple]:
    """(line, value written, change, class of the change) of every line that is shown."""
    found = []
    for line in lines:
        value = getattr(bill, line.field)
        beside = getattr(bill, line.beside) if line.beside else None
        if value is None and beside is None:
            continue
        if line.field == "nonzero_parameters" and value == bill.parameters:
            continue
        old = getattr(before, line.field) if before else None
        found.append((line, written(line, value), *change(line, value, old)))
    return found


def machine_words(bill: Bill) -> str:
    """The machine and its price in one line."""
    m = bill.machine
    origin = " (assumed)" if m.assumed else ""
    return f"{m.name}, {m.threads} threads, ${m.price_per_hour:.3g} per hour{origin}"


def text(bill: Bill, before: Bill | None = None) -> str:
    """The receipt as plain text, about 70 characters wide."""
    blank = " " * len(GUTTER)
    rows = [blank + "THE COST LAB".center(WIDTH), blank + bill.name.center(WIDTH).rstrip()]
    for lines in (COST, TOTAL, QUALITY):
        found = entries(bill, lines, before)
        if found:
            rows.append(blank + "-" * WIDTH)
        for line, value, mark, _ in found:
            gutter = GUTTER if line.measured else blank
            dots = "." * max(2, WIDTH - len(line.label) - len(value) - 2)
            rows.append(f"{gutter}{line.label} {dots} {value}  {mark}".rstrip())
    rows += [blank + "-" * WIDTH, f"{blank}{bill.workload}", f"{GUTTER}{machine_words(bill)}"]
    return "\n".join(row.rstrip() for row in rows)


@lru_cache
def css() -> str:
    """The receipt's style without comments and line ends.

    Each receipt carries it, for hosts that are not the book.
    """
    rules = (resources.files("costlab") / "receipt.css").read_text(encoding="utf-8")
    rules = re.sub(r"/\*.*?\*/", "", rules, flags=re.S)
    return re.sub(r"\s*([{};,])\s*", r"\1", re.sub(r"\s+", " ", rules)).strip()


def _html_line(line: Line, value: str, mark: str, kind: str, total: bool) -> str:
    classes = "line" + " total" * total + " measured" * line.measured
    label = f' <span class="{kind}">{mark}</span>' if mark and kind else f" {mark}" if mark else ""
    return (
        f'<div class="{classes}"><dt>{escape(line.label)}</dt><dd>{escape(value)}{label}</dd></div>'
    )


def html(bill: Bill, before: Bill | None = None) -> str:
    """The receipt as HTML, with its own style."""
    cost, total, quality = (
        "\n".join(_html_line(*entry, lines is TOTAL) for entry in entries(bill, lines, before))
        for lines in (COST, TOTAL, QUALITY)
    )
    name = escape(bill.name)
    return (
        f'<div class="costlab-receipt" role="group" aria-label="The bill: {name}">'
        f"<style>{css()}</style>\n"
        f'<div class="head"><span class="shop">The Cost Lab</span>'
        f'<span class="what">{name}</span></div>\n'
        f"<dl>{cost}\n{total}</dl>\n"
        f'<div class="quality"><dl>{quality}</dl></div>\n'
        f'<div class="foot">{escape(str(bill.workload))}<br>\n'
        f'<span class="measured">{escape(machine_words(bill))}</span></div></div>'
    )


COLUMNS = tuple(
    line
    for line in COST + TOTAL + QUALITY
    if line.field
    not in ("nonzero_parameters", "flops_per_token", "ttft_seconds", "mfu", "bandwidth_share")
)


def _cells(bills: tuple[Bill, ...]) -> list[tuple[Line, list[tuple[str, str, str]]]]:
    """For each column that any bill knows.

    (value, change to the first, its class) of every bill.
    """
    columns = []
    for line in COLUMNS:
        values = [getattr(bill, line.field) for bill in bills]
        if not line.beside and all(value is None for value in values):
            continue
        cells = [("–" if v is None else line.write(v), *change(line, v, values[0])) for v in values]
        columns.append((line, cells))
    return columns


def table_text(bills: tuple[Bill, ...]) -> str:
    """A ledger as plain text: a line for each figure, a column for each model."""
    blank, wide = " " * len(GUTTER), 24
    width = max([18] + [len(bill.name) + 2 for bill in bills])
    rows = [blank + " " * wide + "".join(bill.name.rjust(width) for bill in bills)]
    for line, written in _cells(bills):
        cells = "".join(f"{value} {mark}".strip().rjust(width) for value, mark, _ in written)
        rows.append((GUTTER if line.measured else blank) + line.label.ljust(wide) + cells)
    first = bills[0]
    rows += [f"{blank}{first.workload}", f"{GUTTER}{machine_words(first)}"]
    return "\n".join(row.rstrip() for row in rows)


def _td(kind: str, value: str, mark: str, color: str) -> str:
    small = f'<br><small class="{color}">{mark}</small>' if mark else ""
    return f"<td{kind}>{escape(value)}{small}</td>"


def table_html(bills: tuple[Bill, ...]) -> str:
    """A ledger as an HTML table: a row for each figure, a column for each model."""
    head = "".join(f'<th scope="col">{escape(bill.name)}</th>' for bill in bills)
    rows = []
    for line, written in _cells(bills):
        kind = ' class="measured"' if line.measured else ""
        cells = "".join(_td(kind, *cell) for cell in written)
        rows.append(f'<tr><th scope="row">{escape(line.label)}</th>{cells}</tr>')
    first = bills[0]
    caption = (
        f"{escape(str(first.workload))}; "
        f'<span class="measured">{escape(machine_words(first))}</span>'
    )
    return (
        '<table class="costlab-ledger"><caption>' + caption + "</caption>\n"
        f"<thead><tr><td></td>{head}</tr></thead>\n<tbody>" + "\n".join(rows) + "</tbody></table>"
    )
