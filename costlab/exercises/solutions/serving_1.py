"""Write `cache_bytes(layers, kv_heads, head_dim, bytes_per_number, tokens)`: the bytes of keys and
values that a model with these shapes keeps for a request of `tokens` tokens.

Why: each layer keeps two vectors for each token and each of its key-and-value heads. The heads that
ask, usually many more, keep nothing: that is why grouped-query attention has few of the others.
"""


def cache_bytes(
    layers: int, kv_heads: int, head_dim: int, bytes_per_number: float, tokens: int
) -> float:
    """Keys and values, in every layer."""
    numbers = 2 * layers * kv_heads * head_dim
    return numbers * bytes_per_number * tokens


answer = cache_bytes
