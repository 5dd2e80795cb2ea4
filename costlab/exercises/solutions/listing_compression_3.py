"""A weight has had one step of stochastic gradient descent with momentum, the optimizer's first,
with gradient `gradient`. Then it is frozen as the listing does, and its gradient is left in place.
Write `moved(gradient, rate, momentum, steps)`: how far the next `steps` steps move it, when
`rate` is the learning rate. The optimizer adds `rate` times its velocity, and the velocity becomes
`momentum` times what it was, plus the gradient; the first step leaves it equal to the gradient.

Why: the optimizer asks for a gradient, finds the old one, and takes it again and again, and its
velocity grows on. Freezing stops new gradients; it does not remove the last.
"""


def moved(gradient: float, rate: float, momentum: float, steps: int) -> float:
    """The way of a frozen weight whose old gradient nobody removed."""
    velocity = gradient
    way = 0.0
    for _ in range(steps):
        velocity = momentum * velocity + gradient
        way += rate * velocity
    return way


answer = moved
