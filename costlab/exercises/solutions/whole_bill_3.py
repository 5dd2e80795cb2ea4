"""Write `months_to_repay(training, month, factor)`: a step costs `training` dollars once. It makes
a service that costs `month` dollars a month `factor` times as cheap. After how many months is it
paid?

Why: a factor is no saving. What is saved each month is the bill before less the bill after, and the
training is divided by that.
"""


def months_to_repay(training: float, month: float, factor: float) -> float:
    """Months, and parts of one."""
    saved = month - month / factor
    return training / saved


answer = months_to_repay
