"""Who does what when in a pipeline: one list of actions, which runs, simulates and draws.

Taught in: notebooks/08_model_parallel.ipynb.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes

SCHEDULES = ("1f1b", "gpipe")


@dataclass(frozen=True)
class Action:
    """One pass of one micro-batch through one stage: `kind` is "forward" or "backward"."""

    stage: int
    micro: int
    kind: str


@dataclass(frozen=True)
class Span:
    """An action and when it was computed, in seconds."""

    action: Action
    start: float
    stop: float


def actions(schedule: str, stages: int, microbatches: int) -> list[list[Action]]:
    """What each stage does, in its order.

    schedule: "gpipe" (arXiv:1811.06965), all forward passes and then all backward ones, or "1f1b"
    (arXiv:1806.03377, as in arXiv:2104.04473), in which stage s begins its backward passes after
    `stages` - s forward ones and then does one of each in turn.

    Raises ValueError for fewer micro-batches than stages: some stage would then never be busy
    while another works. Taught in: notebooks/08_model_parallel.ipynb.
    """
    if schedule not in SCHEDULES:
        raise ValueError(f"schedule must be one of {', '.join(SCHEDULES)}, got {schedule!r}")
    for name, value in (("stages", stages), ("microbatches", microbatches)):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    if microbatches < stages:
        raise ValueError(
            f"microbatches must be at least the {stages} stages, or some stay idle throughout, "
            f"got {microbatches}"
        )
    return [_order(schedule, s, stages, microbatches) for s in range(stages)]


def _order(schedule: str, stage: int, stages: int, microbatches: int) -> list[Action]:
    ahead = microbatches if schedule == "gpipe" else stages - stage
    order = [Action(stage, micro, "forward") for micro in range(ahead)]
    for micro in range(microbatches):
        order.append(Action(stage, micro, "backward"))
        if ahead + micro < microbatches:
            order.append(Action(stage, ahead + micro, "forward"))
    return order


def before(action: Action, stages: int) -> Action | None:
    """The action of a neighboring stage whose result this one waits for."""
    source, _ = neighbors(action, stages)  # where it is None: what stands earlier in its own list
    return None if source is None else replace(action, stage=source)


def neighbors(action: Action, stages: int) -> tuple[int | None, int | None]:
    """(the stage an action hears from, the one it sends to); None at the ends of the pipeline."""
    step = 1 if action.kind == "forward" else -1
    inside = lambda stage: stage if 0 <= stage < stages else None  # noqa: E731
    return inside(action.stage - step), inside(action.stage + step)


def simulate(
    orders: list[list[Action]], forward: Sequence[float], backward: Sequence[float]
) -> list[Span]:
    """When each action runs if stage s takes `forward[s]` and `backward[s]` seconds, sends none.

    Raises ValueError for an order in which stages wait for each other forever.
    Taught in: notebooks/08_model_parallel.ipynb.
    """
    return _earliest(orders, lambda a: (forward if a.kind == "forward" else backward)[a.stage])


def replay(spans: list[Span]) -> list[Span]:
    """When recorded passes would have run, each as long as it was, had sending taken no time.

    The bubble of a replay comes from the schedule, and from passes that are not equally long. What
    is idle beyond it lies between a pass and the next that could have begun: sending, receiving,
    waiting for a processor. Taught in: notebooks/08_model_parallel.ipynb.
    """
    took = {span.action: span.stop - span.start for span in spans}
    begun = [span.action for span in sorted(spans, key=lambda span: span.start)]
    stages = sorted({action.stage for action in begun})
    return _earliest([[a for a in begun if a.stage == s] for s in stages], took.__getitem__)


def _earliest(orders: list[list[Action]], seconds: Callable[[Action], float]) -> list[Span]:
    done: dict[Action, Span] = {}
    at, clock = [0] * len(orders), [0.0] * len(orders)
    while len(done) < sum(len(order) for order in orders):
        ready = [s for s, order in enumerate(orders) if at[s] < len(order)
                 and before(order[at[s]], len(orders)) in {None, *done}]  # fmt: skip
        if not ready:
            raise ValueError("orders must not let stages wait for each other forever")
        for stage in ready:
            action = orders[stage][at[stage]]
            earlier = done.get(before(action, len(orders)))
            start = max(clock[stage], earlier.stop if earlier else 0.0)
            done[action] = Span(action, start, start + seconds(action))
            clock[stage], at[stage] = done[action].stop, at[stage] + 1
    return list(done.values())


def rehearse(
    orders: list[list[Action]], forward: Sequence[float], backward: Sequence[float]
) -> list[Span]:
    """The same with a thread for each stage, which sleeps instead of computing, on a real clock.

    Sleepers need no processor: many stages fit on a small machine.
    Taught in: notebooks/08_model_parallel.ipynb.
    """
    finished = {action: threading.Event() for order in orders for action in order}
    spans: list[Span] = []

    def work(order: list[Action]) -> None:
        for action in order:
            if earlier := before(action, len(orders)):
                finished[earlier].wait()
            start = time.perf_counter()
            time.sleep((forward if action.kind == "forward" else backward)[action.stage])
            spans.append(Span(action, start, time.perf_counter()))
            finished[action].set()

    threads = [threading.Thread(target=work, args=(order,), daemon=True) for order in orders]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return spans


def bubble(spans: list[Span]) -> float:
    """Share of all stages' time, from the first start to the last stop, in which they are idle."""
    length = max(span.stop for span in spans) - min(span.start for span in spans)
    stages = len({span.action.stage for span in spans})
    return 1 - sum(span.stop - span.start for span in spans) / (length * stages)


def most_held(order: list[Action]) -> int:
    """Micro-batches whose activations a stage holds at once, at most."""
    held = [1 if action.kind == "forward" else -1 for action in order]
    return max(sum(held[:i]) for i in range(1, len(held) + 1))


def draw(ax: Axes, spans: list[Span], *, title: str, unit: str = "seconds") -> None:
    """Draw a row of boxes for each stage: forward passes solid, backward ones hatched."""
    from costlab import figures

    begin = min(span.start for span in spans)
    for span in spans:
        forward = span.action.kind == "forward"
        ax.barh(span.action.stage, span.stop - span.start, 0.86, span.start - begin,
                color=figures.SAVED if forward else figures.SPENT,
                hatch="" if forward else "////", edgecolor=figures.PAPER, lw=0.6)  # fmt: skip
    stages = sorted({span.action.stage for span in spans})
    ax.set(xlabel=unit, yticks=stages, yticklabels=[f"stage {s}" for s in stages])
    ax.set_title(title, fontsize=10)
    ax.invert_yaxis()
