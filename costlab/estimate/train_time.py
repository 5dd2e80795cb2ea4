"""Seconds of one training step: products, memory traffic, attention, exchanges, bubble, update.

The expressions are in `formulas.json` (`training_layer`, `training_step`), the few fitted
coefficients in `training_constants.json`, which `experiments/cost_model.py` fits to the published
paces in the catalog. Taught in: notebooks/02_compute.ipynb.
"""

import json
import math
from collections.abc import Mapping
from functools import cache
from importlib.resources import files

from costlab.estimate.devices import BITS, Accelerator
from costlab.estimate.formulas import formula
from costlab.estimate.layout import Layout
from costlab.estimate.serve_time import matmul_share
from costlab.estimate.transformer import Transformer

LOGIT_BYTES = 16  # of memory traffic a logit: written, read by the loss, and its gradient


@cache
def _file() -> dict:
    text = files(__package__).joinpath("training_constants.json").read_text(encoding="utf-8")
    return json.loads(text)


def constants() -> dict[str, float]:
    """The coefficients, fitted and given, with what each one means in the file."""
    return _file()["constants"]


def residuals() -> dict[str, list[float]]:
    """Percentiles of log(measured / predicted pace), by kind of run; see `intervals`."""
    return _file()["residuals"]


def kind_of(model: Transformer, precision: str) -> str:
    """Of which runs the residuals apply: "low" for 8 or 4 bits or experts, else "dense"."""
    return "low" if BITS[precision] < 16 or model.moe_layers else "dense"


def rates(chip: Accelerator, precision: str, known: Mapping[str, float]) -> dict[str, float]:
    """What `chip` attains: operations per second of products and attention, bytes per second."""
    wide = precision if precision in ("fp32", "tf32") else "bf16"
    share = matmul_share(chip, known) * (1 if chip.measured else known["products_share"])
    narrow = BITS[precision] < 16
    lost = {8: known["fp8_share"], 4: known["fp4_share"]}.get(BITS[precision], 1.0)
    return {
        "narrow": float(narrow),
        "peak": chip.peak_flops(precision) * share * lost,
        "peak_wide": chip.peak_flops(wide) * share,
        "peak_attention": chip.peak_flops(wide) * share * known["attention_share"],
        "bandwidth": chip.bandwidth_gbs * 1e9 * (1 if chip.measured else known["bandwidth_share"]),
    }


def links(chip: Accelerator, lay: Layout, known: Mapping[str, float]) -> dict[str, float]:
    """Bytes per second that each kind of exchange attains, one way, per device."""
    near, far = chip.link_gbs * 1e9 * known["link_share"], chip.network_gbs * 1e9
    far *= known["network_share"]
    inside = lambda group: group <= chip.node_size  # noqa: E731
    peers = lay.data * lay.context  # replicas of a stage's weights
    beside = max(1, min(peers, chip.node_size // lay.tensor))  # of them, in one node
    return {
        "link": near if inside(lay.tensor) else far,
        "latency": known["link_latency"] if inside(lay.tensor) else known["network_latency"],
        "ring_link": near if inside(lay.tensor * lay.context) else far,
        "expert_link": near if inside(lay.tensor * lay.expert) else far,
        "data_link": near if inside(lay.tensor * peers) else min(near, beside * far),
        "stage_link": near if inside(lay.devices) else far,
    }


@cache
def shape_inputs(model: Transformer) -> dict[str, float]:
    """Averages over the layers of `model`: weights, widths, operations of attention."""
    sparse = model.moe_layers / model.layers
    dense, with_experts = model.layer_matrices
    expert = (3 if model.gated else 2) * model.hidden * model.expert_ffn if sparse else 0
    active = expert * model.experts_active
    inner = model.experts_active * model.expert_ffn + model.shared_ffn
    keys = model.kv_heads * (model.head_dim + model.value_dim)
    return {
        "dense": (1 - sparse) * dense + sparse * (with_experts - active),
        "active": sparse * active,
        "routed": sparse * expert * model.experts,
        "hidden": model.hidden,
        "inner": (1 - sparse) * model.ffn + sparse * inner,
        "queries": model.heads * (model.head_dim + model.rope_dim) + keys,
        "attention_flops": model.attention_flops,
        "sparse": sparse,
    }


def local_params(model: Transformer, lay: Layout) -> tuple[float, float]:
    """Parameters on one device before data parallelism: (all but routed experts, routed)."""
    routed = model.moe_layers * model.experts * model.expert_params
    shared = (model.params - routed) / lay.tensor / lay.pipeline
    return shared, routed / lay.tensor / lay.pipeline / lay.expert


def trainable(model: Transformer, lay: Layout) -> tuple[float, float]:
    """Of `local_params`, those that are trained: with adapters, theirs alone."""
    if lay.adapters is None:
        return local_params(model, lay)
    return adapter_params(model, lay.adapters) / lay.tensor / lay.pipeline, 0.0


def adapter_params(model: Transformer, rank: int) -> float:
    """Parameters of adapters of `rank` on the matrices of attention (arXiv:2106.09685)."""
    q, kv = model.heads * model.head_dim, model.kv_heads * model.head_dim
    sides = 4 * model.hidden + 2 * q + 2 * kv  # inputs and outputs of four matrices
    return float(model.layers * rank * sides)


def _exchanged(model: Transformer, lay: Layout) -> dict[str, float]:
    """Bytes that replicas exchange: for every micro-batch, and once a step."""
    shared, routed = local_params(model, lay)
    peers = lay.data * lay.context
    away, experts_away = 1 - 1 / peers, 1 - lay.expert / peers
    trained = trainable(model, lay)
    moved = shared * away + routed * experts_away
    learned = trained[0] * away + trained[1] * experts_away
    if lay.zero == 3:
        return {"gather_bytes": 4 * moved + 2 * learned, "reduce_bytes": 0.0}
    return {"gather_bytes": 0.0, "reduce_bytes": 4 * learned}


def step_parts(
    model: Transformer, chip: Accelerator, lay: Layout, known: Mapping[str, float] | None = None
) -> dict[str, dict[str, float]]:
    """Every step of the two formulas, in seconds: {"layer": …, "head": …, "step": …}.

    Args:
        model, chip, lay: resolved and checked.
        known: coefficients instead of the fitted ones.
    """
    known = known or constants()
    shape, rate = shape_inputs(model), rates(chip, lay.precision, known)
    link = links(chip, lay, known)
    tokens = lay.micro_batch * lay.sequence / lay.context
    layer = formula("training_layer")(
        **shape,
        **rate,
        **link,
        tokens=tokens,
        attended=model.attended(lay.sequence / 2) / model.layers,
        tensor=lay.tensor,
        held=shape["routed"] / lay.expert,
        frozen=float(lay.adapters is not None),
        again=float(lay.recompute == "full"),
        attend_again=float(lay.recompute == "selective"),
        expert_share=known["expert_share"],
        unfused=known["unfused"],
        exchange_bytes=_sent(model, chip, lay) * shape["sparse"] * model.hidden,
        ring_elements=(lay.context - 1) * model.kv_values,
        launch=known["launch"],
    )
    head = _head(model, lay, rate, tokens)
    trained = trainable(model, lay)
    peers = lay.data * lay.context if lay.zero else 1
    step = formula("training_step")(
        **_exchanged(model, lay),
        layer=layer["seconds"],
        head=head,
        layers=model.layers,
        pipeline=lay.pipeline,
        interleave=lay.interleave if lay.pipeline > 1 else 1,
        micro_batches=lay.micro_batches,
        send=2 * 2 * tokens * model.hidden / lay.tensor / link["stage_link"],
        data_link=link["data_link"],
        owned=trained[0] / peers + trained[1] / max(1, peers / lay.expert),
        update_bytes=30,
        bandwidth=rate["bandwidth"],
        overlap=known["overlap"],
        straggle=known["straggle"],
        doublings=max(0.0, math.log2(lay.devices / chip.node_size)),
        fixed=known["fixed"],
    )
    return {"layer": layer, "head": {"seconds": head}, "step": step}


def _sent(model: Transformer, chip: Accelerator, lay: Layout) -> float:
    """Bytes per number of a token's state that leaves the device for experts on others, one way.

    A token travels once to each node it is needed on, and 8-bit runs send it out in 8 bits.
    """
    groups = (
        lay.expert
        if lay.expert * lay.tensor <= chip.node_size
        else (lay.expert * lay.tensor / chip.node_size)
    )
    reached = groups * (1 - (1 - 1 / groups) ** model.experts_active)
    width = 1.5 if BITS[lay.precision] <= 8 else 2.0
    return width * reached * (1 - 1 / groups)


def _head(model: Transformer, lay: Layout, rate: Mapping[str, float], tokens: float) -> float:
    """Seconds of the last matrix and the loss, forward and back, for one micro-batch."""
    passes = 2 if lay.adapters is not None else 3
    logits = tokens * model.vocab / lay.tensor
    products = passes * 2 * logits * model.hidden / rate["peak_wide"]
    return products + logits * LOGIT_BYTES / rate["bandwidth"]
