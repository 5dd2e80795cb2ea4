"""Write `training_bytes(weights, bits, trained)`: the bytes held while adapters are trained
beside `weights` frozen weights of `bits` bits each. There are `trained` trained parameters; they,
their gradients and AdamW's two running means are in float32. Leave the activations out.

Why: a frozen weight is only read. A trained parameter takes four bytes for itself, four for its
gradient and four for each of two means.
"""


def training_bytes(weights: float, bits: float, trained: float) -> float:
    """Frozen weights, and sixteen bytes for each trained parameter."""
    frozen = weights * bits / 8
    return frozen + 16 * trained


answer = training_bytes
