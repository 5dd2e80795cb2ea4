"""Pages written at build time from what is committed: claims, reference, status, ledger, paths.

A page of `book/` holds a comment such as ``<!-- generate: claims -->``; when Sphinx reads the page,
the comment becomes markdown. A link to a notebook that is not in `_toc.yml` becomes plain words,
so that a page may name a chapter before it is in the book.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from costlab_ledger import ledger_page

HOLDS = re.compile(r"claim holds \((exact|measured|recorded)\): (.*)")
FIGURES = re.compile(r"(?:\[measured\]|  ?) ?(\S+ (?:<|<=|>|>=|==) \S+(?: \(noise \S+\))?)$")
GENERATE = re.compile(r"<!-- generate: (\w+)(?: ([^>]*?))? -->")
LINK = re.compile(r"\[([^\]]+)\]\((?:\.\./)?(notebooks/\w+\.ipynb)(#[\w-]+)?\)")
MINUTES = re.compile(r"Reading takes about ([\w-]+) minutes")
TENS = ("", "ten", "twenty", "thirty", "forty", "fifty")
NUMBERS = {word: 10 * n for n, word in enumerate(TENS) if word} | {"fifteen": 15, "five": 5}
NUMBERS |= {f"{word}-five": 10 * n + 5 for n, word in enumerate(TENS) if n > 1}
WORDS = 180  # read in a minute, where a page does not say how long it takes
TAUGHT = re.compile(r"[Tt]aught in[:\s]+notebooks?[/ ](\d\d)")
HIDDEN = ("exercises", "cli", "notebook", "hardware")  # not for import by readers


def chapters(root: Path) -> list[str]:
    """The notebooks of the book in reading order, such as '01_the_bill'."""
    return re.findall(r"file: notebooks/(\w+)", (root / "_toc.yml").read_text(encoding="utf-8"))


def cells(root: Path, name: str) -> list[dict]:
    """The cells of a committed notebook."""
    path = root / "notebooks" / f"{name}.ipynb"
    return json.loads(path.read_text(encoding="utf-8"))["cells"]


def title(root: Path, name: str) -> str:
    """The title of a notebook."""
    return "".join(cells(root, name)[0]["source"]).split("\n")[0].lstrip("# ")


# --- claims


def claims(root: Path, name: str) -> Iterator[tuple[str, str, str, str]]:
    """Kind, sentence, figures and section of every claim among the outputs of a notebook."""
    section = ""
    for cell in cells(root, name):
        text = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            section = ([section, *re.findall(r"^#{2,3} (.+)$", text, re.M)])[-1]
            continue
        for output in cell.get("outputs", []):
            for kind, sentence, figures in printed("".join(output.get("text", []))):
                yield kind, sentence, figures, section


def printed(text: str) -> Iterator[tuple[str, str, str]]:
    """Kind, sentence and figures of the claims in what a cell printed."""
    found = None
    for line in text.splitlines():
        if match := HOLDS.match(line):
            found = [match[1], match[2]]
        elif found and (match := FIGURES.match(line)):
            yield found[0], found[1], match[1]
            found = None
        elif found:
            found[1] += " " + line.strip()


def claims_page(root: Path, _: str = "") -> str:
    """A table for each chapter."""
    parts, kinds = [], {"exact": 0, "measured": 0, "recorded": 0}
    for name in chapters(root):
        rows = list(claims(root, name))
        for row in rows:
            kinds[row[0]] += 1
        if rows:
            parts += [f"## {title(root, name)}", "", "| claim | figures | kind |", "|---|---|---|"]
            parts += [_claim_row(name, *row) for row in rows] + [""]
    counted = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    return "\n".join([f"{sum(kinds.values())} claims: {counted}.", "", *parts])


def _claim_row(name: str, kind: str, sentence: str, figures: str, section: str) -> str:
    anchor = f"#{slug(section)}" if section else ""
    return f"| [{plain(sentence)}](../notebooks/{name}.ipynb{anchor}) | `{figures}` | {kind} |"


def plain(text: str) -> str:
    """Text in which no character means anything to markdown."""
    return re.sub(r"([$*_<>\[\]|~])", r"\\\1", text)


def slug(heading: str) -> str:
    """The anchor that MyST gives a heading, as on GitHub."""
    plain = re.sub(r"[*`$\\]", "", heading).strip().lower()
    return re.sub(r"[^\w\- ]", "", plain).replace(" ", "-")


# --- reference


def api_page(root: Path, _: str = "") -> str:
    """What readers import, with its documentation; then every public name, part by part."""
    package = root / "costlab"
    home = _home(package)
    parts = ["## What you type", ""]
    for name, module in home.items():
        node = next(n for n in _public(_source(package, module)) if n.name == name)
        parts += [f"### costlab.{name}", "", f"```python\n{signature(node, name)}\n```", ""]
        parts += ["```text", ast.get_docstring(node), "```", "", taught(root, node), ""]
    parts += ["## Part by part", ""]
    for part in sorted({p.relative_to(package).parts[0].removesuffix(".py")
                        for p in package.rglob("*.py")} - {*HIDDEN, "__init__"}):  # fmt: skip
        rows = list(_rows(root, package, part))
        if rows:
            parts += [f"### costlab.{part}", "", "| name | what | taught |", "|---|---|---|"]
            parts += [*rows, ""]
    return "\n".join(parts)


def _home(package: Path) -> dict[str, str]:
    """The names that `costlab` itself offers, and the modules they live in."""
    tree = ast.parse((package / "__init__.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "_HOME":
            return ast.literal_eval(node.value)
    raise ValueError("costlab/__init__.py must hold _HOME, which says where its names live.")


def _source(package: Path, module: str) -> Path:
    path = package.joinpath(*module.split(".")[1:])
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def _public(path: Path) -> list[ast.FunctionDef | ast.ClassDef]:
    tree = ast.parse(path.read_text(encoding="utf-8"))
    kinds = (ast.FunctionDef, ast.ClassDef)
    return [n for n in tree.body if isinstance(n, kinds) and n.name[0] != "_"]


def _rows(root: Path, package: Path, part: str) -> Iterator[str]:
    folder = package / part
    paths = sorted(folder.rglob("*.py")) if folder.is_dir() else [folder.with_suffix(".py")]
    for path in paths:
        for node in _public(path):
            first = (ast.get_docstring(node) or "").split("\n\n")[0].replace("\n", " ")
            first = plain(first.replace("`", ""))
            module = path.relative_to(package).with_suffix("").as_posix().replace("/", ".")
            name = f"{module.removesuffix('.__init__')}.{node.name}"
            yield f"| `{name}` | {first} | {taught(root, node)} |"


def signature(node: ast.FunctionDef | ast.ClassDef, name: str) -> str:
    """`name(arguments) -> result` of a function; of a class its name alone."""
    if isinstance(node, ast.ClassDef):
        return f"class {name}"
    result = f" -> {ast.unparse(node.returns)}" if node.returns else ""
    return f"{name}({ast.unparse(node.args)}){result}"


def taught(root: Path, node: ast.AST) -> str:
    """A link to the page that a docstring says it is taught in; empty where it names none."""
    found = TAUGHT.search(ast.get_docstring(node) or "")
    names = [n for n in chapters(root) if found and n.startswith(found[1])]
    return f"[{title(root, names[0])}](../notebooks/{names[0]}.ipynb)" if names else ""


# --- status, paths


def status_page(root: Path, _: str = "") -> str:
    """Recorded runs with their cost, how long chapters run, versions the outputs were made with."""
    from costlab import catalog

    parts = ["| recorded run | date | minutes | dollars | machine |", "|---|---|--:|--:|---|"]
    total = 0.0
    for path in sorted((root / "costlab" / "results").glob("*.json")):
        origin = json.loads(path.read_text(encoding="utf-8")).get("origin")
        if origin is None:
            continue
        dollars = origin["seconds"] / 3600 * catalog.reference_price(2)
        total += dollars
        parts.append(f"| {path.stem.replace('_', ' ')} | {origin['recorded']} | "
                     f"{origin['seconds'] / 60:.1f} | {dollars:.3f} | "
                     f"{origin['machine'].split(';')[0]} |")  # fmt: skip
    parts += [f"| **all of them** | | | **{total:.2f}** | |", "", *_chapter_times(root)]
    parts += ["| package | version |", "|---|---|"]
    pins = (root / "requirements.txt").read_text(encoding="utf-8")
    for name in ("torch", "numpy", "torchao", "transformers", "safetensors", "jupyter-book"):
        if found := re.search(rf"^{name}==([\w.+]+)", pins, re.M):
            parts.append(f"| {name} | {found[1]} |")
    return "\n".join(parts)


def _chapter_times(root: Path) -> list[str]:
    """A table of the seconds that `experiments/chapters.py` recorded, if it did."""
    path = root / "costlab" / "results" / "chapters.json"
    if not path.is_file():
        return []
    seconds = json.loads(path.read_text(encoding="utf-8"))["chapters"]
    rows = [f"| [{title(root, name)}](../notebooks/{name}.ipynb) | {seconds[name]:.0f} |"
            for name in chapters(root) if name in seconds]  # fmt: skip
    return ["| chapter, from top to bottom, one for each core | seconds |", "|---|--:|", *rows, ""]


def minutes(root: Path, name: str) -> int:
    """Minutes of reading that a chapter states at its top, or that its words take."""
    texts = ["".join(c["source"]) for c in cells(root, name) if c["cell_type"] == "markdown"]
    found = MINUTES.search(texts[0])
    if found and found[1] in NUMBERS:
        return NUMBERS[found[1]]
    return max(5, 5 * round(len(" ".join(texts).split()) / WORDS / 5))


def path_list(root: Path, names: str) -> str:
    """A numbered list of chapters with their minutes, and their sum; those to come left out."""
    there = [name for name in names.split() if name in chapters(root)]
    rows = [f"1. [{title(root, n)}](../notebooks/{n}.ipynb), {minutes(root, n)} minutes"
            for n in there]  # fmt: skip
    total = sum(minutes(root, n) for n in there)
    whole = f"{total} minutes" if total < 100 else f"about {total / 60:.1f} hours"
    return "\n".join([*rows, "", f"Together {whole} of reading."])


PAGES = {"claims": claims_page, "api": api_page, "status": status_page, "path": path_list,
         "ledger": ledger_page}  # fmt: skip


def write_out(text: str, root: Path) -> str:
    """The markdown of a page with its comments generated and its links resolved."""
    there = {f"notebooks/{name}.ipynb" for name in chapters(root)}
    text = GENERATE.sub(lambda m: PAGES[m[1]](root, m[2] or ""), text)
    return LINK.sub(lambda m: m[0] if m[2] in there else m[1], text)


def fill(app, docname: str, source: list[str]) -> None:
    """Generate what a page of `book/` asks for, when Sphinx reads it."""
    if docname.startswith("book/"):
        source[0] = write_out(source[0], Path(app.srcdir))
