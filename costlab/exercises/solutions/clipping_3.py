"""Write `zeros_needed(value_bytes, index_bytes)`: the share of zeros at which a sparse format that
keeps, for each weight that is not zero, its value and an index, takes as many bytes as storing all
values.

Why: a kept weight takes value and index, so the kept share times their sum must equal the value's
bytes. With float32 values and 32-bit indices that is half; with half-precision values it is two
thirds.
"""


def zeros_needed(value_bytes: float, index_bytes: float) -> float:
    """The share of zeros at which value and index pay."""
    kept = value_bytes / (value_bytes + index_bytes)
    return 1 - kept


answer = zeros_needed
