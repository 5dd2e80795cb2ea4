"""Make the editions of the notebooks for a class, from the one source.

    .venv/bin/python tools/editions.py student       stubs, no solutions, no outputs
    .venv/bin/python tools/editions.py instructor    solutions open and run, notes, minutes

They lie in _build/editions/. A chapter's teaching notes are its section of book/workshop/notes.md.
"""

import contextlib
import copy
import io
import re
import shutil
import sys
from pathlib import Path
from xml.etree import ElementTree

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))
import notebooks

ROOT = notebooks.ROOT
EDITIONS = ROOT / "_build" / "editions"
NOTES = ROOT / "book" / "workshop" / "notes.md"
SOLUTION = re.compile(r"<!-- solution: (\S+) -->\n.*?<!-- end of solution -->\n*", re.S)
ANSWER = re.compile(r"<details>.*?</details>\n*", re.S)  # of a worked problem
CHECK = re.compile(r'check\("([a-z_]+\.\d+)"')
STUB = re.compile(r"^def \w+\((?:(?!^def ).)*?^    return \.\.\.[^\n]*\n+", re.M | re.S)
WORDS_PER_MINUTE = 180  # aloud or silently, with an eye on the formulas
LINES_PER_MINUTE = 12  # of code, the first time one sees it
MINUTES_PER_EXERCISE = 5


def student(nb: nbformat.NotebookNode) -> nbformat.NotebookNode:
    """The notebook with its stubs, without solutions, answers and outputs."""
    nb = copy.deepcopy(nb)
    for cell in nb.cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
        else:
            cell.source = ANSWER.sub("", SOLUTION.sub("", cell.source)).strip()
    nb.cells = [cell for cell in nb.cells if cell.source]
    notebooks.normalize(nb)
    return nb


def instructor(nb: nbformat.NotebookNode, notes: str, seconds: float | None = None):
    """The notebook with solutions open and in their cells, teaching notes and minutes."""
    nb = copy.deepcopy(nb)
    minutes = section_minutes(nb)
    for number, cell in enumerate(nb.cells):
        if cell.cell_type == "markdown":
            cell.source = cell.source.replace("<details>", "<details open>")
            if number in minutes:
                cell.source = with_minutes(cell.source, minutes[number])
        elif name := exercise_of(cell):
            solve(cell, name)
    computing = f" Computing took {seconds:.0f} s when it was last checked." if seconds else ""
    total = f"**About {sum(minutes.values())} minutes with all exercises.**{computing}"
    note = nbformat.v4.new_markdown_cell(f"> **For the instructor.** {total}\n\n{notes}".strip())
    nb.cells.insert(1, note)
    notebooks.normalize(nb)
    return nb


def exercise_of(cell: nbformat.NotebookNode) -> str | None:
    """The exercise that a code cell checks, where its answer is still a stub."""
    found = CHECK.search(cell.source) if cell.cell_type == "code" else None
    return found[1] if found and "return ..." in cell.source else None


def solve(cell: nbformat.NotebookNode, name: str) -> None:
    """Put an exercise's solution into its cell, and the check's verdict on it below."""
    from costlab.exercises import check
    from costlab.exercises.checking import load_solution, solution_markdown

    code = solution_markdown(name).split("```python\n")[1].split("\n```")[0]
    cell.source = STUB.sub(lambda _: code + "\n\n\n", cell.source, count=1)
    with contextlib.redirect_stdout(io.StringIO()) as said:
        check(name, load_solution(name).answer)
    cell.outputs = [nbformat.v4.new_output("stream", name="stdout", text=said.getvalue())]


def section_minutes(nb: nbformat.NotebookNode) -> dict[int, int]:
    """Index of each cell that opens a section -> minutes to read it, run it and solve it."""
    found, current = {}, 0
    for number, cell in enumerate(nb.cells):
        source = SOLUTION.sub("", cell.source)
        if cell.cell_type == "markdown":
            if number == 0 or re.search(r"^## ", source, re.M):
                current = number
            spent = len(source.split()) / WORDS_PER_MINUTE
        else:
            spent = len(source.splitlines()) / LINES_PER_MINUTE * ("notebook.begin(" not in source)
            spent += MINUTES_PER_EXERCISE * bool(exercise_of(cell))
        found[current] = found.get(current, 0) + spent
    return {number: max(1, round(minutes)) for number, minutes in found.items()}


def with_minutes(source: str, minutes: int) -> str:
    """A cell with the minutes of what begins in it, under its first heading."""
    return re.sub(
        r"^(#{1,2} .*)$", rf"\1\n\n*About {minutes} minutes.*", source, count=1, flags=re.M
    )


def teaching_notes(name: str) -> str:
    """The section of the teaching notes for one notebook, without its heading; empty if none."""
    text = NOTES.read_text(encoding="utf-8") if NOTES.exists() else ""
    found = re.search(rf"^\({re.escape(name)}\)=\n## [^\n]*\n(.*?)(?=^\(|\Z)", text, re.M | re.S)
    return found[1].strip() if found else ""


def checked_seconds(name: str) -> float | None:
    """Seconds that a notebook took when it was last checked here, if it was."""
    report = notebooks.REPORTS / f"notebook-{name}.xml"
    if not report.exists():
        return None
    return float(ElementTree.parse(report).getroot().find("testsuite").get("time"))


def make(edition: str, target: Path) -> list[Path]:
    """Write one edition of every notebook into an emptied folder."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    written = []
    for path in notebooks.find([], notebooks.FOLDER):
        nb = nbformat.read(path, as_version=4)
        if edition == "student":
            made = student(nb)
        else:
            made = instructor(nb, teaching_notes(path.stem), checked_seconds(path.stem))
        notebooks.save(made, target / path.name)
        written.append(target / path.name)
    return written


def main() -> None:
    """Make the edition asked for."""
    if len(sys.argv) != 2 or sys.argv[1] not in ("student", "instructor"):
        sys.exit(f"Say which edition: student or instructor, got {sys.argv[1:] or 'nothing'}.")
    made = make(sys.argv[1], EDITIONS / sys.argv[1])
    print(f"{len(made)} notebooks in {EDITIONS.relative_to(ROOT) / sys.argv[1]}/")


if __name__ == "__main__":
    main()
