"""A ring of N processes adds up gradients in 2(N-1) steps, in each of which a process passes on one
chunk, an N-th of them. Write `sent(parameters, processes)`: the bytes that each process sends in
one step of training, with 4 bytes to a gradient.

Why: N-1 steps make the sums and N-1 hand them out, one chunk each. With more processes there are
more steps and smaller chunks, and the product stays just under twice the gradients.
"""


def sent(parameters: int, processes: int) -> float:
    """Bytes that one process sends."""
    chunk = 4 * parameters / processes
    return 2 * (processes - 1) * chunk


answer = sent
