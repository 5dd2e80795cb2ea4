"""Write `neurons_kept(neurons, fraction, multiple)`: how many of `neurons` neurons stay when at
most the share `fraction` may go and the number that stays must be a multiple of `multiple`, which
`neurons` itself is.

Why: rounding up keeps a few neurons more than were asked for, and never removes more. Programs for
matrices work in blocks, and a block that is half full takes as long as a full one.
"""

import math


def neurons_kept(neurons: int, fraction: float, multiple: int) -> int:
    """The next multiple up."""
    blocks = math.ceil(neurons * (1 - fraction) / multiple)
    return blocks * multiple


answer = neurons_kept
