"""Write `step_seconds(parameters, bytes_each, batch, peak, bandwidth)`: the least time of a step
that writes one token for each of `batch` sequences, with `parameters` weights of `bytes_each`
bytes. Leave the cache out.

Why: the weights arrive once, whoever waits for them, and each sequence needs two operations for
each weight. Both go on at the same time, so the longer one counts.
"""


def step_seconds(
    parameters: float, bytes_each: float, batch: int, peak: float, bandwidth: float
) -> float:
    """The floor of a step."""
    computing = 2 * parameters * batch / peak
    carrying = parameters * bytes_each / bandwidth
    return max(computing, carrying)


answer = step_seconds
