"""Write `checkpoint_dollars(parameters, steps, every, price)`: what it costs a month to keep every
checkpoint of a run of `steps` steps that writes one after each `every` steps. For each parameter
it holds a bf16 weight, and in float32 a master copy and the optimizer's two running means. `price`
is for a gigabyte of $10^9$ bytes and a month.

Why: two bytes for the weight and three times four for what training needs are fourteen for
each parameter. The number of checkpoints is a whole number: the last steps of a run that is no
multiple of `every` write none.
"""


def checkpoint_dollars(parameters: float, steps: int, every: int, price: float) -> float:
    """Dollars a month for all of them."""
    size = parameters * (2 + 4 + 4 + 4)
    return steps // every * size / 1e9 * price


answer = checkpoint_dollars
