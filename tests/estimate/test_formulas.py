"""Formulas as data: safe, the same in Python and JavaScript, and the ones the estimates use."""

import json
import math
import random
import shutil
import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.estimate import resolve_accelerator, resolve_model
from costlab.estimate.formulas import check, evaluate, export, formula
from costlab.estimate.serve_time import Replica

FORMULAS = export()["formulas"]


def some_values(name: str) -> dict[str, float]:
    """A number for each input: experts more than those in use, a group of many weights."""
    source = random.Random(name)
    values = {key: source.uniform(1, 4) for key in FORMULAS[name]["inputs"]}
    larger = {"experts": 9.0, "group": 64.0}
    return values | {key: value for key, value in larger.items() if key in values}


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("2 + 3 * x", 17), ("-x + 1", -4), ("(x - 1) ** 2", 16), ("x ** 0.5", math.sqrt(5)),
        ("min(x, 3, 4)", 3), ("max(x / 2, 1)", 2.5), ("ceil(x / 2)", 3), ("1e3 * x", 5000),
        ("floor(x / 2)", 2), ("log2(x + 3)", 3), ("-x ** 2", -25),
    ],
)  # fmt: skip
def test_arithmetic(expression, value):
    assert evaluate(expression, {"x": 5}) == pytest.approx(value)


@pytest.mark.parametrize(
    "expression",
    [
        "__import__('os')", "x.real", "x[0]", "open('f')", "lambda: x", "'a' * 9", "x if x else 1",
        "[x]", "x == 1", "x % 2", "x // 2", "min(x, key=x)", "sum(x)", "True", "x; x", "", "x =", 5,
    ],
)  # fmt: skip
def test_nothing_but_arithmetic_is_read(expression):
    with pytest.raises(ValueError, match="expression m"):
        check(expression)


def test_a_name_without_a_value_is_named():
    with pytest.raises(ValueError, match=r"values must give y for 'x \+ y'"):
        evaluate("x + y", {"x": 1})
    with pytest.raises(ValueError, match=r"formula must be one of decode_step, .*got 'nope'"):
        formula("nope")


@given(st.floats(-1e6, 1e6), st.floats(1, 1e6))
def test_the_evaluator_agrees_with_python(a, b):
    expected = max(a, b) / b + (a - b) * 2 - min(a, 3)
    assert evaluate("max(a, b) / b + (a - b) * 2 - min(a, 3)", {"a": a, "b": b}) == expected


@pytest.mark.parametrize("name", FORMULAS)
def test_a_compiled_formula_is_its_expressions(name):
    values = some_values(name)
    found = formula(name)(**values)
    seen = dict(values)
    for step, expression in FORMULAS[name]["steps"].items():
        seen[step] = evaluate(expression, seen)
        assert found[step] == seen[step]
    assert all(text for text in FORMULAS[name]["inputs"].values())


def test_the_estimate_uses_these_very_expressions():
    replica = Replica(resolve_model("mixtral-8x7b"), resolve_accelerator("h100-sxm"), 4)
    seen = {"batch": 16, "attended": replica.model.attended(500), **replica._decoding}
    for step, expression in FORMULAS["decode_step"]["steps"].items():
        seen[step] = evaluate(expression, seen)
    assert replica.step(16, 500) == seen["seconds"]


def test_the_export_is_plain_json_with_coefficients():
    assert json.loads(json.dumps(export())) == export()
    for part in ("serving", "training"):
        assert 0 < export()["coefficients"][part]["bandwidth_share"] < 1


@pytest.mark.skipif(shutil.which("node") is None, reason="needs a JavaScript engine")
@pytest.mark.parametrize("name", FORMULAS)
def test_javascript_reads_the_same_text(name):
    values = some_values(name)
    script = "const {min, max, ceil, floor, log2} = Math;\n"
    script += "".join(f"const {key} = {value!r};\n" for key, value in values.items())
    steps = FORMULAS[name]["steps"]
    script += "".join(f"const {step} = {text};\n" for step, text in steps.items())
    script += f"console.log(JSON.stringify({{{', '.join(steps)}}}));"
    done = subprocess.run(["node", "-e", script], capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == pytest.approx(formula(name)(**values), rel=1e-12)
