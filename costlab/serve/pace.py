"""How long each pass of a model takes, so that a schedule can be rehearsed without computing.

Taught in notebook 17.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain
from statistics import median

import torch
from torch import Tensor, nn

from costlab.bill.counting import evaluating
from costlab.lm.decoding import check_language_model, first_weight, vocabulary_of
from costlab.serve.slots import SlotCache, feed


@dataclass(frozen=True)
class Pace:
    """Seconds of a pass, as fitted to measured ones; each figure is the time that one more takes.

    A step of `rows` sequences, the longest of `length` positions, takes step_fixed + rows x
    step_row + rows x length x step_position. Reading `new` tokens behind `held` ones takes
    read_fixed + new x read_token + new x (held + new / 2) x read_position.
    """

    step_fixed: float
    step_row: float
    step_position: float
    read_fixed: float
    read_token: float
    read_position: float

    def step(self, rows: int, length: float) -> float:
        """Seconds in which `rows` sequences write a token each."""
        return self.step_fixed + rows * (self.step_row + length * self.step_position)

    def read(self, new: int, held: int = 0) -> float:
        """Seconds in which `new` tokens of a prompt are read."""
        each = self.read_token + (held + new / 2) * self.read_position
        return self.read_fixed + new * each


def pace_of(
    model: nn.Module,
    *,
    rows: tuple[int, ...] = (1, 4, 16),
    lengths: tuple[int, ...] = (64, 384),
    reads: tuple[int, ...] = (16, 128, 384),
    repeats: int = 5,
    bits: int | None = None,
) -> Pace:
    """Time passes of `model`, all kinds in turn, and fit a `Pace` to their medians.

    rows, lengths: sequences and positions of the steps that are timed; reads: tokens of a prompt
    that are read at once; bits: of the cache. Fitted by least squares of relative errors, with no
    figure below zero.
    """
    options = {"rows": rows, "lengths": lengths, "reads": reads, "repeats": repeats}
    return paces_of([(model, bits)], **options)[0]


def paces_of(
    models: Sequence[tuple[nn.Module, int | None]],
    *,
    rows: tuple[int, ...] = (1, 4, 16),
    lengths: tuple[int, ...] = (64, 384),
    reads: tuple[int, ...] = (16, 128, 384),
    repeats: int = 5,
    of: Callable[[list[float]], float] = median,
    clock: Callable[[], float] = time.perf_counter,
) -> list[Pace]:
    """Paces of models with the bits of their caches, all their passes timed in turn.

    So a machine that is busy for a while slows all of them. Options as for `pace_of`; of: what to
    take of the repeats, `min` on a machine that is never quiet; clock: in seconds. Taught in:
    notebooks/18_the_whole_bill.ipynb.
    """
    for model, _ in models:
        check_language_model(model)
    steps = [(n, length) for n in rows for length in lengths]
    kinds = [(n, 1, length) for n, length in steps] + [(1, new, 0) for new in reads]
    with ExitStack() as calm, torch.inference_mode():
        for model, _ in models:
            calm.enter_context(evaluating(model))
        passes = [[_Pass(model, *kind, bits) for kind in kinds] for model, bits in models]
        for _ in range(repeats + 1):
            for each in chain.from_iterable(passes):
                each.once(clock)
    return [_fitted(steps, reads, [of(each.seconds[1:]) for each in one]) for one in passes]


def _fitted(steps: list[tuple[int, int]], reads: tuple[int, ...], took: list[float]) -> Pace:
    step = _fit([(1, n, n * length) for n, length in steps], took[: len(steps)])
    read = _fit([(1, new, new * new / 2) for new in reads], took[len(steps) :])
    return Pace(*step, *read)


class _Pass:
    """One kind of pass: `new` tokens for each of `rows` sequences behind `held` positions."""

    def __init__(self, model: nn.Module, rows: int, new: int, held: int, bits: int | None) -> None:
        self.model, self.held, self.seconds = model, held, []
        self.cache = SlotCache(rows, held + new, bits=bits)
        self.cache.rows = rows
        dice = torch.Generator().manual_seed(0)
        draw = lambda n: torch.randint(1, vocabulary_of(model), (rows, n), generator=dice)  # noqa: E731
        device = first_weight(model).device
        self.tokens: Tensor = draw(new).to(device)
        if held:
            feed(model, draw(held).to(device), self.cache)

    def once(self, clock: Callable[[], float]) -> None:
        self.cache.lengths[:] = self.held
        if self.cache.rows > 1:
            self.cache.lengths[1] -= 1  # as in a replay: rows differ, and a mask is needed
        began = clock()
        feed(self.model, self.tokens, self.cache)[:, -1].argmax(-1).tolist()
        self.seconds.append(clock() - began)


def _fit(terms: list[tuple[float, ...]], seconds: list[float]) -> list[float]:
    """Least squares of relative errors; a term that would be negative is left out."""
    x = torch.tensor(terms, dtype=torch.float64) / torch.tensor(seconds)[:, None].double()
    kept = list(range(x.shape[1]))
    while True:
        found = torch.linalg.lstsq(x[:, kept], torch.ones(len(x), 1).double()).solution[:, 0]
        if (found >= 0).all() or len(kept) == 1:
            break
        kept.pop(int(found.argmin()))
    values = [0.0] * x.shape[1]
    for i, value in zip(kept, found.tolist()):
        values[i] = max(value, 0.0)
    return values
