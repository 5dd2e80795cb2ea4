"""Seconds and bytes of one replica that serves a model: prefill, decoding, cache, waiting.

A decoding step reads every weight that its tokens use, once, and every cache, sequence by sequence;
it is as slow as the slower of reading and multiplying, plus the exchanges of tensor parallelism and
a fixed time a layer. Reading a prompt is multiplying. The expressions are in `formulas.json`, the
few fitted coefficients in `serving_constants.json` (`experiments/serving_model.py` fits them).
Taught in: notebooks/17_serving.ipynb.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files

from costlab.estimate.devices import Accelerator
from costlab.estimate.formulas import formula
from costlab.estimate.transformer import Transformer

GIB = 2**30
NARROW = 4.5  # bits below which a weight carries a scale for its group
SCALE_BITS = 0.5  # 8 bits for 16 weights (NVFP4), 16 for 32, and the like
# The arithmetic that weights of so many bits are multiplied in, best first.
_ARITHMETIC = (
    (4.5, ("fp4", "bf16", "fp16", "fp32")),
    (8, ("fp8", "int8", "bf16", "fp16", "fp32")),
    (16, ("bf16", "fp16", "fp32")),
    (64, ("fp32", "tf32", "bf16", "fp16")),
)


@cache
def _file() -> dict:
    text = files(__package__).joinpath("serving_constants.json").read_text(encoding="utf-8")
    return json.loads(text)


def constants() -> dict[str, float]:
    """The fitted coefficients, with what each one means in `formulas.json`."""
    return _file()["constants"]


def residuals(kind: str) -> tuple[float, float]:
    """10th and 90th percentile of measured over predicted, for 'decode' or 'throughput'."""
    return tuple(_file()["residuals"][kind])


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

    @cached_property
    def bits(self) -> float:
        """Bits a weight, scales of its group included."""
        return self.weight_bits + (SCALE_BITS if self.weight_bits <= NARROW else 0)

    @cached_property
    def weight_bytes(self) -> float:
        """Bytes of all weights; the embedding is kept in 16 bits or more."""
        m = self.model
        wide = m.embedding_params * max(self.bits, 16)
        return (wide + (m.params - m.embedding_params) * self.bits) / 8

    def cache_bytes(self, tokens: float) -> float:
        """Bytes of the cache of one sequence, over all devices, copies included."""
        return self.model.kv_bytes(tokens, self.kv_bits) * self.tensor / self._shards

    @cached_property
    def _shards(self) -> int:
        """Devices over which a cache is split: by heads, none of which is cut in two.

        Engines split the sequences instead where heads are few: latent attention, experts.
        """
        m = self.model
        return self.tensor if m.latent or m.moe_layers else min(self.tensor, m.kv_heads)

    def capacity(self, tokens: float) -> float:
        """Sequences of `tokens` positions that have room; below 1, the model is too big."""
        usable = self._known["memory_share"] * self.chip.memory_gib * GIB - self._workspace
        return (usable * self.devices - self.weight_bytes) / self.cache_bytes(tokens)

    @property
    def _workspace(self) -> float:
        return self._known["workspace_gib"] * GIB * (0 if self.chip.measured else 1)

    def memory(self, batch: float, tokens: float) -> float:
        """Bytes on each device with `batch` sequences of `tokens` positions."""
        return (self.weight_bytes + batch * self.cache_bytes(tokens)) / self.devices + (
            self._workspace
        )

    # --- seconds

    @cached_property
    def _known(self) -> Mapping[str, float]:
        return constants() if self.known is None else self.known

    @cached_property
    def _inputs(self) -> dict[str, float]:
        m, chip, known = self.model, self.chip, self._known
        expert = m.moe_layers * m.expert_params
        name = arithmetic(chip, self.weight_bits)
        share, ideal = matmul_share(chip, known), chip.measured
        narrow = known["fp4_share"] if name == "fp4" else 1.0
        link, latency = chip.link(self.tensor)
        attained = 1.0 if ideal else known["bandwidth_share"]
        wide = chip.tflops[arithmetic(chip, 16)] * 1e12
        quantized = self.weight_bits < 16 and not ideal and name != "fp4"
        return {
            **known,
            "tensor": self.tensor,
            "dense": m.matrix_params - expert * m.experts_active,
            "expert": expert,
            "experts": m.experts,
            "active": m.experts_active,
            "layers": m.layers,
            "hidden": m.hidden,
            "routed": m.experts_active if m.moe_layers else 0,
            "spread": self.tensor if m.moe_layers else 1,
            "inner": m.experts_active * m.expert_ffn + m.shared_ffn if m.moe_layers else m.ffn,
            "weight_bytes": self.bits / 8,
            "kv_bytes": m.kv_values * self.kv_bits / 8,
            "kv_shards": self._shards,
            "attention_flops": m.attention_flops,
            "peak": chip.tflops[name] * 1e12 * share * narrow * known["matmul_share"],
            "peak_attention": wide * share * known["attention_share"],
            "bandwidth": chip.bandwidth_gbs * 1e9 * attained,
            "weight_share": known["narrow_read_share"] if quantized else 1.0,
            "link": link * known["link_share"],
            "latency": latency + known["exchange_latency"],
        }

    @cached_property
    def _decoding(self) -> dict[str, float]:
        """Decoding adds what the cache costs: a latent one is read compressed, at full width."""
        m = self.model
        if not m.latent:
            return self._inputs
        flops = 2.0 * m.heads * (2 * m.kv_rank + m.rope_dim)
        return {**self._inputs, "attention_flops": flops}

    def step_parts(self, batch: float, context: float) -> dict[str, float]:
        """Seconds of each part of one step in which `batch` sequences write a token each."""
        each = self._decoding | {"batch": max(batch, 1.0) / self.pipeline}
        if batch < self.pipeline:
            each["batch"] = 1.0
        return formula("decode_step")(attended=self.model.attended(context), **each)

    def step(self, batch: float, context: float) -> float:
        """Seconds of one decoding step of `batch` sequences (all stages of a pipeline in turn)."""
        return self.step_parts(batch, context)["seconds"]

    def prefill_parts(self, tokens: float, cached: float = 0.0) -> dict[str, float]:
        """Seconds of each part of reading `tokens` after `cached` ones that are in the cache."""
        m, inputs = self.model, self._inputs
        parts = {**inputs, "dense": inputs["dense"] - m.vocab * m.hidden}
        attended = m.attended(cached + tokens / 2)
        return formula("prefill")(tokens=tokens, attended=attended, **parts)

    def prefill(self, tokens: float, cached: float = 0.0) -> float:
        """Seconds in which the replica reads one prompt, busy with nothing else."""
        return self.prefill_parts(tokens, cached)["seconds"]
