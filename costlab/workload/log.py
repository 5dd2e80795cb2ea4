"""A request log: a file with a line for each request, and the five numbers that a bill needs.

Names of columns are those of `log_columns.json`, which the page "Your bill" reads too: as services
write them, or as FOCUS does (`ChargePeriodStart`, `x_InputTokens`, `x_OutputTokens`, `BilledCost`).
Taught in: notebooks/21_your_model.ipynb.
"""

import csv
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.resources import files
from pathlib import Path

MOST_TOKENS, MOST_HOURS = 10_000_000, 24 * 366  # of a request; that are counted one by one
HOUR = 3600
COLUMNS = json.loads(files(__package__).joinpath("log_columns.json").read_text(encoding="utf-8"))
_FOCUS = {"billed": ["billedcost"], "category": ["chargecategory"]}  # of a charge, not of a request
_NEEDED = {
    "prompt": "read, such as prompt_tokens",
    "generate": "written, such as output_tokens",
}


@dataclass(frozen=True)
class Log:
    """What a log says of a service; None where it does not say.

    `prompt` and `generate` are mean tokens of a request, `shared` the share of tokens read that a
    cache held, `billed` the dollars that the lines add up to, `by_hour` the requests of each hour
    from the first request on, `peak` the busiest of these hours over the mean one (where two hours
    or more are covered). Without usable times the log is taken as one day.

    Taught in: notebooks/21_your_model.ipynb.
    """

    requests: int
    prompt: int
    generate: int
    shared: float | None
    billed: float | None
    requests_per_day: float
    hours: float | None = None
    peak: float | None = None
    by_hour: tuple[int, ...] = ()


def read_log(path: str | Path) -> Log:
    """Count a log of requests: CSV with commas, semicolons or tabs, and a line of column names.

    Args:
        path: of the file. It needs a column of tokens read, such as `prompt_tokens`, and one of
            tokens written, such as `output_tokens`. A `timestamp` (seconds, or a date), a column
            `cached_tokens` and FOCUS's `BilledCost` are used where they are there; other columns
            are ignored, and so are lines whose FOCUS `ChargeCategory` is not `Usage`.

    Raises:
        ValueError: it cannot be read, is empty, lacks a column, or a cell is no such number.

    Taught in: notebooks/21_your_model.ipynb.
    """
    try:
        with Path(path).open(encoding="utf-8-sig", errors="replace", newline="") as file:
            rows = list(_rows(file, str(path)))
    except (OSError, csv.Error) as error:
        raise ValueError(f"log {path} cannot be read ({error})") from None
    if not rows:
        raise ValueError(f"log {path} holds no request: add a line for each")
    total = {what: sum(row[what] for row in rows) for what in rows[0]}
    mean = [max(1, math.floor(total[what] / len(rows) + 0.5)) for what in _NEEDED]
    shared = total["cached"] / total["prompt"] if "cached" in total else None
    times = [row["time"] for row in rows if "time" in row]
    return Log(len(rows), *mean, shared, total.get("billed"), *_spread(times, len(rows)))


def _rows(file: Iterator[str], path: str) -> Iterator[dict[str, float]]:
    """The numbers of every line, by the names of `COLUMNS`."""
    head = next((line for line in file if line.strip()), "")
    if not head:
        raise ValueError(f"log {path} is empty: it needs column names and a line for each request")
    sign = next((one for one in "\t;," if one in head), ",")
    names = [
        re.sub("[^a-z]", "", cell.lower()) for cell in next(csv.reader([head], delimiter=sign))
    ]
    at = {what: next((i for i, name in enumerate(names) if name in known), None)
          for what, known in (COLUMNS | _FOCUS).items()}  # fmt: skip
    for what, words in _NEEDED.items():
        if at[what] is None:
            raise ValueError(f"log {path} must name a column of tokens {words} in its first line")
    lines = csv.reader(file, delimiter=sign)
    for cells in lines:
        held = {
            what: (cells[i : i + 1] or [""])[0].strip() for what, i in at.items() if i is not None
        }
        if any(held.values()) and held.pop("category", "Usage") == "Usage":
            where = f"line {lines.line_num + 1} of log {path}"
            row = {w: _number(w, text, names[at[w]], where) for w, text in held.items()}
            yield row | {"cached": min(row["cached"], row["prompt"])} if "cached" in row else row


def _number(what: str, text: str, column: str, where: str) -> float:
    if what == "time":
        return _moment(text, column, where)
    least = {"prompt": 1, "generate": 0, "cached": 0, "billed": -MOST_TOKENS}[what]
    try:
        empty = not text and what in ("cached", "billed")
        value = 0.0 if empty else float(re.sub(r"[,_](?=\d)", "", text))
    except ValueError:
        value = math.nan
    if not least <= value <= MOST_TOKENS:
        span = f"a number from {least:,} to {MOST_TOKENS:,}"
        raise ValueError(f"{where}: {column} must be {span}, got {text[:30]!r}")
    return value


def _moment(text: str, column: str, where: str) -> float:
    """Seconds, from a number of seconds or milliseconds or a date."""
    if re.fullmatch(r"\d{1,15}(\.\d+)?", text):
        milliseconds = column.endswith("milliseconds") or float(text) > 1e11
        return float(text) * (0.001 if milliseconds else 1.0)
    try:
        date = datetime.fromisoformat(text.replace("Z", "+00:00"))
    except ValueError:
        raise ValueError(
            f"{where}: {column} must be a number of seconds or a date, got {text[:30]!r}"
        ) from None
    return (date if date.tzinfo else date.replace(tzinfo=timezone.utc)).timestamp()


def _spread(times: list[float], requests: int) -> tuple:
    """Requests a day, hours covered, the busiest hour over the mean one, and requests by hour."""
    first = min(times, default=0.0)
    hours = (max(times, default=0.0) - first) / HOUR
    if not hours > 0:
        return (float(requests),)
    counts = Counter(int((time - first) // HOUR) for time in times)
    by_hour = tuple(counts[hour] for hour in range(min(max(counts) + 1, MOST_HOURS)))
    peak = max(1.0, max(counts.values()) / (requests / hours)) if hours >= 2 else None
    return requests / hours * 24, hours, peak, by_hour
