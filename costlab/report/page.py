"""A report as one page of HTML: no script, no request, light and dark. All text is escaped."""

import platform
import sys
from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from html import escape
from importlib.resources import files
from string import Template

import costlab
from costlab import catalog, figures
from costlab.advisor.records import money
from costlab.bill.receipt import count, css, table_html
from costlab.estimate.rental import HOURS, api_prices
from costlab.estimate.tables import figure

DAYS = HOURS / 24  # of a month
WIDE, ROW, HIGH = 400, 44, 140  # of figures, in their own units


def html(report: object) -> str:
    """The page of a `Report`."""
    service, today, chips = report.service, report.today, report.chips
    light, dark = (
        "".join(f"--{name}: {color};" for name, color in palette.items())
        for palette in (figures.LIGHT, figures.DARK)
    )
    how = f"{service.api}, called" if chips is None else f"{service.accelerator}, rented"
    template = Template(files(__package__).joinpath("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        name=escape(report.name), light=light, dark=dark, receipt=css(), how=escape(how),
        answer=_answer(report), lines=_lines(_load(report)),
        today=_dollars(today[0]) if today else "unknown",
        saved=_lines((lever.label, f"▼ {money(lever.saved)}") for lever in report.levers),
        load=_hours(report.log.by_hour) if report.log else "",
        plan=_plan(report), measured=_measured(report), made=escape(_made()),
        reason=escape(chips.reason if chips else "Nothing is rented."),
        compared=escape(str(chips or "")), day=escape(money(report.day_rate)),
        assumed="".join(f"<li>{escape(words)}</li>" for words in _assumed(report)),
    )  # fmt: skip


def _dollars(value: float) -> str:
    """Dollars as they are read, with all their digits in the attribute."""
    return f'<data value="{value!r}">{escape(money(value))}</data>'


def _named(lever) -> str:
    return escape(lever.label + (f": {lever.picked}" if lever.picked else ""))


def _lines(pairs) -> str:
    return "\n".join(
        f'<div class="line"><dt>{escape(label)}</dt><dd>{escape(value)}</dd></div>'
        for label, value in pairs
    )


def _answer(report) -> str:
    if report.today is None:
        return "It cannot be served so: no price is known, or no layout keeps such a promise."
    words = f"Today {_dollars(report.today[0])} a month"
    if report.budget is not None:
        over = report.today[0] - report.budget
        words += f", {money(abs(over))} {'over' if over > 0 else 'under'} the budget of "
        words += money(report.budget)
    if not report.levers:
        return words + ". None of the levers known here saves anything at this load."
    best = report.levers[0]
    return f"{words}. The largest lever saves {_dollars(best.saved)} of them: {_named(best)}."


def _load(report) -> Iterator[tuple[str, str]]:
    """The lines of the receipt: a month's requests and tokens, and what the log was billed."""
    service = report.service
    month = service.requests_per_day * DAYS
    yield "requests", count(month)
    yield "tokens read", count(month * service.prompt)
    yield "tokens written", count(month * service.generate)
    if report.today:
        yield "a thousand requests", money(report.today[0] / month * 1000)
    if report.log and report.log.billed is not None:
        hours = figure(report.log.hours or 24.0)
        yield f"billed in the log's {hours} hours", f"${report.log.billed:,.2f}"


def _plan(report) -> str:
    """The levers in order, and a figure of what each would leave."""
    if not report.levers:
        return "<p>Nothing that is known here.</p>"
    rows = [("today", *report.today)]
    rows += [(lever.label, lever.dollars, lever.low, lever.high) for lever in report.levers]
    items = "".join(f"<li>{_lever(lever, report.budget)}</li>" for lever in report.levers)
    return f"{_bars(rows)}<ol>{items}</ol>"


def _lever(lever, budget: float | None) -> str:
    kept = " It keeps to the budget." * (budget is not None and lever.dollars <= budget)
    ends = f" ({money(lever.low)} to {money(lever.high)})" * (lever.low != lever.high)
    words = f"Risk: {lever.risk}; {lever.why}. Work of {lever.days} days, assumed, is earned back"
    return (
        f'<p><strong>{_named(lever)}</strong> <span class="saved">▼ {_dollars(lever.saved)}</span>'
        f"</p><p>Then {_dollars(lever.dollars)}{ends} a month.{kept} {escape(words)} in "
        f"{lever.payback_days:,.0f} days. See chapter {escape(lever.chapter)}.</p>"
    )


def _bars(rows: Sequence[tuple[str, float, float, float]]) -> str:
    """Bars from zero, one for each (label, dollars, low end, high end); the ends as a line."""
    most, drawn = max(high for *_, high in rows), ""
    for i, (label, dollars, low, high) in enumerate(rows):
        y, (x, left, right) = i * ROW, (value / most * WIDE for value in (dollars, low, high))
        drawn += (
            f'<text y="{y + 14}">{escape(label)}</text>'
            f'<text x="{WIDE}" y="{y + 14}" text-anchor="end">{money(dollars)}</text>'
            f'<rect class="{"then" if i else "today"}" y="{y + 20}" width="{x:.1f}" height="12"/>'
            f'<path d="M{left:.1f} {y + 26}H{right:.1f}"/>'
        )
    alt = "Dollars a month: " + "; ".join(
        f"{label} {money(dollars)}" for label, dollars, *_ in rows
    )
    return _figure(f"{rows[1][0]} leaves {money(rows[1][1])} a month", alt, drawn, len(rows) * ROW)


def _hours(counts: Sequence[int]) -> str:
    """Columns of requests in each hour, from the first on."""
    if len(counts) < 2:
        return ""
    most, step, drawn = max(counts), WIDE / len(counts), ""
    for i, each in enumerate(counts):
        tall = each / most * (HIGH - 10)
        drawn += (
            f'<rect class="{"most" if each == most else "today"}" x="{i * step:.2f}" '
            f'y="{HIGH - tall:.1f}" width="{0.8 * step:.2f}" height="{tall:.1f}"/>'
        )
    title = f"The busiest of {len(counts):,} hours brings {most:,} requests"
    return _figure(title, f"Requests an hour from 0 to {most:,}, in order of time", drawn, HIGH)


def _figure(title: str, alt: str, drawn: str, high: float) -> str:
    return (
        f'<figure><figcaption>{escape(title)}</figcaption><svg viewBox="0 0 {WIDE} {high}" '
        f'role="img" aria-label="{escape(alt)}">{drawn}</svg></figure>'
    )


def _measured(report) -> str:
    """The bill on this machine, and beside that of the 8-bit copy."""
    if report.ledger is None:
        return "<p>Nothing: a log holds no model.</p>"
    first, *others = report.ledger.bills
    table = table_html((first, *others)) if others else ""
    random = " Random tokens tell bytes and seconds, not quality." * ("random" in report.scored)
    words = f"<p>Scored on {escape(report.scored)}.{random}</p>"
    return f'{words}{first._repr_html_()}<div class="wide">{table}</div>'


def _assumed(report) -> Iterator[str]:
    """What was not measured, and where it comes from."""
    service = report.service
    for name, how in report.origin.items():
        yield f"{name.replace('_', ' ')}: {figure(getattr(service, name))} ({how})"
    yield f"model: {service.model}, before any lever in 16 bits, with every prompt read anew"
    if service.price is not None:
        yield f"{service.accelerator}: ${service.price:g} an hour (given)"
    elif catalog.prices(service.accelerator, kind="on-demand"):
        known = catalog.price(service.accelerator)
        yield (f"{service.accelerator}: ${known.median:g} an hour, the median of list prices from "
               f"${known.low:g} to ${known.high:g}, {known.oldest} to {known.newest}")  # fmt: skip
    read, _, written = api_prices(service.api)
    yield (f"{service.api}: ${read.price:g} a million tokens read, ${written.price:g} written, "
           f"{read.provider} on {read.as_of}")  # fmt: skip
    if report.ledger:
        machine = report.ledger.bills[0].machine
        yield f"this machine: ${machine.price_per_hour:.3g} an hour, {machine.price_source}"


def _made() -> str:
    """What made the page, and when."""
    loaded = [name for name in ("torch", "transformers") if name in sys.modules]
    tools = [f"{name} {sys.modules[name].__version__}" for name in loaded]
    when = datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC")
    made = [f"costlab {costlab.__version__}", f"Python {platform.python_version()}", *tools]
    return f"{', '.join(made)}; {when}."
