"""The page of the ledger: every pair says whether it composes, the front is beaten by nobody."""

import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
from costlab_ledger import LEDGER, ledger_page  # noqa: E402


def ledger():
    found = json.loads((ROOT / LEDGER).read_text(encoding="utf-8"))
    return found, {tuple(row["on"]): row for row in found["rows"]}


def test_the_ledger_says_of_every_pair_whether_it_composes():
    found, rows = ledger()
    page = ledger_page(ROOT)
    cost = {on: row["dollars_per_megabyte"] for on, row in rows.items()}
    for pair in found["pairs"]:
        a, b = pair["steps"]
        assert pair["factor"] == pytest.approx(cost[()] / cost[a, b])
        assert pair["composes"] == pytest.approx(cost[a,] * cost[b,] / cost[()] / cost[a, b])
        assert f"| {a}, {b} | {pair['factor']:.2f} |" in page
    for single in found["singles"]:
        assert single["factor"] == pytest.approx(cost[()] / cost[single["step"],])
        assert f"| {single['step']} | {found['steps'][single['step']]} |" in page


def test_the_front_of_the_ledger_is_beaten_by_nobody():
    found, rows = ledger()
    page = ledger_page(ROOT)
    front, whole = page.split("## The front")[1].split("## Every combination")
    worth = lambda row: (row["dollars_per_megabyte"], row["bits_per_byte"])  # noqa: E731
    kept = [worth(row) for row in rows.values() if row["keeps_promise"]]
    for on, row in rows.items():
        best = row["keeps_promise"] and not any(
            d <= row["dollars_per_megabyte"] and b <= row["bits_per_byte"] and (d, b) != worth(row)
            for d, b in kept
        )
        assert row["front"] is best, on
        assert (f"| {', '.join(on) or 'competent'} |" in front) is best
        assert f"| {', '.join(on) or 'competent'} |" in whole
    assert found["origin"]["commit"]
    assert len(rows) == len(found["rows"])
