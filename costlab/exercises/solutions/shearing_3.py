"""Write `speedup(share, factor)`: how many times as fast a model gets when a part that takes the
share `share` of its time, from 0 to 1, gets `factor` times as fast.

Why: times add up, speeds do not. The rest takes what it took, the part takes its share divided by
the factor, and the speed is one over their sum.
"""


def speedup(share: float, factor: float) -> float:
    """Amdahl's law."""
    rest = 1 - share
    part = share / factor
    return 1 / (rest + part)


answer = speedup
