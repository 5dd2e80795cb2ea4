"""Write `rise_alone(weight, mean, deviation)`: how much the error of a layer rises, half the mean
of the squared change of an output, when one weight goes and the others stay. Over a text, the input
of this weight has the given mean and standard deviation.

Why: without the weight, the output is off by weight x input each time. Half the mean of its square
is half of weight^2 times the mean square of the input, which is mean^2 + deviation^2.
"""


def rise_alone(weight: float, mean: float, deviation: float) -> float:
    """Half of w^2 H_qq."""
    mean_square = mean**2 + deviation**2
    return weight**2 * mean_square / 2


answer = rise_alone
