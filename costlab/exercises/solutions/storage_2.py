"""Write `break_even_bandwidth(large, small, decoding)`: the bandwidth, in megabytes per second,
below which a compressed file of `small` megabytes is ready sooner than the plain one of `large`,
when decompressing it takes `decoding` seconds after it has been read.

Why: the plain file is ready after large / B seconds, the compressed one after small / B +
decoding. Set them equal and solve for B: the bytes that you need not read, over the work that they
cost.
"""


def break_even_bandwidth(large: float, small: float, decoding: float) -> float:
    """Megabytes saved, for each second of decoding."""
    return (large - small) / decoding


answer = break_even_bandwidth
