"""Write `share_removed(p, middles)`: the share of all weights that goes when every hidden layer of
a chain loses the share `p` of its neurons. The chain has a first and a last matrix, whose outer
sides stay, and `middles` matrices between them. All matrices have the same size.

Why: the two at the ends lose p. One in the middle keeps the share 1 - p of its rows, and of these
the share 1 - p of their columns.
"""


def share_removed(p: float, middles: int) -> float:
    """Share of the weights of the whole chain."""
    ends = 2 * p
    between = middles * (1 - (1 - p) ** 2)
    return (ends + between) / (2 + middles)


answer = share_removed
