"""Write `on_more(dollars, factor, devices, more)`: what a run that costs `dollars` on `devices`
costs on `more` of them, when each doubling of their number changes the pace of one by `factor`.

Why: at the same pace, twice the devices would be rented for half the time, at the same cost. Each
doubling slows every device down to `factor`, so the hours that are paid for grow by one over it.
"""

import math


def on_more(dollars: float, factor: float, devices: int, more: int) -> float:
    """Dollars of the run on more devices."""
    doublings = math.log2(more / devices)
    return dollars / factor**doublings


answer = on_more
