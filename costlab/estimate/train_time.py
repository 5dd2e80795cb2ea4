"""Seconds of one training step: products, memory traffic, attention, exchanges, bubble, update.

The expressions are in `formulas.json` (`training_layer`, `training_step` and what leads to them:
a token travels once to each node whose experts it needs, in 8-bit runs out in 8 bits; a logit is
written, read by the loss, and its gradient). The few fitted coefficients are in
`training_constants.json`, which `experiments/cost_model.py` fits to the published paces in the
catalog. Taught in: notebooks/02_compute.ipynb.
"""

from collections.abc import Mapping
from functools import cache

from costlab.estimate.devices import BITS, Accelerator
from costlab.estimate.formulas import fitted, formula
from costlab.estimate.layout import Layout
from costlab.estimate.serve_time import matmul_share
from costlab.estimate.transformer import Transformer

UPDATE_BYTES = 30  # read and written for each parameter that is updated


def constants() -> dict[str, float]:
    """The coefficients, fitted and given, with what each one means in the file."""
    return fitted("training")["constants"]


def residuals() -> dict[str, list[float]]:
    """Percentiles of log(measured / predicted pace), by kind of run; see `intervals`."""
    return fitted("training")["residuals"]


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


@cache
def shape_inputs(model: Transformer) -> dict[str, float]:
    """What the formulas ask of `model`: its counts, and averages over its layers."""
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
        "inner": (1 - sparse) * model.ffn + sparse * inner,
        "queries": model.heads * (model.head_dim + model.rope_dim) + keys,
        "values": model.heads * model.value_dim,
        "sparse": sparse,
        "network_matrices": 3 if model.gated else 2,
        "dense_layer": model.layer_params[0],
        "sparse_layer": model.layer_params[1],
        **{name: getattr(model, name) for name in _COUNTS},
    }


_COUNTS = (
    "layers", "hidden", "vocab", "params", "active_params", "matrix_params", "embedding_params",
    "head_params", "moe_layers", "experts", "experts_active", "expert_params", "attention_flops",
    "kv_values", "window_layers", "window",
)  # fmt: skip


def layout_inputs(model: Transformer, lay: Layout) -> dict[str, float]:
    """What the formulas ask of a layout: its sizes, what is done again, what is trained."""
    return {
        **vars(lay),
        "again": float(lay.recompute == "full"),
        "attend_again": float(lay.recompute == "selective"),
        "adapted": float(lay.adapters is not None),
        "frozen": float(lay.adapters is not None),
        "adapter_params": adapter_params(model, lay.adapters or 0),
    }


def adapter_params(model: Transformer, rank: int) -> float:
    """Parameters of adapters of `rank` on the matrices of attention (arXiv:2106.09685)."""
    q, kv = model.heads * model.head_dim, model.kv_heads * model.head_dim
    sides = 4 * model.hidden + 2 * q + 2 * kv  # inputs and outputs of four matrices
    return float(model.layers * rank * sides)


def step_parts(
    model: Transformer, chip: Accelerator, lay: Layout, known: Mapping[str, float] | None = None
) -> dict[str, dict[str, float]]:
    """Every step of the two formulas, in seconds: {"layer": …, "head": …, "step": …}.

    Args:
        model, chip, lay: resolved and checked.
        known: coefficients instead of the fitted ones.
    """
    known = known or constants()
    given = {**known, **shape_inputs(model), **layout_inputs(model, lay)}
    given |= rates(chip, lay.precision, known)
    given |= {name: getattr(chip, name) for name in ("link_gbs", "network_gbs", "node_size")}
    given |= formula("training_links")(**given)
    given |= formula("training_share")(**given)
    given["attended"] = model.attended(lay.sequence / 2) / model.layers
    layer = formula("training_layer")(**given)
    head = formula("training_head")(**given)
    given |= {"layer": layer["seconds"], "head": head["seconds"], "interleave": given["parts"]}
    step = formula("training_step")(**given, update_bytes=UPDATE_BYTES)
    return {"layer": layer, "head": {"seconds": head["seconds"]}, "step": step}
