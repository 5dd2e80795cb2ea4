"""What all checkers share: run the reader's function on several inputs and put a fault in words."""

import importlib
import inspect
import math
import types
from collections.abc import Callable
from dataclasses import dataclass

NOT_YET = "not answered yet. Replace the `...` with your answer and run the cell again."


@dataclass(frozen=True)
class Curve:
    """Where a wrong answer is drawn beside the right one: at `points` of the first argument.

    Attributes:
        points: of the first argument.
        others: the other arguments, the same at all points.
        log: the logarithmic axes, as for `figures.lines`.
    """

    points: list[float]
    others: tuple = ()
    log: str = ""


@dataclass(frozen=True)
class Exercise:
    """A function the reader writes, the inputs it is tried on, and the mistakes we know.

    Attributes:
        signature: how the function looks, for the sentences: `"flops_per_token(parameters)"`.
        cases: the arguments of each trial, edge cases included.
        mistakes: wrong functions, each with the sentence that helps whoever wrote it.
        hints: from a nudge to nearly the answer.
        praise: what the right answer shows, in one sentence.
        tolerance: largest relative difference that still counts as right.
        curve: where a picture helps, what it shows of a wrong answer.
    """

    signature: str
    cases: list[tuple]
    mistakes: list[tuple[Callable, str]]
    hints: list[str]
    praise: str
    tolerance: float = 1e-6
    curve: Curve | None = None

    def fault(self, answer: object, solution: Callable) -> str | None:
        """Say what is wrong with `answer`, or None. Never raises, never runs text."""
        if answer is None or answer is ...:
            return NOT_YET
        if isinstance(answer, str):
            return f"this is text, and text is never run. Pass the function {self.signature}."
        if not callable(answer):
            kind = type(answer).__name__
            return f"pass the function {self.signature} itself, without calling it; got {kind}."
        results = []
        for arguments in self.cases:
            result, fault = _try(answer, arguments, self.signature)
            if fault:
                return fault
            results.append(result)
        return self._compare(results, solution)

    def drawn(self, answer: object, solution: Callable) -> object | None:
        """The axes with `answer` and what was expected; None where there is nothing to draw."""
        if self.curve is None or not callable(answer):
            return None
        trials = [(point, *self.curve.others) for point in self.curve.points]
        found = [_try(answer, arguments, self.signature) for arguments in trials]
        if any(fault for _, fault in found):
            return None
        from costlab import figures

        expected = [solution(*arguments) for arguments in trials]
        name, _, arguments = self.signature.partition("(")
        return figures.lines(
            {"expected": (self.curve.points, expected),
             "yours": (self.curve.points, [value for value, _ in found])},
            title="Yours, and what was expected", xlabel=arguments.strip(")").split(",")[0],
            ylabel=name, log=self.curve.log,
        )  # fmt: skip

    def _compare(self, results: list[float], solution: Callable) -> str | None:
        if self._agree(results, solution):
            return None
        for mistake, sentence in self.mistakes:
            if self._agree(results, mistake):
                return sentence
        rights = [solution(*arguments) for arguments in self.cases]
        arguments, result, right = next(
            trial
            for trial in zip(self.cases, results, rights, strict=True)
            if not self._close(trial[1], trial[2])
        )
        call = _call(self.signature, arguments)
        return f"{call} gives {result:.6g}, which is {_apart(result, right)}."

    def _agree(self, results: list[float], function: Callable) -> bool:
        pairs = zip(results, self.cases, strict=True)
        return all(self._close(result, function(*arguments)) for result, arguments in pairs)

    def _close(self, result: float, right: float) -> bool:
        return math.isclose(result, right, rel_tol=self.tolerance, abs_tol=1e-12)


def load_solution(name: str) -> types.ModuleType:
    """Import the solution of an exercise; its `answer` is what `check` accepts."""
    return importlib.import_module(f"costlab.exercises.solutions.{name.replace('.', '_')}")


def solution_markdown(name: str) -> str:
    """Write an exercise's solution as the folded block a notebook shows (plain CommonMark)."""
    module = load_solution(name)
    source = inspect.getsource(module).split('"""', 2)[2]
    code = source.rsplit("\nanswer = ", 1)[0].strip()
    why = inspect.cleandoc(module.__doc__).split("\n\nWhy: ", 1)[1].strip()
    why = why[0].upper() + why[1:]
    fold = ["<details>", "<summary>Solution</summary>", "", why, "", "```python", code, "```"]
    return "\n".join([*fold, "", "</details>"])


def question(name: str) -> str:
    """Return the question of an exercise, as its solution's docstring asks it."""
    return inspect.cleandoc(load_solution(name).__doc__).split("\n\nWhy: ", 1)[0].strip()


def _try(answer: Callable, arguments: tuple, signature: str) -> tuple[float, str | None]:
    call = _call(signature, arguments)
    try:
        value = answer(*arguments)
    except (Exception, SystemExit) as error:  # the reader's own code: report whatever it does
        return 0.0, f"{call} raised {type(error).__name__}: {_text(error)}"
    if value is None or value is ...:
        return 0.0, NOT_YET
    number = _number(value)
    if number is None:
        return 0.0, f"{call} gives {type(value).__name__}; return one number."
    if not math.isfinite(number):
        return 0.0, f"{call} gives {number}; return a finite number."
    return number, None


def _number(value: object) -> float | None:
    """Read one number out of what a reader returned: Python, NumPy or torch, but never text."""
    if isinstance(value, (bool, str, bytes, bytearray)):
        return None
    try:
        return float(value)
    except Exception:  # any class may stand here, with any __float__
        return None


def _text(error: BaseException) -> str:
    try:
        return " ".join(str(error).split())[:200] or "(no message)"
    except Exception:
        return "(no message)"


def _call(signature: str, arguments: tuple) -> str:
    return f"{signature.split('(')[0]}({', '.join(f'{value:g}' for value in arguments)})"


def _apart(result: float, right: float) -> str:
    """Say how far off a result is without giving the right one away."""
    if right == 0 or result / right <= 0:
        return "not right: check the sign and what happens at zero"
    ratio = result / right
    return f"{ratio:.3g} times too large" if ratio > 1 else f"{1 / ratio:.3g} times too small"
