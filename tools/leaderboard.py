"""Rank the entries of the class game on this machine: cut the bill, keep the parse rate.

    python leaderboard.py entries/

Every file in the folder that `costlab.save` wrote is an entry; the file's name is the team's. It
needs costlab alone, so that the workshop kit can carry it. Rules: book/workshop/game.md.
"""

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

SHARE_KEPT = 0.9  # of what the base model wrote that parses
SAME = 0.05  # dollars closer than this share a place
LOAD = {"batch": 8, "generate": 64}


@dataclass(frozen=True)
class Result:
    """What one entry costs a month in dollars, and which share of its completions parses."""

    name: str
    dollars: float
    parses: float


def rank(base: Result, entries: Iterable[Result]) -> list[tuple[int | None, Result]]:
    """Order entries by dollars, those below the floor last and without a place.

    An entry that costs less than 5 % more than the best of a place shares that place.
    """
    floor = SHARE_KEPT * base.parses
    by_dollars = sorted(entries, key=lambda entry: (entry.dollars, entry.name))
    ranked, place, best = [], 0, 0.0
    kept = [entry for entry in by_dollars if entry.parses >= floor]
    for position, entry in enumerate(kept, 1):
        if position == 1 or entry.dollars > best * (1 + SAME):
            place, best = position, entry.dollars
        ranked.append((place, entry))
    return ranked + [(None, entry) for entry in by_dollars if entry.parses < floor]


def board(base: Result, ranked: list[tuple[int | None, Result]]) -> str:
    """The leaderboard as text."""
    lines = [f"{'':4}{'base model':24}${base.dollars:>8,.0f} a month  {base.parses:.2f} parse"]
    for place, entry in ranked:
        saved = f"{1 - entry.dollars / base.dollars:+.0%}".replace("+", "saved ")
        note = saved if place else f"below the floor of {SHARE_KEPT * base.parses:.2f}"
        money = f"${entry.dollars:>8,.0f} a month  {entry.parses:.2f} parse"
        lines.append(f"{place or '–':<4}{entry.name[:23]:24}{money}  {note}")
    return "\n".join(lines)


def load_entries(folder: Path) -> dict:
    """The models in a folder by the name of their file; a file that is none is named and left."""
    import costlab

    found = {}
    for path in sorted(path for path in folder.iterdir() if path.is_file()):
        try:
            found[path.stem] = costlab.load(path)
        except (ValueError, TypeError, OSError) as error:
            print(f"{path.name} is no entry: {error}", file=sys.stderr)
    return found


def play(folder: Path) -> str:
    """Measure the base model and all entries in turn, and return the leaderboard."""
    import costlab
    from costlab import workload

    entries = load_entries(folder)
    if not entries:
        sys.exit(
            f"There is no entry in {folder}: costlab.save(model, 'team.safetensors') makes one."
        )
    bills = costlab.compare({"": costlab.load_model(), **entries}, **LOAD)
    base, *others = [
        Result(bill.name, workload.month(bill, "average").dollars_per_month, bill.parses or 0.0)
        for bill in bills
    ]
    return board(base, rank(base, others))


if __name__ == "__main__":
    if len(sys.argv) != 2 or not Path(sys.argv[1]).is_dir():
        sys.exit(f"Name the folder of entries, got {' '.join(sys.argv[1:]) or 'nothing'}.")
    print(play(Path(sys.argv[1])))
