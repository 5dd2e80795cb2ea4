"""Write `months_to_repay(training_dollars, teacher_month, student_month)`: after how many whole
months in service the student has saved what its training cost. `teacher_month` and `student_month`
are the dollars that serving either takes in a month. Where nothing is saved, return `math.inf`.

Why: a month saves the difference of the two bills. The months are rounded up, because after one
fewer something would still be owed; and what saves nothing never repays anything.
"""

import math


def months_to_repay(training_dollars: float, teacher_month: float, student_month: float) -> float:
    """Whole months until the savings have paid for the training."""
    saved = teacher_month - student_month
    if saved <= 0:
        return math.inf
    return math.ceil(training_dollars / saved)


answer = months_to_repay
