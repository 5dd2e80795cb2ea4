"""Write `best_interval(save, machine_mtbf, machines)`: after how many seconds of work to write the
next checkpoint, by Young's formula, when writing one takes `save` seconds and a single machine of
`machines` fails every `machine_mtbf` seconds on average. The job stops when any machine does.

Why: many machines fail as often as one that lasts machine_mtbf / machines. The loss per second of
work, save / t + t / (2 mtbf), is smallest where its two terms are equal.
"""

import math


def best_interval(save: float, machine_mtbf: float, machines: int) -> float:
    """Seconds of work between two checkpoints."""
    mtbf = machine_mtbf / machines
    return math.sqrt(2 * save * mtbf)


answer = best_interval
