"""Record how long each chapter takes to run from top to bottom, for the page on the book's status.

python experiments/chapters.py                      check all notebooks, a quarter of an hour
python experiments/chapters.py _build/reports       read the reports of a check already made
"""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from costlab import results

ROOT = Path(__file__).resolve().parent.parent
CHAPTERS = sorted(path.stem for path in (ROOT / "notebooks").glob("*.ipynb"))


def seconds(reports: Path, chapters: list[str]) -> dict[str, float]:
    """Seconds that each chapter took, from pytest's report of its check; all must have passed."""
    found = {}
    for name in chapters:
        suite = ElementTree.parse(reports / f"notebook-{name}.xml").getroot().find("testsuite")
        if int(suite.get("failures")) + int(suite.get("errors")):
            raise ValueError(f"{name} failed its check in {reports}: mend it before it is timed.")
        found[name] = round(float(suite.get("time")), 1)
    return found


def main() -> None:
    """Check the notebooks, unless told where they were, and write the record."""
    reports = Path(sys.argv[1]) if sys.argv[1:] else ROOT / "_build" / "reports"
    if not sys.argv[1:]:
        subprocess.run([sys.executable, ROOT / "tools" / "notebooks.py", "--check"], check=True)
    found = seconds(reports, CHAPTERS)
    machine = sum(found.values()) / os.cpu_count()  # as many run at once as there are cores
    print(results.record("chapters", {"chapters": found}, seconds=machine))


if __name__ == "__main__":
    main()
