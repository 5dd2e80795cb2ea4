"""Write `bytes_per_rank(parameters, ranks, stage)`: the bytes that each of `ranks` devices holds in
mixed precision at ZeRO stage 1, 2 or 3. A parameter takes 2 bytes, its gradient 2, and the
optimizer's part 12: a copy of the weight in 32 bits and Adam's two averages.

Why: stage 1 divides the optimizer's twelve bytes by the ranks, stage 2 the gradient's two as well,
stage 3 the parameter's two as well. What is not divided, every rank holds whole.
"""


def bytes_per_rank(parameters: float, ranks: int, stage: int) -> float:
    """Bytes for parameters, gradients and optimizer on one device."""
    weight = 2 / ranks if stage >= 3 else 2
    gradient = 2 / ranks if stage >= 2 else 2
    optimizer = 12 / ranks
    return parameters * (weight + gradient + optimizer)


answer = bytes_per_rank
