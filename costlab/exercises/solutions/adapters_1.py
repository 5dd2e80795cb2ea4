"""Write `adapter_share(inputs, outputs, rank)`: the parameters of an adapter of this rank, as a
share of those of the matrix of `inputs` columns and `outputs` rows that it stands beside.

Why: A has `rank` rows of `inputs`, B has `outputs` rows of `rank`. Beside a matrix of 8192 by
8192 an adapter of rank 16 has less than half a percent of the parameters.
"""


def adapter_share(inputs: int, outputs: int, rank: int) -> float:
    """Parameters of A and B over those of W."""
    adapter = rank * (inputs + outputs)
    return adapter / (inputs * outputs)


answer = adapter_share
