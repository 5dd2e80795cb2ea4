"""Write `factor_in_company(fixed, each, requests, k)`: a step takes `fixed` seconds and `each`
seconds more for every one of its `requests` requests. How many times as cheap does a token get when
the seconds of each request are divided by `k`?

Why: the fixed part is shared by all and stays what it was. Alone it hides what was saved on each
request; in a full batch there is little else.
"""


def factor_in_company(fixed: float, each: float, requests: int, k: float) -> float:
    """Seconds of a step before, over those after."""
    before = fixed + requests * each
    after = fixed + requests * each / k
    return before / after


answer = factor_in_company
