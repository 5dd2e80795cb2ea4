"""Write `dollars_per_megabyte(dollars, bytes_per_token)`: a model asks `dollars` for a million
tokens written, and a token of its tokenizer stands for `bytes_per_token` bytes of your text on
average. What does a megabyte (a million bytes) of text cost?

Why: a megabyte is a million / bytes_per_token tokens, and `dollars` buys a million of them.
"""


def dollars_per_megabyte(dollars: float, bytes_per_token: float) -> float:
    """Dollars for a million bytes of text."""
    return dollars / bytes_per_token


answer = dollars_per_megabyte
