"""Estimates from the shell: every keyword of a function is an option of the same name."""

import argparse
import inspect
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import asdict

from costlab.estimate import formulas, rental, tables
from costlab.estimate.checks import choice

_POSITIONAL = ("model", "accelerator")
_EXTRA = {
    "api": "compare with this interface of the catalog's prices, such as gpt-4o-mini",
    "bytes_per_token": "bytes of text that a token stands for (4)",
}


def main(argv: Sequence[str]) -> int:
    """Run `costlab estimate …` or `costlab search …`; `argv` starts with the command."""
    command, rest = argv[0], list(argv[1:])
    if command == "estimate":
        if not rest or rest[0] in ("-h", "--help"):
            print("usage: costlab estimate {training,serving,storage,formulas} …\n\n"
                  "costlab estimate serving --help lists the arguments.")  # fmt: skip
            return 0 if rest else 2
        if rest[0] == "formulas":  # what a page needs to compute the same
            print(json.dumps(formulas.export(), indent=1))
            return 0
        command = choice("estimate", rest.pop(0), ("training", "serving", "storage"))
    function = _function(command)
    options = parser(command if command == "search" else f"estimate {command}", function)
    if command == "serving":
        for option, text in _EXTRA.items():
            options.add_argument(*_spellings(option), dest=option, type=_value, help=text)
    given = {k: v for k, v in vars(options.parse_args(rest)).items() if v is not None}
    as_json = given.pop("json")
    extra = {name: given.pop(name) for name in _EXTRA if name in given}
    print(_answer(command, function, given, extra, as_json))
    return 0


def _function(name: str) -> Callable:
    from costlab import estimate

    return getattr(estimate, name)


def parser(
    name: str, function: Callable, *, positional: Sequence[str] = _POSITIONAL
) -> argparse.ArgumentParser:
    """Options of `costlab NAME`: `requests_per_s` is --requests_per_s or --requests-per-s."""
    first, described = _documented(function)
    options = argparse.ArgumentParser(prog=f"costlab {name}", description=first)
    for parameter in inspect.signature(function).parameters.values():
        if parameter.kind is parameter.VAR_KEYWORD:
            continue
        if parameter.name in positional:
            optional = None if parameter.default is parameter.empty else "?"
            words = described.get(parameter.name, "catalog id, or a file")
            options.add_argument(parameter.name, nargs=optional, help=words)
            continue
        options.add_argument(
            *_spellings(parameter.name), dest=parameter.name, type=_value, metavar="X",
            required=parameter.default is parameter.empty,
            help=f"{described.get(parameter.name, '')} {_default(parameter.default)}".strip(),
        )  # fmt: skip
    options.add_argument("--json", action="store_true", help="print JSON")
    return options


def _spellings(name: str) -> list[str]:
    return list(dict.fromkeys(["--" + name, "--" + name.replace("_", "-")]))


def _default(value: object) -> str:
    if value is inspect.Parameter.empty:
        return "required"
    return "" if value is None else f"({value})"


def _documented(function: Callable) -> tuple[str, dict[str, str]]:
    """First sentence of a docstring, and what it says of each argument."""
    text = inspect.getdoc(function)
    section = text.partition("Args:\n")[2].partition("\n\n")[0]
    entries = re.findall(r"^    (\w[\w, ]*): (.*(?:\n {8}.*)*)", section, re.M)
    said = {
        n.strip(): " ".join(words.split()) for names, words in entries for n in names.split(",")
    }
    return text.partition("\n\n")[0], {n: w.replace("%", "%%") for n, w in said.items()}


def _value(text: str) -> object:
    """A number, a list such as 1,2,4, JSON, or the text itself."""
    try:
        return json.loads(text)
    except ValueError:
        pass
    if "," in text:
        return tuple(_value(part) for part in text.split(","))
    return text


def _answer(command: str, function: Callable, given: dict, extra: dict, as_json: bool) -> str:
    estimate = function(**given)
    if command != "serving" or not ("api" in extra or given.get("requests_per_s")):
        return estimate.to_json() if as_json else str(estimate)
    shown = {k: v for k, v in given.items() if k not in ("requests_per_s", "batch")}
    width = {k: v for k, v in extra.items() if k == "bytes_per_token"}
    curve = rental.cost_curve(**shown, **width)
    even = rental.break_even(**shown, **extra) if "api" in extra else None
    if as_json:
        whole = estimate.to_dict() | {"cost_curve": [asdict(point) for point in curve]}
        return json.dumps(whole | {"break_even": even and even.to_dict()}, indent=1)
    parts = [str(estimate), tables.curve_table(curve)]
    return "\n\n".join([*parts, tables.break_even_table(even)] if even else parts)
