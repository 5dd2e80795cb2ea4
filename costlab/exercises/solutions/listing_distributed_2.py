"""Each process takes `batch` examples of its share at a time; the last batch may be smaller. Write
`steps(examples, batch, processes)`: how many steps one pass over the examples takes.

Why: the processes step together, so that one step takes `batch` examples from each. Twice the
processes at the same `batch` are half the steps, each with a batch that is twice as large in all.
"""

import math


def steps(examples: int, batch: int, processes: int) -> int:
    """Steps of one pass, the last with what is left."""
    share = math.ceil(examples / processes)
    return math.ceil(share / batch)


answer = steps
