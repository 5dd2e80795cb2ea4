"""Rows for BY_HAND and WRONG of tests/test_exercises.py."""

import math

BY_HAND = {
    "whole_bill.1": [((100, 3, 7), 19), ((10, 4, 5), 1), ((10, 4, 4.5), 0)],
    "whole_bill.2": [((8, 0.5, 16, 2), 4 / 3), ((0, 2, 5, 3), 3)],
    "whole_bill.3": [((100, 50, 2), 4), ((10, 100, 1.25), 0.5)],
}
WRONG = [
    ("whole_bill.1", lambda p, b, a: (1 / b - 1 / a) * p, "round both numbers up"),
    ("whole_bill.1", lambda p, b, a: math.ceil(p * (a - b) / (a * b)), "the difference"),
    ("whole_bill.1", lambda p, b, a: p // b - p // a, "find no machine"),
    ("whole_bill.1", lambda p, b, a: math.ceil(p / a), "How many fewer"),
    ("whole_bill.1", lambda p, b, a: math.ceil(p / (a - b)), "not rates"),
    ("whole_bill.2", lambda f, e, n, k: k, "the fixed part stayed"),
    ("whole_bill.2", lambda f, e, n, k: k * (f + e) / (k * f + e), "a lone request"),
    ("whole_bill.2", lambda f, e, n, k: (k * f + n * e) / k / (f + n * e), "turn it over"),
    ("whole_bill.2", lambda f, e, n, k: k * (f + n * e) / (f + k * n * e), "the fixed part; it"),
    ("whole_bill.3", lambda t, m, f: t * f / m, "still paid"),
    ("whole_bill.3", lambda t, m, f: t / m, "not free afterwards"),
    ("whole_bill.3", lambda t, m, f: t / m / f, "not dearer"),
    ("whole_bill.3", lambda t, m, f: t / (m * f - m), "saves the rest"),
    ("whole_bill.3", lambda t, m, f: m * (1 - 1 / f) / t, "turn it over"),
]
