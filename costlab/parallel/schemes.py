"""What each way of being parallel costs: memory, bytes sent and idle time, on one page.

Taught in: notebooks/08_model_parallel.ipynb.
"""

from __future__ import annotations

from dataclasses import dataclass

from costlab.estimate import Transformer

STATE_BYTES = 16  # a parameter in mixed precision with Adam: 2 + 2 + 12 (arXiv:1910.02054)
WIDE = 2  # bytes of a number on its way, bf16


@dataclass(frozen=True)
class Scheme:
    """One way to spread a step over devices, per device.

    Attributes:
        name: "data", "gradient", "fsdp", "tensor" or "pipeline".
        memory: bytes of parameters, gradients and optimizer states.
        sent: bytes it sends in a step.
        exchanges: one after another in a step, each of which costs a start.
        bubble: share of the step in which it is idle for want of work.
    """

    name: str
    memory: float
    sent: float
    exchanges: int
    bubble: float


def schemes(
    model: Transformer, *, devices: int, tokens: int, microbatches: int = 1
) -> list[Scheme]:
    """Each scheme alone on `devices`, for a step over `tokens` tokens in all.

    microbatches: parts of each device's tokens (of the whole batch, for tensor and pipeline). Dense
    models, bf16, Adam; activations and padding left out. Data and gradient parallel exchange once a
    step, fsdp gathers layer by layer in each pass.

    Raises ValueError unless devices, tokens and microbatches are at least 1.
    Taught in: notebooks/08_model_parallel.ipynb.
    """
    given = {"devices": devices, "tokens": tokens, "microbatches": microbatches}
    for name, value in given.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")
    size, away = WIDE * model.params, (devices - 1) / devices
    state = WIDE * tokens * model.hidden  # what one block hands to the next, of all tokens
    whole, cut = STATE_BYTES * model.params, STATE_BYTES * model.params / devices
    weights = WIDE * model.params  # what stage 2 leaves whole
    m, layers = microbatches, model.layers
    return [
        Scheme("data", whole, 2 * size * away, 1, 0.0),
        Scheme("gradient", weights + cut - weights / devices, 2 * size * away, 2, 0.0),
        Scheme("fsdp", cut, 3 * m * size * away, 3 * m * layers, 0.0),
        Scheme("tensor", cut, 8 * layers * state * away, 4 * m * layers, 0.0),
        Scheme("pipeline", cut, 2 * state * away, 2 * (m + devices - 1),
               (devices - 1) / (m + devices - 1)),
    ]  # fmt: skip
