"""Write `teacher_share(teacher, student)`: the share of the operations of a training step that is
the teacher's, when both are given in parameters. A forward pass takes 2 operations for each weight
and token, a forward and a backward pass take 6.

Why: the teacher only says what it expects, which is a forward pass, and the student learns. Both
read the same tokens, so their number cancels.
"""


def teacher_share(teacher: float, student: float) -> float:
    """The teacher's part of all operations."""
    forward = 2 * teacher
    learning = 6 * student
    return forward / (forward + learning)


answer = teacher_share
