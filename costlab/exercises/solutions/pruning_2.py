"""Write `zeros_after(share, rounds)`: the share of weights that are zero after `rounds` rounds of
pruning, each of which removes `share` of the weights that are still there.

Why: each round leaves 1 - share of what the last one left. So do lottery tickets, and so does
`torch.nn.utils.prune` when you call it again on the same layer.
"""


def zeros_after(share: float, rounds: int) -> float:
    """What is not left."""
    left = (1 - share) ** rounds
    return 1 - left


answer = zeros_after
