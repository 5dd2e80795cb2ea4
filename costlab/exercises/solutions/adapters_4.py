"""Write `step_share(weights, trained)`: the operations of a training step with adapters as a share
of those of full training, 6 for each weight and token. There are `weights` frozen weights and
`trained` parameters in adapters. Each of the three products of a step, forward, backward to
the inputs and backward to the weights, takes two operations for each parameter.

Why: frozen weights skip the third product, adapters do all three.
"""


def step_share(weights: float, trained: float) -> float:
    """Operations with adapters over those of full training."""
    frozen = 4 * weights
    adapters = 6 * trained
    return (frozen + adapters) / (6 * weights)


answer = step_share
