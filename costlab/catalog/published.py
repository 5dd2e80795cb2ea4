"""Rows about models and about what others published of them: runs, services, qualities, shapes.

They are part of `costlab.catalog.records`, which says what all rows have in common.
"""

from dataclasses import dataclass


@dataclass(frozen=True)
class PublishedRun:
    """A training run as its makers reported it: parameters, tokens, devices, hours, dollars.

    `reported_mfu` (0 to 1) is a training step's; the share of the peak over the whole run is lower
    and follows from `device_hours`. `trust` is read (in the source), second-hand or derived.
    """

    id: str
    model: str
    params: int
    active_params: int
    tokens: int
    accelerator: str | None
    devices: int | None
    device_hours: float | None
    days: float | None
    reported_mfu: float | None
    reported_flops: float | None
    reported_cost: float | None
    trust: str
    note: str
    source: str
    as_of: str

    @property
    def flops(self) -> float:
        """Training operations by the usual estimate: 6 x active parameters x tokens."""
        return 6.0 * self.active_params * self.tokens


@dataclass(frozen=True)
class ServingLedger:
    """A day of a real service: devices on average, tokens in and out, dollars. Prices per 1M."""

    id: str
    service: str
    accelerator: str
    devices: float
    hours: float
    price_per_device_hour: float
    input_tokens: int
    cached_input_tokens: int
    output_tokens: int
    price_input: float
    price_cached_input: float
    price_output: float
    reported_cost: float
    reported_income: float
    note: str
    source: str
    as_of: str


@dataclass(frozen=True)
class ServingResult:
    """A published measurement of serving: `value` in `unit`, at the stated load."""

    kind: str
    model: str
    accelerator: str | None
    devices: int | None
    software: str
    precision: str
    concurrency: int | None
    prompt: int | None
    generate: int | None
    value: float
    unit: str
    note: str
    source: str
    as_of: str


@dataclass(frozen=True)
class TrainingResult:
    """A published figure of training on many devices: `value` in `unit`, at the stated setting."""

    kind: str
    model: str
    params: int
    accelerator: str
    devices: int
    setting: str
    value: float
    unit: str
    note: str
    source: str
    as_of: str


@dataclass(frozen=True)
class QualityResult:
    """A published quality after compression; `group` and `sparsity` where there are some."""

    technique: str
    model: str
    method: str
    bits: int | None
    activation_bits: int | None
    group: int | None
    sparsity: float | None
    metric: str
    dataset: str
    value: float
    note: str
    source: str
    as_of: str


@dataclass(frozen=True)
class ModelShape:
    """The shape of a public model; `params` is exact.

    A mixture of experts has `experts` feed-forward networks a layer (shared ones included), each
    of width `ffn`, and uses `experts_per_token` of them; a dense model has 1 and 1. The columns
    from `gated` on mean what they mean in `costlab.estimate.Transformer`; an empty one is its
    default. `dense_ffn` is the width in the layers without experts, where there are some.
    """

    id: str
    name: str
    params: int
    active_params: int
    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    ffn: int
    vocab: int
    context: int
    experts: int
    experts_per_token: int
    tied_embeddings: bool
    gated: bool
    biases: str
    norm: str
    norms: int | None
    qk_norm: str
    embedding_norm: bool
    positions: int | None
    shared_experts: int | None
    dense_layers: int | None
    dense_ffn: int | None
    moe_every: int | None
    router_bias: bool
    q_rank: int | None
    kv_rank: int | None
    rope_dim: int | None
    value_dim: int | None
    window: int | None
    window_layers: int | None
    sinks: bool
    source: str
    as_of: str


@dataclass(frozen=True)
class TrainingStep:
    """A published pace of training, with the layout it was measured in.

    `model` is an id of the catalog, or empty where the columns from `layers` to `context` give the
    shape. `group` tells independent measurements apart: a table, a round, a page. `tokens_per_s` is
    per device. `trust` is read (in the source), derived (from its step time or FLOP rate), or
    assumed (part of the layout is not published and was set to what the software does by default).
    """

    group: str
    model: str
    layers: int | None
    hidden: int | None
    heads: int | None
    kv_heads: int | None
    ffn: int | None
    vocab: int | None
    gated: bool
    tied: bool
    positions: int | None
    accelerator: str
    devices: int
    tensor: int
    pipeline: int
    context: int
    expert: int
    zero: int | None
    micro_batch: int
    global_batch: int
    sequence: int
    precision: str
    recompute: str
    interleave: int
    adapters: int | None
    tokens_per_s: float
    trust: str
    note: str
    source: str
    as_of: str


@dataclass(frozen=True)
class MemoryPeak:
    """A published peak of memory per device, decimal GB, with the layout it was measured in."""

    group: str
    model: str
    layers: int | None
    hidden: int | None
    heads: int | None
    kv_heads: int | None
    ffn: int | None
    vocab: int | None
    gated: bool
    tied: bool
    positions: int | None
    accelerator: str
    devices: int
    tensor: int
    pipeline: int
    zero: int | None
    micro_batch: int
    global_batch: int
    sequence: int
    precision: str
    recompute: str
    interleave: int
    adapters: int | None
    peak_gb: float
    trust: str
    note: str
    source: str
    as_of: str
