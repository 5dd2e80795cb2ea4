"""Memory of one device in training: weights, gradients, optimizer, activations, logits, workspace.

Model states follow ZeRO (arXiv:1910.02054), activations Korthikanti et al. (arXiv:2205.05198) for
today's blocks: attention fused, no dropout. Large runs also split along the sequence what the
devices of a layer would each keep whole; a single node without stages rarely does.
Taught in: notebooks/02_compute.ipynb.
"""

import math

from costlab.estimate.devices import BITS
from costlab.estimate.layout import Layout
from costlab.estimate.train_time import adapter_params, shape_inputs
from costlab.estimate.transformer import Transformer

GIB = 2**30
WORKSPACE_GIB = 0.6  # the runtime's context, buffers of exchanges, what the allocator loses
FROZEN = {8: 1.0, 4: 0.75}  # bytes of a frozen weight in 8 and 4 bits, scales and copies included
UNPACKING = 1.25  # activations over frozen 4-bit weights: their inputs are kept twice
LOGIT_BYTES = 12  # kept a logit: in 16 bits, in 32 for the loss, and its gradient
SUM_BYTES = 2  # more a gradient while they are summed in 32 bits
NODE = 8  # devices up to which activations are not split along the sequence
MOMENTS = 12  # bytes a trained parameter: copy in 32 bits and two moments of Adam


def training_memory(model: Transformer, lay: Layout) -> dict[str, float]:
    """GiB on the fullest device, by what they hold.

    Args:
        model, lay: resolved and checked.
    """
    shared, routed, largest = _stage_params(model, lay)
    wide = 4 if BITS[lay.precision] == 32 else 2
    peers = lay.data * lay.context
    spread, spread_routed = _shards(peers, peers // lay.expert)
    trained = (shared, routed)
    frozen = wide
    if lay.adapters is not None:
        trained = (adapter_params(model, lay.adapters) / lay.tensor / lay.pipeline, 0.0)
        frozen = FROZEN.get(BITS[lay.precision], wide)
    whole = frozen * (shared + routed) + (wide * trained[0] if lay.adapters is not None else 0)
    weights, gathered = whole, 0.0
    if lay.zero == 3:
        weights = whole * (shared / spread + routed / spread_routed) / (shared + routed)
        gathered = min(whole - weights, 2 * frozen * largest)
    kept = sum(_cut(trained, (spread, spread_routed), lay.zero >= 2))
    summing = SUM_BYTES * kept if wide == 2 and lay.adapters is None else 0.0
    moments = MOMENTS - (4 if wide == 4 else 0)
    states = moments * sum(_cut(trained, (spread, spread_routed), lay.zero >= 1))
    parts = {
        "weights": weights,
        "gradients": wide * kept,
        "optimizer": states,
        **_fullest(model, lay, wide),
        "workspace": gathered + summing + WORKSPACE_GIB * GIB,
    }
    return {name: value / GIB for name, value in parts.items()}


def _shards(peers: int, expert_peers: int) -> tuple[int, int]:
    return peers, max(1, expert_peers)


def _cut(counts: tuple[float, float], shards: tuple[int, int], cut: bool) -> tuple[float, float]:
    """Parameters a device keeps of `counts` where they are sharded, or all of them."""
    return tuple(c / s if cut else c for c, s in zip(counts, shards, strict=True))


def _tokens(lay: Layout) -> float:
    return lay.micro_batch * lay.sequence / lay.context


def _stage_params(model: Transformer, lay: Layout) -> tuple[float, float, float]:
    """Parameters of the fullest stage on one device: (shared, routed), and of its largest layer."""
    layers = math.ceil(model.layers / lay.pipeline)
    sparse = min(layers, model.moe_layers)
    dense_layer, sparse_layer = model.layer_params
    experts = model.experts * model.expert_params
    edge = model.embedding_params + model.head_params
    if lay.pipeline > 1:
        edge = max(model.embedding_params, model.head_params)
    if lay.pipeline == 1:
        shared = model.params - model.moe_layers * experts
    else:
        shared = (layers - sparse) * dense_layer + sparse * (sparse_layer - experts) + edge
    largest = max(dense_layer, sparse_layer - experts + experts / lay.expert)
    if not model.moe_layers:
        largest = dense_layer
    routed = sparse * experts / lay.expert if sparse else 0.0
    return shared / lay.tensor, routed / lay.tensor, largest / lay.tensor


def _fullest(model: Transformer, lay: Layout, wide: int) -> dict[str, float]:
    """Bytes of activations and of logits in the stage where they are most together.

    The first stage holds the most micro-batches, the last one holds the logits.
    """
    layers = math.ceil(model.layers / lay.pipeline)
    ahead = 1 + (lay.pipeline - 1) / (lay.pipeline * lay.interleave) if lay.interleave > 1 else 1
    first = min(lay.micro_batches, lay.pipeline * (ahead if lay.pipeline > 1 else 1))
    logits = _tokens(lay) * model.vocab / lay.tensor * LOGIT_BYTES
    layer, kept = layer_bytes(model, lay), 2 * model.hidden / (lay.tensor if _split(lay) else 1)
    if lay.adapters is not None and BITS[lay.precision] == 4:
        layer *= UNPACKING

    def held(under_way: float) -> float:
        each = kept if lay.recompute == "full" else layer
        return _tokens(lay) * (layers * under_way * each + layer) * wide / 2

    if lay.pipeline == 1 or held(1) + logits > held(first):
        return {"activations": held(1), "logits": logits}
    return {"activations": held(first), "logits": 0.0}


def _split(lay: Layout) -> bool:
    """Whether norms and residuals are split along the sequence (Megatron's sequence parallel)."""
    return lay.devices > NODE or lay.pipeline > 1


def layer_bytes(model: Transformer, lay: Layout) -> float:
    """Bytes that one token leaves in one layer of a device, in 16 bits, for the way back."""
    shape = shape_inputs(model)
    inner = (3 if model.gated else 2) * shape["inner"]
    heads = shape["queries"] + model.heads * model.value_dim
    sent = shape["sparse"] * 2 * model.experts_active * model.hidden
    whole = 4 * model.hidden / (lay.tensor if _split(lay) else 1)
    return 2 * (whole + (heads + inner + sent) / lay.tensor)
