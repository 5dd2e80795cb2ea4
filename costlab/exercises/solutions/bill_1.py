"""Write `flops_per_token(parameters)`: the floating-point operations (FLOPs) that a decoder of
`parameters` weights needs to generate one token. Leave attention to earlier tokens aside.

Why: every weight is multiplied once by an input and the product is added to a sum, which makes two
operations for each parameter. Training on a token needs three times as much, because the backward
pass costs twice the forward pass.
"""


def flops_per_token(parameters: float) -> float:
    """Operations to generate one token: two for each parameter."""
    return 2 * parameters


answer = flops_per_token
