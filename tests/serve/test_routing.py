"""Cascades and attempts: arithmetic on small tables, and properties."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.serve.routing import best_of, kept_to_pay, route, tune_threshold

TABLE = {"confidence": [0.9, 0.2, 0.6, 0.4], "small": [1, 0, 1, 0], "large": [1, 1, 1, 0]}
rows = st.lists(st.tuples(st.floats(0, 1), st.booleans(), st.booleans()), min_size=1, max_size=12)


def test_a_cascade_on_a_small_table():
    found = route(**TABLE, threshold=0.5, small_cost=1, large_cost=10, check_cost=0.5)
    assert (found.kept, found.quality, found.cost) == (0.5, 0.75, 1.5 + 5)
    assert route(**TABLE, threshold=0, small_cost=1, large_cost=10).cost == 1
    always = route(**TABLE, threshold=float("inf"), small_cost=1, large_cost=10)
    assert (always.quality, always.cost) == (0.75, 11)


def test_the_lowest_threshold_that_keeps_the_quality():
    assert tune_threshold(**TABLE) == 0.4
    assert tune_threshold(**TABLE, allowed=0.25) == 0.2
    assert tune_threshold([0.5], [0], [1]) == float("inf")


@given(rows, st.floats(0, 0.5))
def test_tuned_quality_is_kept_and_no_lower_threshold_does(table, allowed):
    confidence, small, large = (list(column) for column in zip(*table, strict=True))
    costs = {"small_cost": 1, "large_cost": 4}
    best = tune_threshold(confidence, small, large, allowed=allowed)
    floor = sum(large) / len(large) - allowed - 1e-9
    assert route(confidence, small, large, threshold=best, **costs).quality >= floor
    for lower in (c for c in confidence if c < best):
        assert route(confidence, small, large, threshold=lower, **costs).quality < floor + 2e-9


@given(st.floats(0, 1), st.floats(0.1, 2), st.floats(0, 1))
def test_a_cascade_pays_from_the_share_that_is_said(kept, small, check):
    costs = {"small_cost": small, "large_cost": 2.0, "check_cost": check}
    n = 100
    confidence = [1.0 if i < round(kept * n) else 0.0 for i in range(n)]
    found = route(confidence, [1] * n, [1] * n, threshold=0.5, **costs)
    assert (found.cost < 2.0 - 1e-9) == (found.kept > kept_to_pay(**costs) + 1e-9 / 2)


def test_attempts_on_a_small_table():
    outcomes = [[True, False], [False, True], [False, False], [False, False]]
    once, twice = best_of(outcomes, attempt_cost=3, check_cost=1)
    assert (once.solved, once.attempts, once.cost_per_solved) == (0.25, 1, 16)
    assert (twice.solved, twice.attempts, twice.cost_per_solved) == (0.5, 1.75, 14)
    assert best_of([[False]], attempt_cost=1)[0].cost_per_solved == float("inf")


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=9))
def test_more_attempts_never_solve_fewer(outcomes):
    found = best_of(outcomes, attempt_cost=1)
    assert [a.solved for a in found] == sorted(a.solved for a in found)
    assert [a.attempts for a in found] == sorted(a.attempts for a in found)


@pytest.mark.parametrize("wrong", [{"small": [1]}, {"confidence": [], "small": [], "large": []}])
def test_columns_of_other_lengths_are_refused(wrong):
    with pytest.raises(ValueError, match=r"^confidence, small and large must hold one figure"):
        tune_threshold(**TABLE | wrong)
    with pytest.raises(ValueError, match=r"^outcomes must hold one row for each task"):
        best_of([[True], [True, False]], attempt_cost=1)
