"""To reach a given loss with a batch of `batch` takes about `fewest_steps * (1 + critical / batch)`
steps, where `critical` is the critical batch size. Write `examples(batch, critical, fewest_steps)`:
how many examples that reads in all.

Why: steps times batch, which is `fewest_steps * (batch + critical)`. Far below the critical batch
the examples stay the same and larger batches only save time; far above it they grow with the batch,
and so does the bill.
"""


def examples(batch: float, critical: float, fewest_steps: float) -> float:
    """Examples read until the loss is reached."""
    steps = fewest_steps * (1 + critical / batch)
    return steps * batch


answer = examples
