"""One process finds the mean gradient `first` over its `rows_first` rows, another `second` over
`rows_second`. Write `off(first, rows_first, second, rows_second)`: the average of the two means,
less the mean gradient of all rows.

Why: in the gradient of the whole batch every row counts the same. The average of two means gives
each *process* the same weight, so that a row of the smaller share counts for more.
"""


def off(first: float, rows_first: int, second: float, rows_second: int) -> float:
    """How far the average of means is from the mean of all rows."""
    rows = rows_first + rows_second
    whole = (rows_first * first + rows_second * second) / rows
    return (first + second) / 2 - whole


answer = off
