"""Closed forms as data: one JSON of expressions that Python and a page's script evaluate alike.

`formulas.json` holds, for each formula, its inputs and named steps. An expression is made of
numbers, names, + - * / **, brackets, and min, max, ceil, floor, log2: nothing else is accepted, so
reading a file cannot run a stranger's code, and JavaScript reads the same text once these are taken
from Math. The estimates of this package call these very expressions, so that a calculator in
a page is never a second model. Taught in: notebooks/02_compute.ipynb.
"""

import ast
import json
import math
from collections.abc import Callable, Mapping
from functools import cache
from importlib.resources import files

_CALLS = {"min": min, "max": max, "ceil": math.ceil, "floor": math.floor, "log2": math.log2}
_CALLED = "min, max, ceil, floor and log2"
_OPERATORS = (ast.Add, ast.Sub, ast.Mult, ast.Div, ast.Pow, ast.USub)
_NODES = (ast.Expression, ast.BinOp, ast.UnaryOp, ast.Call, ast.Name, ast.Load, ast.Constant)


def check(expression: str) -> set[str]:
    """The names an expression reads; ValueError where it holds anything but arithmetic."""
    try:
        tree = ast.parse(expression, mode="eval")
    except (SyntaxError, TypeError, ValueError):
        raise ValueError(f"expression must be arithmetic, got {expression!r}.") from None
    names = set()
    for node in ast.walk(tree):
        number = not isinstance(node, ast.Constant) or type(node.value) in (int, float)
        if not isinstance(node, _NODES + _OPERATORS) or not number:
            raise ValueError(
                f"expression may hold numbers, names, + - * / **, {_CALLED}, got {expression!r}."
            )
        if isinstance(node, ast.Call):
            named = isinstance(node.func, ast.Name) and node.func.id in _CALLS
            if not named or node.keywords:
                raise ValueError(f"expression may call {_CALLED}, got {expression!r}.")
        if isinstance(node, ast.Name):
            names.add(node.id)
    return names - set(_CALLS)


def evaluate(expression: str, values: Mapping[str, float]) -> float:
    """The value of one expression.

    Args:
        expression: such as "6 * params * tokens".
        values: a number for each name in it.

    Raises:
        ValueError: it is not plain arithmetic, or a name has no value.

    Taught in: notebooks/02_compute.ipynb.
    """
    missing = check(expression) - set(values)
    if missing:
        raise ValueError(f"values must give {', '.join(sorted(missing))} for {expression!r}.")
    code = compile(ast.parse(expression, mode="eval"), "<formula>", "eval")
    return eval(code, {"__builtins__": {}, **_CALLS}, dict(values))  # checked above


@cache
def _file(name: str = "formulas") -> dict:
    return json.loads(files(__package__).joinpath(f"{name}.json").read_text(encoding="utf-8"))


@cache
def formula(name: str) -> Callable[..., dict[str, float]]:
    """The formula called `name` as a function of its inputs, by keyword; it returns every step.

    Raises:
        ValueError: there is no such formula.

    Taught in: notebooks/02_compute.ipynb.
    """
    known = _file()
    if name not in known:
        raise ValueError(f"formula must be one of {', '.join(known)}, got {name!r}.")
    inputs, steps = list(known[name]["inputs"]), known[name]["steps"]
    have = set(inputs)
    for step, expression in steps.items():
        missing = check(expression) - have
        if missing or not step.isidentifier():
            raise ValueError(f"step {step!r} of {name!r} reads {', '.join(sorted(missing))}.")
        have.add(step)
    lines = [f"def {name}(*, {', '.join(inputs)}, **_):"]
    lines += [f"    {step} = {expression}" for step, expression in steps.items()]
    lines += [f"    return {{{', '.join(f'{step!r}: {step}' for step in steps)}}}"]
    space: dict = {"__builtins__": {}, **_CALLS}
    exec("\n".join(lines), space)  # every name and expression was checked
    return space[name]


def fitted(part: str) -> dict[str, dict]:
    """Coefficients ("constants") and "residuals" of "serving" or "training"."""
    return _file(f"{part}_constants")


def export() -> dict:
    """Everything a page needs to compute what this package computes: formulas and coefficients."""
    found = {part: fitted(part)["constants"] for part in ("serving", "training")}
    return {"formulas": _file(), "coefficients": found}
