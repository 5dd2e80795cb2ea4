"""The page of the ledger, written at build time from `costlab/results/whole_bill.json`."""

from __future__ import annotations

import json
from pathlib import Path

LEDGER = Path("costlab") / "results" / "whole_bill.json"
BASELINES = "| service | dollars a megabyte |\n|---|--:|"
SINGLES = (
    "| step | what it is | factor | promise | bits per byte | flips |\n|---|---|--:|---|--:|--:|"
)
PAIRS = "| steps | together | product | they give |\n|---|--:|--:|---|"
COMBINED = (
    "| steps | dollars a megabyte | at once | promise | bits per byte | flips | parse |\n"
    "|---|--:|--:|---|--:|--:|--:|"
)


def ledger_page(root: Path, _: str = "") -> str:
    """Every step, every pair of steps, the front, and all combinations, as recorded."""
    found = json.loads((root / LEDGER).read_text(encoding="utf-8"))
    origin, seeds = found["origin"], ", ".join(map(str, found["setup"]["seeds"]))
    where = f"Recorded on {origin['recorded']}, {origin['machine']}, commit {origin['commit']}"
    base = [f"| {name} | {dollars:.3f} |" for name, dollars in found["baselines"].items()]
    singles = [_single_row(single, found["steps"]) for single in found["singles"]]
    rows = sorted(found["rows"], key=lambda row: row["dollars_per_megabyte"])
    parts = [
        f"{where}; completions drawn from seeds {seeds}.",
        ("What it is compared with", BASELINES, base),
        ("Each step alone", SINGLES, singles),
        ("Each pair", PAIRS, map(_pair_row, found["pairs"])),
        ("The front", COMBINED, [_combined_row(row) for row in rows if row["front"]]),
        ("Every combination", COMBINED, map(_combined_row, rows)),
    ]
    head, *tables = parts
    return "\n".join([head, *(f"\n## {name}\n\n{top}\n" + "\n".join(body)
                              for name, top, body in tables)])  # fmt: skip


def _promise(row: dict) -> str:
    return "kept" if row["keeps_promise"] else "broken"


def _single_row(single: dict, steps: dict[str, str]) -> str:
    lost = f"{single['lost_bits_per_byte']:+.4f} | {single['flips']:.1%}"
    what = f"{single['step']} | {steps[single['step']]}"
    return f"| {what} | {single['factor']:.2f} | {_promise(single)} | {lost} |"


def _pair_row(pair: dict) -> str:
    more = pair["composes"]
    words = "more than" if more > 1.05 else "less than" if more < 0.95 else "about"
    figures = f"{pair['factor']:.2f} | {pair['product']:.2f}"
    return f"| {', '.join(pair['steps'])} | {figures} | {words} their product |"


def _combined_row(row: dict) -> str:
    parsed = row["parses"] or []
    share = f"{sum(parsed) / len(parsed):.0%}" if parsed else ""
    price = f"{row['dollars_per_megabyte']:.3f} | {row['places']} | {_promise(row)}"
    quality = f"{row['bits_per_byte']:.3f} | {row['flips']:.1%} | {share}"
    return f"| {', '.join(row['on']) or 'competent'} | {price} | {quality} |"
