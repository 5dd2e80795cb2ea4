"""Generate, execute and check the notebooks.

    .venv/bin/python tools/notebooks.py --stamp      write first cells, Colab links, exercises anew
    .venv/bin/python tools/notebooks.py --execute    stamp, run from top to bottom, save the outputs
    .venv/bin/python tools/notebooks.py --rules      name every breach of the house rules
    .venv/bin/python tools/notebooks.py --check      nbval, strict, in the environment of the wheel

Names of notebooks (01_the_bill …) after it narrow it to these.
"""

import argparse
import copy
import difflib
import hashlib
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from xml.etree import ElementTree

import nbformat

sys.path.insert(0, str(Path(__file__).resolve().parent))
import answers
import repo

ROOT = Path(__file__).resolve().parent.parent
FOLDER = ROOT / "notebooks"
OUTPUTS = ROOT / "_build" / "run-outputs"
REPORTS = ROOT / "_build" / "reports"
SANITIZE = ROOT / "tests" / "nbval_sanitize.cfg"
COLAB = "https://colab.research.google.com/github"
LINK = re.compile(rf"{re.escape(COLAB)}/[^\s)\"]+")
BLOCK = re.compile(r"<!-- (question|solution): (\S+) -->\n.*?<!-- end of \1 -->", re.S)
LANGUAGE = {"name": "python", "pygments_lexer": "ipython3"}
KERNEL = {"display_name": "Python 3", "language": "python", "name": "python3"}
VOLATILE = {"execution", "ExecuteTime", "collapsed", "colab", "id", "outputId", "trusted"}
NOISY = re.compile(r"claim does not hold: [^]]*\(noise ")
LIMIT_S = 600  # a cell that runs longer hangs; the budget of a whole notebook is 90 s


def first_cell(url: str) -> str:
    """The source of the first code cell, for the repository at `url`."""
    template = (ROOT / "tools" / "first_cell.py").read_text(encoding="utf-8")
    return template.replace("REPOSITORY", url).strip()


def colab_link(name: str, url: str) -> str:
    """The address that opens notebook `name` in Colab."""
    owner, repository = repo.owner_and_name(url)
    return f"{COLAB}/{owner}/{repository}/blob/main/notebooks/{name}.ipynb"


def with_exercises(text: str) -> str:
    """Fill the `<!-- question: NAME -->` and `<!-- solution: NAME -->` blocks of a cell."""
    from costlab.exercises import names
    from costlab.exercises.checking import question, solution_markdown

    def fill(match: re.Match) -> str:
        kind, name = match.groups()
        if name not in names():
            sys.exit(f"No exercise {name!r} in costlab/exercises/solutions; a marker names it.")
        content = {"question": question, "solution": solution_markdown}[kind](name)
        return f"<!-- {kind}: {name} -->\n\n{content}\n\n<!-- end of {kind} -->"

    return BLOCK.sub(fill, text)


def stamp(nb: nbformat.NotebookNode, name: str, url: str) -> None:
    """Write what is generated: the first cell, the Colab link, exercises, answers of problems."""
    if not nb.cells or nb.cells[0].cell_type != "markdown":
        sys.exit(f"{name} must open with a markdown cell that holds its title.")
    title, link = nb.cells[0], colab_link(name, url)
    if LINK.search(title.source):
        title.source = LINK.sub(link, title.source)
    else:
        title.source += f"\n\n[Open in Colab]({link})"
    if len(nb.cells) < 2 or "notebook.begin(" not in nb.cells[1].source:
        nb.cells.insert(1, nbformat.v4.new_code_cell())
    nb.cells[1].source = first_cell(url)
    nb.cells[1].metadata["tags"] = ["hide-input"]
    for cell in nb.cells:
        if cell.cell_type == "markdown":
            cell.source = answers.with_answers(with_exercises(cell.source))


def normalize(nb: nbformat.NotebookNode) -> None:
    """Leave in the file only what a reader or the book uses, the same on every machine."""
    kept = {"myst": nb.metadata["myst"]} if "myst" in nb.metadata else {}  # the page's description
    nb.metadata = nbformat.from_dict({"kernelspec": KERNEL, "language_info": LANGUAGE} | kept)
    nb.nbformat, nb.nbformat_minor = 4, 5
    seen: set[str] = set()
    for cell in nb.cells:
        for key in VOLATILE & set(cell.metadata):
            del cell.metadata[key]
        text = f"{cell.cell_type}\n{cell.source}"
        while (name := hashlib.sha256(text.encode()).hexdigest()[:8]) in seen:
            text += "\n"  # the same cell twice: the second gets another id
        seen.add(name)
        cell.id = name


def save(nb: nbformat.NotebookNode, path: Path) -> None:
    """Write a notebook whole or not at all."""
    nbformat.validate(nb)
    draft = path.with_name(path.name + ".tmp")
    draft.write_text(nbformat.writes(nb) + "\n", encoding="utf-8", newline="\n")
    os.replace(draft, path)


def stamp_file(path: Path) -> None:
    """Stamp one notebook; the file is touched only where that changes it."""
    nb = nbformat.read(path, as_version=4)
    before = copy.deepcopy(nb)
    stamp(nb, path.stem, repo.address())
    normalize(nb)
    if nb != before:
        save(nb, path)


def execute(path: Path) -> bool:
    """Stamp and run one notebook in an empty folder; on failure its file stays as it was."""
    from nbclient import NotebookClient
    from nbclient.exceptions import CellExecutionError

    nb = nbformat.read(path, as_version=4)
    stamp(nb, path.stem, repo.address())
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        client = NotebookClient(
            nb,
            timeout=LIMIT_S,
            kernel_name="python3",
            record_timing=False,
            store_widget_state=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        try:
            client.execute(env={"OMP_NUM_THREADS": "1", **os.environ, "TQDM_DISABLE": "1"})
        except (CellExecutionError, RuntimeError, TimeoutError) as error:
            print(f"{path.name}: {error}\n{path.name} is left as it was.", file=sys.stderr)
            return False
    normalize(nb)
    save(nb, path)
    print(f"{path.name:<32}{time.monotonic() - start:6.0f} s", flush=True)
    return True


def check(paths: list[Path], python: Path, lax: bool, workers: int) -> bool:
    """Run notebooks under nbval, `workers` at once, each on one thread.

    A claim with `noise` is about one draw of a timing on a machine that others use: where such
    claims alone have failed, the notebook runs once more, by itself. Anything else fails at once.
    """
    with ThreadPoolExecutor(workers) as pool:
        passed = dict(
            zip(paths, pool.map(lambda p: check_once(p, python, lax), paths), strict=True)
        )
    for path in [path for path in paths if not passed[path] and only_noisy_claims(report_of(path))]:
        print(f"{path.name}: claims on noisy figures alone did not hold; once more", flush=True)
        passed[path] = check_once(path, python, lax)
    return all(passed.values())


def report_of(path: Path) -> Path:
    """Where nbval's report on a notebook is written."""
    return (REPORTS if path.parent == FOLDER else run_outputs()) / f"notebook-{path.stem}.xml"


def only_noisy_claims(report: Path) -> bool:
    """Whether all failures in a report of nbval are claims that state their noise."""
    if not report.exists():
        return False
    cases = ElementTree.parse(report).iter("testcase")
    failed = [
        part.text or "" for case in cases for part in case if part.tag in ("failure", "error")
    ]
    return bool(failed) and all(NOISY.search(text) for text in failed)


def check_once(path: Path, python: Path, lax: bool) -> bool:
    """Run one notebook under nbval in its own empty folder, with the given interpreter."""
    (run_outputs() / path.name).unlink(missing_ok=True)
    report_of(path).unlink(missing_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pytest.ini").write_text("[pytest]\n")
        shutil.copy(ROOT / "tools" / "keep_outputs.py", place / "conftest.py")
        (place / "run").mkdir()
        shutil.copy(path, place / "run")
        command = [str(python), "-m", "pytest", "-q", "--tb=short", "-p", "no:cacheprovider"]
        command += ["--nbval-lax" if lax else "--nbval", "--nbval-current-env"]
        command += [f"--nbval-cell-timeout={LIMIT_S}", f"--nbval-sanitize-with={SANITIZE}"]
        command += [f"--junitxml={report_of(path)}", f"run/{path.name}"]
        keep = [key for key in os.environ if not key.startswith(("PYTHONPATH", "PYTEST_"))]
        environment = {key: os.environ[key] for key in keep}
        environment |= {"TQDM_DISABLE": "1", "COSTLAB_RUN_OUTPUTS": str(run_outputs())}
        environment.setdefault("OMP_NUM_THREADS", "1")  # as the outputs were made
        found = subprocess.run(
            command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        print(f"{path.name}\n{found.stdout.decode(errors='replace')}", end="", flush=True)
        return found.returncode == 0


def run_outputs() -> Path:
    """Where the outputs of a checked run are kept: COSTLAB_RUN_OUTPUTS, or under _build."""
    return Path(os.environ.get("COSTLAB_RUN_OUTPUTS", OUTPUTS)).resolve()


def check_digits(paths: list[Path]) -> bool:
    """Alter digits in the stored outputs: nbval's comparison with the run just made must fail."""
    names = " or ".join(path.stem for path in paths)
    command = [sys.executable, "-m", "pytest", "tests/test_notebooks.py", "-p", "no:cacheprovider"]
    command += ["-k", f"stored_digits and ({names})"]
    command += [f"--junitxml={REPORTS / 'notebook-digits.xml'}"]
    environment = {**os.environ, "COSTLAB_RUN_OUTPUTS": str(run_outputs())}
    return subprocess.run(command, cwd=ROOT, env=environment).returncode == 0


def broken_rules(path: Path) -> list[str]:
    """Every breach of the house rules in one notebook, as sentences."""
    from notebook_rules import problems

    nb = nbformat.read(path, as_version=4)
    url = repo.address()
    expected = (first_cell(url), colab_link(path.stem, url))
    return [f"{path.name}: {problem}" for problem in problems(nb, path.stem, *expected)]


def find(names: list[str], folder: Path) -> list[Path]:
    """The notebooks of these names, or all; a wrong name gets the nearest ones."""
    known = {path.stem: path for path in sorted(folder.glob("*.ipynb"))}
    wanted = [Path(name).stem for name in names] or list(known)
    for name in wanted:
        if name not in known:
            near = ", ".join(difflib.get_close_matches(name, known, n=3, cutoff=0.3) or known)
            sys.exit(f"There is no notebook {name!r} in {folder.name}/; the nearest: {near}.")
    if not wanted:
        sys.exit(f"There is no notebook in {folder.name}/.")
    return [known[name] for name in wanted]


def wheel_python() -> Path:
    """The interpreter of the environment that holds the wheel."""
    path = ROOT / ".venv-wheel" / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not path.exists():
        sys.exit("There is no .venv-wheel yet: run `make wheel`, or name a --python.")
    return path


def cores() -> int:
    """How many cores this process may use, at most 4."""
    usable = getattr(os, "sched_getaffinity", None)  # not on macOS and Windows
    return min(4, len(usable(0)) if usable else os.cpu_count() or 1)


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    action = parser.add_mutually_exclusive_group(required=True)
    for name in ("stamp", "execute", "rules", "check"):
        action.add_argument(f"--{name}", action="store_true")
    parser.add_argument("names", nargs="*", help="notebooks, such as 01_the_bill; all unless told")
    parser.add_argument("--python", type=Path, help="interpreter for --check; the wheel's")
    parser.add_argument("--lax", action="store_true", help="--check runs, but compares nothing")
    parser.add_argument("--workers", type=int, default=cores(), help="notebooks checked at once")
    parser.add_argument("--folder", type=Path, default=FOLDER, help="where the notebooks lie")
    return parser.parse_args()


def main() -> None:
    """Do the one thing asked; exit 1 where a notebook failed."""
    options = arguments()
    paths = find(options.names, options.folder)
    if options.rules:
        breaches = [line for path in paths for line in broken_rules(path)]
        print("\n".join(breaches) or f"{len(paths)} notebooks keep the rules.")
        sys.exit(bool(breaches))
    if options.check:
        # not .resolve(): a virtual environment's interpreter is a link that must stay one
        python = Path(os.path.abspath(options.python)) if options.python else wheel_python()
        passed = check(paths, python, options.lax, options.workers)
        if passed and not options.lax and options.folder == FOLDER:
            passed = check_digits(paths)
        sys.exit(not passed)
    if importlib.util.find_spec("costlab") is None:
        sys.exit("costlab is not installed in this environment: run `make install` first.")
    if options.stamp:
        for path in paths:
            stamp_file(path)
    else:
        done = [execute(path) for path in paths]
        if options.folder == FOLDER:
            import picture

            picture.draw()
        sys.exit(not all(done))


if __name__ == "__main__":
    main()
