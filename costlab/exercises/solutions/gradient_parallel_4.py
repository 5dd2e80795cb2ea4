"""Write `largest_share(ranks, value_bytes, index_bytes)`: the share of a gradient's entries up to
which sending them with their indices, in an all-gather, sends no more than a dense all-reduce of
all values. Each rank picks entries of its own, so that each must hear those of all the others.

Why: a dense all-reduce sends twice (n - 1) / n of all values. In the all-gather a rank passes on
n - 1 lists, each a share of the entries with their indices. Set the two equal: n - 1 and the
number of entries cancel.
"""


def largest_share(ranks: int, value_bytes: float, index_bytes: float) -> float:
    """The share at which both ways send the same."""
    return 2 * value_bytes / (value_bytes + index_bytes) / ranks


answer = largest_share
