"""Write `proximal_step(weight, slope, strength, lr)`: what becomes of one weight in one step of
proximal gradient descent. `slope` is that of the loss alone, `lr` the learning rate, and the
penalty is the lasso with the strength `strength`.

Why: the loss has its step first. What it left is shortened by the learning rate times the
strength, and a weight that is not as long as that becomes zero.
"""


def proximal_step(weight: float, slope: float, strength: float, lr: float) -> float:
    """Down the slope, then towards zero."""
    stepped = weight - lr * slope
    size = max(abs(stepped) - lr * strength, 0)
    return size if stepped > 0 else -size


answer = proximal_step
