"""Go on after a fault: restarts from the last checkpoint, and how often to write one.

Taught in: notebooks/09_gradient_parallel.ipynb.
"""

from __future__ import annotations

import math
import random
from collections.abc import Callable

from costlab.parallel.launch import ParallelError, launch


def launch_until_done(
    fn: Callable, *args: object, restarts: int = 3, **how: object
) -> tuple[list, list[ParallelError]]:
    """Results of `launch(fn, *args, **how)`, started anew when a rank fails; and the errors met.

    fn begins with `load_checkpoint` and saves as it goes: a restart then repeats only the steps
    since the last checkpoint. restarts: how many; the error of the one after that is raised. How
    `torchrun --max-restarts` does it on many machines. Raises ParallelError, and ValueError as
    `launch` does. Taught in: notebooks/09_gradient_parallel.ipynb.
    """
    if not isinstance(restarts, int) or isinstance(restarts, bool) or restarts < 0:
        raise ValueError(f"restarts must be a whole number of at least 0, got {restarts!r}")
    met: list[ParallelError] = []
    while True:
        try:
            return launch(fn, *args, **how), met
        except ParallelError as error:
            met.append(error)
            if len(met) > restarts:
                raise


def checkpoint_interval(*, save: float, mtbf: float) -> float:
    """Seconds of work between checkpoints that lose least (Young 1974, Daly 2006).

    save: seconds to write one. mtbf: mean seconds between failures of the whole job, which is that
    of one machine over their number. Young's sqrt(2 save mtbf), with Daly's terms for savings that
    are not small against the mtbf; from save = 2 mtbf on it is the mtbf.
    """
    _check(save=save, mtbf=mtbf)
    if save >= 2 * mtbf:
        return mtbf
    small = save / (2 * mtbf)
    return math.sqrt(2 * save * mtbf) * (1 + math.sqrt(small) / 3 + small / 9) - save


def time_with_failures(
    work: float, *, interval: float, save: float, restart: float, mtbf: float
) -> float:
    """Expected seconds that `work` seconds take, failures at random (Daly 2006).

    interval: seconds of work between checkpoints. restart: seconds until a failed job works again.
    A failure may come while it works, saves or restarts, at any moment alike.
    """
    _check(work=work, interval=interval, save=save, mtbf=mtbf)
    _check_that_it_ends(interval + save, restart, mtbf)
    tries = math.expm1((interval + save) / mtbf)
    return mtbf * math.exp(restart / mtbf) * tries * work / interval


def simulate_failures(
    work: float, *, interval: float, save: float, restart: float, mtbf: float, seed: int = 0
) -> float:
    """Seconds that `work` seconds took in one simulated run, failures drawn with `seed`.

    As `time_with_failures`, except that nothing is saved after the last piece of work.
    """
    _check(work=work, interval=interval, save=save, mtbf=mtbf)
    _check_that_it_ends(min(interval + save, work), restart, mtbf)
    draw = random.Random(seed)
    clock = done = 0.0
    fails = draw.expovariate(1 / mtbf)
    while done < work:
        piece = min(interval, work - done)
        clock = clock + piece + (save if done + piece < work else 0)
        if clock <= fails:
            done += piece
        while fails < clock:  # it fails before the piece is saved, or again while it restarts
            clock = fails + restart
            fails += draw.expovariate(1 / mtbf)
    return clock


def _check(**given: float) -> None:
    for name, value in given.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ValueError(f"{name} must be a positive number of seconds, got {value!r}")


def _check_that_it_ends(piece: float, restart: float, mtbf: float) -> None:
    number = isinstance(restart, int | float) and not isinstance(restart, bool)
    if not number or not 0 <= restart < math.inf:
        raise ValueError(f"restart must be a number of seconds, at least 0, got {restart!r}")
    for name, seconds in (("interval and save", piece), ("restart", restart)):
        if seconds > 10 * mtbf:
            raise ValueError(
                f"{name} must take at most 10 times the mtbf of {mtbf:g} s, or the work hardly "
                f"ever ends, got {seconds:g} s"
            )
