"""Write `tensor_bytes(tokens, width, layers, ranks)`: the bytes that one of `ranks` processes sends
for a step of tensor parallel, forward and backward, over `tokens` tokens. The model has `layers`
blocks, each of which hands on `width` numbers of 16 bits for a token.

Why: attention and MLP each end in an all-reduce of what they hand on, and each begins with one in
the backward pass. An all-reduce sends (ranks - 1) / ranks of its bytes twice.
"""


def tensor_bytes(tokens: int, width: int, layers: int, ranks: int) -> float:
    """Bytes that leave one process in a step."""
    handed_on = 2 * tokens * width
    sums = 4 * layers
    return sums * 2 * handed_on * (ranks - 1) / ranks


answer = tensor_bytes
