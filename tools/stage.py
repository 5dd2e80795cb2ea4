"""Run one stage of `make test`, or sum the stages up.

python tools/stage.py NAME COMMAND…           one line, with what it printed only where it fails
python tools/stage.py --show NAME COMMAND…    what it prints, as it comes
python tools/stage.py --start                 forget the reports of earlier runs
python tools/stage.py --sum                   the tests of all stages, as pytest's closing line
"""

import subprocess
import sys
import time
import xml.etree.ElementTree as ElementTree
from pathlib import Path

REPORTS = Path(__file__).resolve().parent.parent / "_build" / "reports"
COUNTS = ["tests", "failures", "errors", "skipped"]


def run(name: str, command: list[str], show: bool) -> int:
    """Run a command; end with one line that says how it went and how long it took."""
    start = time.monotonic()
    if show:
        print(f"{name} …", flush=True)
    pipe = {} if show else {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True}
    result = subprocess.run(command, **pipe)
    if result.returncode and not show:
        print(result.stdout, end="")
    verdict = f"FAILED (exit {result.returncode})" if result.returncode else "ok"
    print(f"{name:<24}{verdict:<20}{time.monotonic() - start:6.0f} s", flush=True)
    return result.returncode


def total() -> int:
    """Print pytest's closing line over all stages; fail where one failed or ran no test."""
    suites = {
        p.stem: ElementTree.parse(p).getroot().find("testsuite") for p in REPORTS.glob("*.xml")
    }
    empty = [name for name, suite in suites.items() if suite.get("tests") == "0"]
    if empty or not suites:
        sys.exit(f"No test ran in: {', '.join(empty) or 'any stage'}.")
    tests, *bad, skipped = (sum(int(s.get(key)) for s in suites.values()) for key in COUNTS)
    failed, seconds = sum(bad), sum(float(s.get("time")) for s in suites.values())
    parts = [f"{failed} failed"] * bool(failed) + [f"{tests - failed - skipped} passed"]
    parts += [f"{skipped} skipped"] * bool(skipped)
    print(f" {', '.join(parts)} in {seconds:.2f}s ".center(79, "="))
    return 1 if failed else 0


def main(args: list[str]) -> int:
    """Read the command line."""
    if args == ["--sum"]:
        return total()
    if args == ["--start"]:
        for report in REPORTS.glob("*.xml"):
            report.unlink()
        return 0
    show = args[0] == "--show"
    name, *command = args[show:]
    return run(name, command, show)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
