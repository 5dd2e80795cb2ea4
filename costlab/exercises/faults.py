"""Ten pairs of suspects for the failure lab: one of each is right, one is silently wrong.

All run, none complains. `suspects` hands a pair out without saying which is which, `accuse` says
whether you found the broken one, `opened` names both. Everything is tiny and seeded.
"""

from __future__ import annotations

from collections.abc import Callable

from costlab.exercises import fault_math as math_
from costlab.exercises import fault_money as money

# Number of the case -> what is right, what is broken.
_PAIRS = {
    1: (math_.averages_all, math_.averages_matrices),
    2: (math_.scales_rows, math_.scales_columns),
    3: (math_.calibrates_apart, math_.calibrates_on_test),
    4: (math_.puts_zeros_back, math_.masks_gradients),
    5: (money.share_of_dense, money.share_of_sparse),
    6: (money.model_flops, money.hardware_flops),
    7: (money.times_to_the_end, money.times_the_launch),
    8: (math_.sees_itself, math_.sees_only_before),
    9: (math_.averages_tokens, math_.averages_means),
    10: (money.prices_the_day, money.prices_the_peak),
}
_BROKEN_FIRST = {1, 4, 5, 7, 8}


def suspects(case: int) -> tuple[Callable, Callable]:
    """The two suspects of a case, `a` and `b`, in an order that tells nothing.

    case: a whole number from 1 to 10. Raises ValueError for any other. Taught in:
    notebooks/22_failure_lab.ipynb.
    """
    right, broken = opened(case)
    return (broken, right) if case in _BROKEN_FIRST else (right, broken)


def opened(case: int) -> tuple[Callable, Callable]:
    """What is right and what is broken, for whoever has made up their mind.

    case: a whole number from 1 to 10. Raises ValueError for any other. Taught in:
    notebooks/22_failure_lab.ipynb.
    """
    if isinstance(case, bool) or not isinstance(case, int) or case not in _PAIRS:
        raise ValueError(f"case must be a whole number from 1 to {len(_PAIRS)}, got {case!r}")
    return _PAIRS[case]


def accuse(case: int, suspect: object) -> bool:
    """Say whether `suspect`, the letter "a" or "b", is the broken one of a case.

    Prints one sentence and returns True where that is right. Anything but a letter counts as not
    answered yet. Raises ValueError for a case that there is not. Taught in:
    notebooks/22_failure_lab.ipynb.
    """
    opened(case)
    if suspect not in ("a", "b"):
        print(f'case {case}: not answered yet. Put "a" or "b" for the dots.')
        return False
    found = (suspect == "a") == (case in _BROKEN_FIRST)
    print(f"case {case}: {'right, that one is broken.' if found else 'no. Measure again.'}")
    return found
