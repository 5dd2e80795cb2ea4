"""Torch prunes a layer of `weights` weights by `amount`, as its `l1_unstructured` does. Write
`taken(weights, amount)`: how many weights go. `amount` is a share if it is a `float`, and a count
if it is an `int`. A share is rounded to the nearest whole weight by Python's own `round`.

Why: the type decides. `1` takes one weight and `1.0` takes them all, so a share that comes
from a file or a form should be turned into a `float` before it gets here.
"""


def taken(weights: int, amount: float) -> int:
    """How many of the weights torch sets to zero."""
    return amount if isinstance(amount, int) else round(amount * weights)


answer = taken
