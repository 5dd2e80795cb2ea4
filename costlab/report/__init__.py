"""One page for a model or a request log: the bill, what would lower it, and what was assumed.

    >>> from costlab.report import write_report
    >>> write_report("log.csv", out="report.html").today  # doctest: +SKIP

Taught in: notebooks/21_your_model.ipynb.
"""

import json
import logging
import os
import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from costlab.advisor import Recommendation, recommend
from costlab.estimate.checks import number
from costlab.estimate.devices import resolve_accelerator
from costlab.estimate.shapes import resolve_model
from costlab.estimate.shell import parser
from costlab.levers import Lever, Service, levers
from costlab.report import page
from costlab.workload.log import Log, read_log

if TYPE_CHECKING:
    from costlab.bill import Ledger

__all__ = ["Report", "main", "write_report"]

LOGS = (".csv", ".tsv", ".txt")
ASSUMED = {"requests_per_day": 1e5, "prompt": 128, "generate": 128, "shared": 0.0, "peak": 2.5}
_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Report:
    """What a report shows of `name`, a model or a log.

    `origin` says of each of the service's five numbers whether it was given, counted or assumed.
    `today` is dollars a month with low and high end (None where it cannot be served so), `levers`
    what would lower them, `chips` the advisor's accelerators, `ledger` the model's measured bill
    beside that of its 8-bit copy, and `scored` on what text.

    Taught in: notebooks/21_your_model.ipynb.
    """

    name: str
    service: Service
    origin: dict[str, str]
    today: tuple[float, ...] | None
    levers: list[Lever]
    chips: Recommendation | None
    budget: float | None
    day_rate: float
    log: Log | None = None
    ledger: "Ledger | None" = None
    scored: str = ""


def write_report(
    source: object,
    *,
    out: str | Path = "report.html",
    requests_per_day: float | None = None,
    prompt: int | None = None,
    generate: int | None = None,
    shared: float | None = None,
    peak: float | None = None,
    model: object = None,
    accelerator: str = "h100-sxm",
    budget: float | None = None,
    day_rate: float = 800.0,
    pays: str = "rent",
    price: float | None = None,
    api: str = "gpt-4o-mini",
    slo_ttft: float | None = None,
    slo_tpot: float | None = None,
) -> Report:
    """Measure a model or count a log, ask what would lower its bill, and write one page of HTML.

    Args:
        source: a log (.csv, .tsv, .txt), "book" for the book's model, a file of its trainer, the
            folder of a transformers decoder, its name (owner/name) on a hub, or the model itself.
        out: the page; a file of that name is replaced, and only by a whole one.
        requests_per_day, prompt, generate, shared, peak: the service, as for `levers.Service`; what
            is not given is taken from the log, and else assumed (100,000, 128, 128, 0, 2.5).
        model: what a log's service is served with, a catalog id or a config.json (llama-3.1-8b).
        accelerator: a catalog id, what is rented.
        budget: dollars a month.
        day_rate: dollars that a day of work costs.
        pays, price, api, slo_ttft, slo_tpot: as for `levers.Service`.

    Returns:
        What the page shows.

    Raises:
        ValueError, TypeError: `source` cannot be read, or an argument is out of its range.
        OSError: `out` cannot be written.

    Taught in: notebooks/21_your_model.ipynb.
    """
    out = _checked(out)
    how = {"accelerator": resolve_accelerator(accelerator).id, "pays": pays, "price": price,
           "api": api, "slo_ttft": slo_ttft, "slo_tpot": slo_tpot}  # fmt: skip
    more = {"budget": budget and number("budget", budget), "day_rate": day_rate}
    given = {"requests_per_day": requests_per_day, "prompt": prompt, "generate": generate,
             "shared": shared, "peak": peak}  # fmt: skip
    text = isinstance(source, str | Path)
    name = Path(source).name if text else type(source).__name__
    if text and Path(source).suffix.lower() in LOGS:
        log = more["log"] = read_log(source)
        _LOG.info("%s: %s requests, a few seconds", name, f"{log.requests:,}")
        service, origin = _service(given, log, model=model or "llama-3.1-8b", **how)
    elif model is not None:
        raise ValueError(f"model is for a log, and the source is no .csv, .tsv or .txt: {name!r}")
    else:
        from costlab.report.measured import load, measured

        _service(given, None, **how)  # refuses absurd numbers before anything is loaded
        _LOG.info("loading %s", name)
        loaded, batches, more["scored"] = load(source)
        service, origin = _service(given, None, model=resolve_model(loaded), **how)
        more["ledger"] = measured(loaded, name, batches, service, _LOG.info)
    today, found = levers(service, day_rate=day_rate)
    report = Report(name=name, service=service, origin=origin, today=today, levers=found,
                    chips=_chips(service), **more)  # fmt: skip
    _write(page.html(report), out)
    _LOG.info("wrote %s", out)
    return report


def _checked(out: str | Path) -> Path:
    if not isinstance(out, str | Path):
        raise TypeError(f"out must be a path, such as report.html, got {out!r}")
    path = Path(out)
    if path.is_dir() or not os.access(path.parent, os.W_OK) or not path.parent.is_dir():
        why = "it is a folder" if path.is_dir() else "its folder is missing or not writable"
        raise OSError(f"out cannot be written to {path}: {why}")
    return path


def _write(text: str, path: Path) -> None:
    """Write under another name, then rename: whole or not at all."""
    part = path.with_name(path.name + ".part")
    try:
        part.write_text(text, encoding="utf-8")
        os.replace(part, path)
    except OSError as error:
        raise OSError(f"out cannot be written to {path}: {error.strerror}") from error
    finally:
        part.unlink(missing_ok=True)


def _service(given: dict, log: Log | None, **how: object) -> tuple[Service, dict[str, str]]:
    """The service, and whether each of its five numbers was given, counted or assumed."""
    counted = {name: getattr(log, name, None) for name in given}
    held, origin = {}, {}
    for source in ({"assumed": ASSUMED}, {"counted": counted}, {"given": given}):
        for word, values in source.items():
            known = {name: value for name, value in values.items() if value is not None}
            held, origin = held | known, origin | dict.fromkeys(known, word)
    return Service(**held, **how), origin


def _chips(service: Service) -> Recommendation | None:
    """The advisor's accelerators, where some are rented."""
    if service.pays != "rent":
        return None
    rate = service.requests_per_day / 86400 * service.peak
    same = {name: getattr(service, name) for name in ("prompt", "generate", "slo_ttft", "slo_tpot")}
    return recommend("compute", service.model, requests_per_s=rate, **same)


def main(argv: Sequence[str]) -> int:
    """Run `costlab report …`: progress goes to standard error, `--json` prints the figures."""
    options = parser("report", write_report, positional=("source",))
    given = {k: v for k, v in vars(options.parse_args(argv)).items() if v is not None}
    as_json, handler = given.pop("json"), logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("costlab report: %(message)s"))
    _LOG.addHandler(handler)
    _LOG.setLevel(logging.INFO)
    try:
        report = write_report(given.pop("source"), **given)
    finally:
        _LOG.removeHandler(handler)
    if as_json:
        print(json.dumps(asdict(report), indent=1, default=str))
    return 0
