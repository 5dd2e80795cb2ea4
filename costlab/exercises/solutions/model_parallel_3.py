"""Write `bytes_read(experts, active, tokens, expert_bytes)`: how many bytes of experts a layer
reads on average for a batch of `tokens` tokens, each of which draws `active` different ones of
`experts` at random. An expert has `expert_bytes` bytes and is read once, however many tokens need
it.

Why: a token leaves a certain expert out with probability 1 - active / experts, all tokens with that
to their number. What is left is the chance that it is read.
"""


def bytes_read(experts: int, active: int, tokens: int, expert_bytes: float) -> float:
    """Bytes of all experts that at least one token chose."""
    unread = (1 - active / experts) ** tokens
    return experts * (1 - unread) * expert_bytes


answer = bytes_read
