"""Trends: against the closed form on exact growth, and under noise."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.catalog.trends import trend, year


@given(factor=st.floats(0.2, 5), start=st.floats(0.01, 1e6), count=st.integers(2, 9))
def test_exact_growth_is_found_without_doubt(factor, start, count):
    found = trend([(x, start * factor**x) for x in range(count)], draws=20)
    assert found.factor == pytest.approx(factor)
    assert found.low == pytest.approx(factor)
    assert found.high == pytest.approx(factor)
    assert found.points == count


def test_groups_keep_their_own_level():
    points = [(0, 1.0), (1, 2.0), (1, 100.0), (2, 200.0)]
    assert trend(points, groups=["a", "a", "b", "b"]).factor == pytest.approx(2)
    assert trend(points).factor > 5  # the levels taken for growth


def test_a_label_with_one_point_says_nothing():
    assert trend([(0, 1.0), (1, 3.0), (9, 7.0)], groups="aab").factor == pytest.approx(3)


def test_the_range_holds_the_truth_about_as_often_as_it_says():
    chance, held = random.Random(1), 0
    for _ in range(60):
        points = [(x / 5, 1.2 ** (x / 5) * math.exp(chance.gauss(0, 0.2))) for x in range(40)]
        found = trend(points, draws=100)
        held += found.low <= 1.2 <= found.high
    assert 38 <= held <= 58  # 48 of 60 expected


def test_the_same_seed_gives_the_same_range():
    points = [(x, 1 + x % 3) for x in range(12)]
    assert trend(points) == trend(points)
    assert trend(points).low < trend(points).factor < trend(points).high


def test_a_date_becomes_a_year():
    assert year("2026-01-01") == 2026
    assert year("2026-07-02") == pytest.approx(2026.5, abs=0.01)


@pytest.mark.parametrize(
    ("points", "groups", "sentence"),
    [
        ([(0, 1.0), (1, 0.0)], None, "y above zero, got 0.0"),
        ([(0, 1.0), (1, 2.0)], ["a"], "a label for each of 2"),
        ([(1, 1.0), (1, 2.0)], None, "two different x"),
        ([(1, 1.0), (2, 2.0)], ["a", "b"], "two different x"),
        ([], None, "two different x"),
    ],
)
def test_bad_input_gets_one_sentence(points, groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        trend(points, groups=groups)
