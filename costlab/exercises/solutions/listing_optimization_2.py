"""You prune in `rounds` calls of torch's `l1_unstructured`, all with the same amount, and train
between them. Each call takes its share of the weights that are left. Write
`amount_each(share, rounds)`: the amount with which the calls together remove `share` of all
weights. Leave rounding aside.

Why: each call leaves $1 - a$ of what it finds, and after $n$ of them $(1 - a)^n$ is left. Set that
equal to what is to be left in the end, and take the $n$-th root.
"""


def amount_each(share: float, rounds: int) -> float:
    """The amount of one call, out of those that remove the share together."""
    return 1 - (1 - share) ** (1 / rounds)


answer = amount_each
