"""A classifier of two matrices with biases, like that of this chapter, is to take at most
`most_bytes` bytes in float32. Write `neurons_for(inputs, outputs, most_bytes)`: the largest number
of neurons between the matrices that fits, which is what to pass to `costlab.shear` as `to`. There
is room for the biases of the outputs, at least.

Why: a neuron takes a row of the first matrix, its bias and a column of the second. The biases of
the outputs belong to no neuron, so they are set aside first. Part of a neuron is no neuron: round
down.
"""


def neurons_for(inputs: int, outputs: int, most_bytes: float) -> int:
    """How many neurons fit, at four bytes a number."""
    numbers = most_bytes // 4
    return int((numbers - outputs) // (inputs + 1 + outputs))


answer = neurons_for
