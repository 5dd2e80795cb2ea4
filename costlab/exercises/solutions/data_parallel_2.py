"""Each step of the ring waits `latency` seconds and then moves a chunk at `bandwidth` bytes per
second. Write `ring_seconds(payload, processes, latency, bandwidth)`: how long an all-reduce of
`payload` bytes takes.

Why: the part with the bandwidth hardly changes with the number of processes. The part with the
latency grows with it, which is why large groups replace the ring by trees, and send few, large
buckets.
"""


def ring_seconds(payload: float, processes: int, latency: float, bandwidth: float) -> float:
    """Seconds of a ring all-reduce."""
    steps = 2 * (processes - 1)
    return steps * (latency + payload / processes / bandwidth)


answer = ring_seconds
