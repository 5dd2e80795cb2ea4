"""A smaller model first, and cost per solved task instead of per token.

Taught in notebook 17.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Routed:
    """Requests that a smaller model answers first: `kept` (0 to 1) of its answers are used.

    `quality` is the mean over all requests of what the answer used is worth, `cost` a request's.
    """

    kept: float
    quality: float
    cost: float


def route(
    confidence: Sequence[float],
    small: Sequence[float],
    large: Sequence[float],
    *,
    threshold: float,
    small_cost: float,
    large_cost: float,
    check_cost: float = 0.0,
) -> Routed:
    """What a cascade is worth, and what it costs (FrugalGPT, arXiv:2305.05176).

    confidence: of the smaller model in each of its answers; from `threshold` on the answer is used,
    else the large model is asked too. small, large: what each one's answer is worth. Costs are a
    request's, in any one unit; the smaller model and the check are paid every time.
    """
    _check(confidence, small, large)
    used = [c >= threshold for c in confidence]
    worth = [s if keep else b for keep, s, b in zip(used, small, large)]
    kept = sum(used) / len(used)
    cost = small_cost + check_cost + (1 - kept) * large_cost
    return Routed(kept, sum(worth) / len(worth), cost)


def tune_threshold(
    confidence: Sequence[float],
    small: Sequence[float],
    large: Sequence[float],
    *,
    allowed: float = 0.01,
) -> float:
    """The lowest threshold with a quality at most `allowed` below the large model's.

    Tune on one part of the traffic and judge on another: on the part it was tuned on it looks
    better than it is. Infinity (ask the large model always) is the last resort.
    """
    _check(confidence, small, large)
    floor = sum(large) / len(large) - allowed
    free = {"small_cost": 0.0, "large_cost": 0.0}
    for threshold in sorted(set(confidence)):
        found = route(confidence, small, large, threshold=threshold, **free)
        if found.quality >= floor - 1e-12:
            return threshold
    return float("inf")


def kept_to_pay(*, small_cost: float, large_cost: float, check_cost: float = 0.0) -> float:
    """Share of answers that must be used before a cascade is cheaper than the large model alone.

    Above 1 it never is.
    """
    return (small_cost + check_cost) / large_cost


@dataclass(frozen=True)
class Attempts:
    """Up to `most` attempts at each task: share of tasks solved, mean attempts, cost per solved."""

    most: int
    solved: float
    attempts: float
    cost_per_solved: float


def best_of(
    outcomes: Sequence[Sequence[bool]], *, attempt_cost: float, check_cost: float = 0.0
) -> list[Attempts]:
    """For 1, 2, … attempts at most: how many tasks are solved, and the cost of each solved one.

    outcomes: for each task, whether its first, second, … attempt passes the check. A task is tried
    until an attempt passes or the attempts are used up; every attempt is paid, and so is its check.
    Where nothing is solved, a solved task costs infinity.
    """
    if not outcomes or len({len(row) for row in outcomes}) != 1 or not len(outcomes[0]):
        raise ValueError("outcomes must hold one row for each task, all equally long, and not none")
    found = []
    for most in range(1, len(outcomes[0]) + 1):
        tried = [next((i + 1 for i in range(most) if row[i]), most) for row in outcomes]
        solved = sum(any(row[:most]) for row in outcomes) / len(outcomes)
        mean = sum(tried) / len(tried)
        cost = mean * (attempt_cost + check_cost)
        found.append(Attempts(most, solved, mean, cost / solved if solved else float("inf")))
    return found


def _check(*columns: Sequence[float]) -> None:
    lengths = [len(column) for column in columns]
    if not lengths[0] or len(set(lengths)) != 1:
        raise ValueError(
            f"confidence, small and large must hold one figure for each request, got {lengths}"
        )
