"""Write `bytes_sent(size, ranks, stage, passes)`: the bytes that a rank sends in a step at ZeRO
stage 1, 2 or 3. The weights take `size` bytes, so do the gradients, and the step accumulates over
`passes` forward and backward passes.

Why: every reduction and every gathering sends size (ranks - 1) / ranks. Stage 1 has one of each.
Stage 2 reduces after every pass and gathers once. Stage 3 gathers in every forward pass, again in
every backward pass, and reduces after it.
"""


def bytes_sent(size: float, ranks: int, stage: int, passes: int) -> float:
    """Bytes that leave one rank in a step."""
    collectives = {1: 2, 2: passes + 1, 3: 3 * passes}[stage]
    return collectives * size * (ranks - 1) / ranks


answer = bytes_sent
