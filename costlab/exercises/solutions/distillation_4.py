"""Write `stored_bytes(tokens, kept, vocabulary)`: the bytes it takes to store, for each of `tokens`
tokens, the teacher's `kept` largest logits. Each logit takes two bytes, and its index as many
whole bytes as a vocabulary of that size needs. If all logits are kept, they need no index.

Why: an index runs from 0 to `vocabulary - 1`, and the bits of that largest one, rounded up to whole
bytes, are enough for all. Logits in the order of the vocabulary say by their place whose they are.
"""


def stored_bytes(tokens: int, kept: int, vocabulary: int) -> int:
    """Logits and their indices, in bytes."""
    index = 0
    if kept < vocabulary:
        index = ((vocabulary - 1).bit_length() + 7) // 8
    return tokens * kept * (2 + index)


answer = stored_bytes
