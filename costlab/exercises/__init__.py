"""Check your answers to the book's exercises, and ask for a hint.

>>> from costlab.exercises import check, hint
>>> hint("bill.1", 1)  # doctest: +SKIP
>>> check("bill.1", my_function)  # doctest: +SKIP

One file for each chapter (`bill.py`, ...) holds its checkers and hints; `solutions/bill_1.py` holds
the question, the worked answer and the reason. Pages: every "Exercises" section of the notebooks.
"""

import difflib
import importlib
import pkgutil
import sys

from costlab.exercises import solutions
from costlab.exercises.checking import Exercise, load_solution

__all__ = ["check", "hint", "names"]


def names() -> list[str]:
    """List the exercises of the book, such as `"bill.1"`, in order.

    Taught in: every "Exercises" section.
    """
    files = [module.name for module in pkgutil.iter_modules(solutions.__path__)]
    pairs = [file.rsplit("_", 1) for file in files]
    ordered = sorted(pairs, key=lambda pair: (pair[0], int(pair[1])))
    return [f"{chapter}.{number}" for chapter, number in ordered]


def check(name: str, answer: object) -> bool:
    """Say in words whether `answer` solves the exercise, and return True if it does.

    In a notebook, a wrong answer that is a curve is also drawn, beside what was expected.

    Args:
        name: the exercise, such as `"bill.1"`.
        answer: what the exercise asks for, usually a function of yours: pass it without calling it.
            Text is never run. An exception inside your function is reported, not raised.

    Returns:
        True if the answer is right, False otherwise.

    Raises:
        ValueError: there is no exercise of that name; the nearest names are offered.

    Taught in: every "Exercises" section.
    """
    exercise = _find(name)
    fault = exercise.fault(answer, load_solution(name).answer)
    print(f"{name}: {fault}" if fault else f"{name}: right. {exercise.praise}")
    if fault and _in_notebook() and exercise.drawn(answer, load_solution(name).answer):
        import matplotlib.pyplot as plt

        plt.show()
    return fault is None


def hint(name: str, step: int = 1) -> None:
    """Print hint number `step` of an exercise; each step gives away a little more.

    Args:
        name: the exercise, such as `"bill.1"`.
        step: 1 for the first hint (the default), 2 for the next, and so on.

    Raises:
        ValueError: there is no exercise of that name, or `step` is not a whole number from 1.

    Taught in: every "Exercises" section.
    """
    hints = _find(name).hints
    if not isinstance(step, int) or isinstance(step, bool) or step < 1:
        raise ValueError(f"step must be a whole number from 1 to {len(hints)}, got {step!r}.")
    if step > len(hints):
        print(f"{name}: there are only {len(hints)} hints; the folded solution says the rest.")
    else:
        print(f"{name}, hint {step} of {len(hints)}: {hints[step - 1]}")


def _in_notebook() -> bool:
    shell = sys.modules.get("IPython")
    return shell is not None and getattr(shell.get_ipython(), "kernel", None) is not None


def _find(name: str) -> Exercise:
    known = names()
    if name not in known:
        near = difflib.get_close_matches(name, known, cutoff=0.3) if isinstance(name, str) else []
        near = near or known[:3]
        raise ValueError(f"name must be an exercise, got {name!r}; the nearest: {', '.join(near)}.")
    chapter, number = name.split(".")
    return importlib.import_module(f"costlab.exercises.{chapter}").EXERCISES[int(number)]
