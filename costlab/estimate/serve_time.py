"""Seconds and bytes of one replica that serves a model: prefill, decoding, cache, waiting.

A decoding step reads every weight that its tokens use, once, and every cache, sequence by sequence;
it is as slow as the slower of reading and multiplying, plus the exchanges of tensor parallelism and
a fixed time a layer. Reading a prompt is multiplying. Weights of 4.5 bits or less carry half a bit
more for the scales of their groups (8 bits for 16 weights, as in NVFP4, 16 for 32, and the like),
and an embedding is kept in 16 bits or more. The expressions are in `formulas.json`, the few fitted
coefficients in `serving_constants.json` (`experiments/serving_model.py` fits them).
Taught in: notebooks/17_serving.ipynb.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property

from costlab.estimate.devices import Accelerator
from costlab.estimate.formulas import fitted, formula
from costlab.estimate.transformer import Transformer

GIB = 2**30
# The arithmetic that weights of so many bits are multiplied in, best first.
_ARITHMETIC = (
    (4.5, ("fp4", "bf16", "fp16", "fp32")),
    (8, ("fp8", "int8", "bf16", "fp16", "fp32")),
    (16, ("bf16", "fp16", "fp32")),
    (64, ("fp32", "tf32", "bf16", "fp16")),
)


def constants() -> dict[str, float]:
    """The fitted coefficients, with what each one means in `formulas.json`."""
    return fitted("serving")["constants"]


def residuals(kind: str) -> tuple[float, float]:
    """10th and 90th percentile of measured over predicted, for 'decode' or 'throughput'."""
    return tuple(fitted("serving")["residuals"][kind])


def arithmetic(chip: Accelerator, weight_bits: float) -> str:
    """The precision in which `chip` multiplies weights of `weight_bits`.

    Weights narrower than the chip's arithmetic are widened first, and gain no speed in products.
    """
    known = next(names for most, names in _ARITHMETIC if weight_bits <= most)
    return next((name for name in known if name in chip.tflops), next(iter(chip.tflops)))


def matmul_share(chip: Accelerator, known: Mapping[str, float]) -> float:
    """Share of the data sheet's peak that large bf16 products attain on `chip`.

    Measured where somebody measured it; else the usual share, or less where the power limit
    allows less (operations per joule of its generation, told by the memory it is built with).
    """
    if chip.measured:
        return 1.0
    peak = chip.tflops[arithmetic(chip, 16)]
    if chip.matmul_tflops:
        return min(1.0, chip.matmul_tflops / peak)
    limit = known["tflops_per_watt"] * chip.power_w / peak if chip.power_w else 1.0
    return min(known["usual_share"], limit)


@cache
def model_inputs(m: Transformer) -> dict[str, float]:
    """What the formulas of serving ask of a model.

    A cache is split by heads, none of which is cut in two; engines split the sequences instead
    where heads are few: latent attention, experts. A latent cache is read compressed, at full
    width, so that decoding takes other operations (`decode_flops`) than reading a prompt.
    """
    expert = m.moe_layers * m.expert_params
    latent = 2.0 * m.heads * (2 * m.kv_rank + m.rope_dim)
    return {
        "params": m.params,
        "embedding_params": m.embedding_params,
        "kv_values": m.kv_values,
        "kv_limit": 10**9 if m.latent or m.moe_layers else m.kv_heads,
        "moe": 1 if m.moe_layers else 0,
        "dense": m.matrix_params - expert * m.experts_active,
        "expert": expert,
        "experts": m.experts,
        "active": m.experts_active,
        "layers": m.layers,
        "hidden": m.hidden,
        "routed": m.experts_active if m.moe_layers else 0,
        "inner": m.experts_active * m.expert_ffn + m.shared_ffn if m.moe_layers else m.ffn,
        "attention_flops": m.attention_flops,
        "decode_flops": latent if m.latent else m.attention_flops,
        "last": m.vocab * m.hidden,
    }


def chip_inputs(
    chip: Accelerator, weight_bits: float, known: Mapping[str, float]
) -> dict[str, float]:
    """What the formulas of serving ask of a chip that multiplies weights of `weight_bits`."""
    name = arithmetic(chip, weight_bits)
    share, ideal = matmul_share(chip, known), chip.measured
    narrow = known["fp4_share"] if name == "fp4" else 1.0
    attained = 1.0 if ideal else known["bandwidth_share"]
    wide = chip.tflops[arithmetic(chip, 16)] * 1e12
    quantized = weight_bits < 16 and not ideal and name != "fp4"
    return {
        "peak": chip.tflops[name] * 1e12 * share * narrow * known["matmul_share"],
        "peak_attention": wide * share * known["attention_share"],
        "bandwidth": chip.bandwidth_gbs * 1e9 * attained,
        "weight_share": known["narrow_read_share"] if quantized else 1.0,
    }


@dataclass(frozen=True)
class Replica:
    """One copy of `model` on `tensor` x `pipeline` devices; all times are of the whole copy."""

    model: Transformer
    chip: Accelerator
    tensor: int = 1
    pipeline: int = 1
    weight_bits: float = 16
    kv_bits: float = 16
    known: Mapping[str, float] | None = None

    @property
    def devices(self) -> int:
        """Devices of the replica."""
        return self.tensor * self.pipeline

    # --- bytes

    def _memory(self, tokens: float = 1.0, batch: float = 0.0) -> dict[str, float]:
        """Every step of the formula `serving_memory` for sequences of `tokens` positions."""
        known = self._known
        return formula("serving_memory")(
            **model_inputs(self.model), weight_bits=self.weight_bits, kv_bits=self.kv_bits,
            attended=self.model.attended(tokens), batch=batch, tensor=self.tensor,
            pipeline=self.pipeline, memory_gib=self.chip.memory_gib,
            memory_share=known["memory_share"],
            workspace_gib=0.0 if self.chip.measured else known["workspace_gib"],
        )  # fmt: skip

    @cached_property
    def bits(self) -> float:
        """Bits a weight, scales of its group included."""
        return self._memory()["bits"]

    @cached_property
    def weight_bytes(self) -> float:
        """Bytes of all weights; the embedding is kept in 16 bits or more."""
        return self._memory()["weight_bytes"]

    def cache_bytes(self, tokens: float) -> float:
        """Bytes of the cache of one sequence, over all devices, copies included."""
        return self._memory(tokens)["cache_bytes"]

    def capacity(self, tokens: float) -> float:
        """Sequences of `tokens` positions that have room; below 1, the model is too big."""
        return self._memory(tokens)["capacity"]

    def memory(self, batch: float, tokens: float) -> float:
        """Bytes on each device with `batch` sequences of `tokens` positions."""
        return self._memory(tokens, batch)["device_bytes"]

    # --- seconds

    @cached_property
    def _known(self) -> Mapping[str, float]:
        return constants() if self.known is None else self.known

    @cached_property
    def _inputs(self) -> dict[str, float]:
        held = self._memory()
        link, latency = self.chip.link(self.tensor)
        return {
            **self._known,
            **model_inputs(self.model),
            **chip_inputs(self.chip, self.weight_bits, self._known),
            "tensor": self.tensor,
            "spread": held["spread"],
            "weight_bytes": held["bytes_a_weight"],
            "kv_bytes": held["kv_bytes"],
            "kv_shards": held["kv_shards"],
            "link": link * self._known["link_share"],
            "latency": latency + self._known["exchange_latency"],
        }

    @cached_property
    def _decoding(self) -> dict[str, float]:
        return {**self._inputs, "attention_flops": self._inputs["decode_flops"]}

    def step_parts(self, batch: float, context: float) -> dict[str, float]:
        """Seconds of each part of one step in which `batch` sequences write a token each."""
        each = self._decoding | {"batch": max(1.0, batch / self.pipeline)}
        return formula("decode_step")(attended=self.model.attended(context), **each)

    def step(self, batch: float, context: float) -> float:
        """Seconds of one decoding step of `batch` sequences (all stages of a pipeline in turn)."""
        return self.step_parts(batch, context)["seconds"]

    def prefill_parts(self, tokens: float, cached: float = 0.0) -> dict[str, float]:
        """Seconds of each part of reading `tokens` after `cached` ones that are in the cache."""
        inputs = self._inputs
        parts = {**inputs, "dense": inputs["dense"] - inputs["last"]}
        attended = self.model.attended(cached + tokens / 2)
        return formula("prefill")(tokens=tokens, attended=attended, **parts)

    def prefill(self, tokens: float, cached: float = 0.0) -> float:
        """Seconds in which the replica reads one prompt, busy with nothing else."""
        return self.prefill_parts(tokens, cached)["seconds"]
