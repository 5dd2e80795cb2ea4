"""Seconds of one exchange among devices: a start (alpha) and bytes over bandwidth (beta).

Bandwidth-optimal algorithms are assumed: a ring, or a tree with the same traffic, so that among n
devices each sends (n - 1) / n of the bytes once (reduce-scatter, all-gather, all-to-all) or twice
(all-reduce). See Thakur et al. 2005, doi:10.1177/1094342005051521. A group that spans nodes first
works inside each of them, then between them over every device's share of the network at once.
Taught in: notebooks/07_data_parallel.ipynb.
"""

import math

from costlab.estimate.checks import amount, number, whole
from costlab.estimate.devices import LINK_LATENCY, NETWORK_LATENCY, Accelerator


def _group(chip: Accelerator, devices: int, beside: int | None) -> tuple[int, int, int]:
    """(devices, of them in one node, nodes); `beside` of the group in each node."""
    devices = whole("devices", devices, most=10**7)
    most = min(devices, chip.node_size)
    inside = most if beside is None else min(most, whole("beside", beside, most=10**7))
    return devices, inside, math.ceil(devices / inside)


def _rounds(devices: int) -> int:
    """Messages one after another: a tree for the start, whatever carries the bytes."""
    return math.ceil(math.log2(devices)) if devices > 1 else 0


def reduce_scatter(
    chip: Accelerator, size: float, devices: int, *, beside: int | None = None, share: float = 1.0
) -> float:
    """Seconds to sum `size` bytes held by each of `devices`, each keeping its part of the sum.

    Args:
        chip: the device and its links.
        size: bytes on each device before.
        devices: in the group.
        beside: how many of the group share a node [as many as a node holds].
        share: of the links' bandwidth that is attained.

    Taught in: notebooks/09_gradient_parallel.ipynb.
    """
    size, share = amount("size", size), number("share", share, most=1.0)
    devices, inside, nodes = _group(chip, devices, beside)
    near = size * (inside - 1) / inside / (chip.link_gbs * 1e9 * share)
    part = size / inside
    far = part * (nodes - 1) / nodes / (chip.network_gbs * 1e9 * share)
    return near + far + _rounds(inside) * LINK_LATENCY + _rounds(nodes) * NETWORK_LATENCY


def all_gather(
    chip: Accelerator, size: float, devices: int, *, beside: int | None = None, share: float = 1.0
) -> float:
    """Seconds until each of `devices` has all `size` bytes of which it held its part.

    The way back of `reduce_scatter`, and as long; see there for the arguments.

    Taught in: notebooks/09_gradient_parallel.ipynb.
    """
    return reduce_scatter(chip, size, devices, beside=beside, share=share)


def all_reduce(
    chip: Accelerator, size: float, devices: int, *, beside: int | None = None, share: float = 1.0
) -> float:
    """Seconds to sum `size` bytes held by each of `devices`, on each: reduced, then gathered.

    Taught in: notebooks/07_data_parallel.ipynb.
    """
    return 2 * reduce_scatter(chip, size, devices, beside=beside, share=share)


def all_to_all(
    chip: Accelerator, size: float, devices: int, *, beside: int | None = None, share: float = 1.0
) -> float:
    """Seconds until each of `devices` has sent its `size` bytes, an equal part to each other one.

    What leaves the node crosses the network once, and nothing is summed on the way.

    Taught in: notebooks/08_model_parallel.ipynb.
    """
    size, share = amount("size", size), number("share", share, most=1.0)
    devices, inside, _ = _group(chip, devices, beside)
    near = size * (inside - 1) / devices / (chip.link_gbs * 1e9 * share)
    far = size * (devices - inside) / devices / (chip.network_gbs * 1e9 * share)
    start = NETWORK_LATENCY if devices > inside else LINK_LATENCY if devices > 1 else 0.0
    return max(near, far) + start


def send(
    chip: Accelerator, size: float, *, between_nodes: bool = False, share: float = 1.0
) -> float:
    """Seconds to hand `size` bytes from one device to another.

    Taught in: notebooks/08_model_parallel.ipynb.
    """
    size, share = amount("size", size), number("share", share, most=1.0)
    speed = chip.network_gbs if between_nodes else chip.link_gbs
    return size / (speed * 1e9 * share) + (NETWORK_LATENCY if between_nodes else LINK_LATENCY)
