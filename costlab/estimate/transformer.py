"""The shape of a transformer: parameters, operations and key-value bytes that follow from it.

Nothing here is fitted: every count is exact, and the catalog's models are tested against the
numbers their makers published. Taught in: notebooks/02_compute.ipynb.
"""

from dataclasses import dataclass, fields
from functools import cached_property

from costlab.estimate.checks import choice, number, whole
from costlab.estimate.formulas import formula

BIASES = ("none", "qkv", "attention", "all")
NORMS = ("rms", "layer")
QK_NORMS = ("none", "head", "full")
_ZERO_ALLOWED = (
    "shared_experts", "dense_layers", "positions", "q_rank", "kv_rank", "rope_dim", "window",
    "window_layers", "norms",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Transformer:
    """A decoder-only transformer. What is left out follows the usual rule, given in brackets.

    `experts` counts the routed experts of a layer, of which a token uses `experts_active` besides
    the `shared_experts` that every token uses; 1 is a dense model. `ffn` is the inner width of the
    feed-forward network, `expert_ffn` that of one expert [ffn], `shared_ffn` that of all shared
    experts together [shared_experts x expert_ffn]. The first `dense_layers` have no experts; of the
    others every `moe_every`-th has. Latent attention (DeepSeek, arXiv:2405.04434) is given by
    `kv_rank`, `rope_dim`, `value_dim` [head_dim] and `q_rank` (0: queries are not compressed), with
    `head_dim` the part of a head that carries no position.

    Args:
        layers, hidden, heads, ffn, vocab: counts and widths.
        kv_heads: heads of keys and values [heads].
        head_dim: width of a head [hidden / heads].
        gated: three matrices in the feed-forward network (SwiGLU) instead of two.
        tied: the embedding is also the last matrix.
        context: longest sequence, and the default length of a training sequence.
        positions: learned positions, 0 for rotary ones.
        biases: "none", "qkv", "attention" (its output matrix too) or "all".
        norm: "rms" or "layer" (which has a bias); norms: how many in a layer.
        qk_norm: "none", "head" (one width for all heads) or "full" (over all heads).
        window, window_layers: width of local attention, and in how many layers it is used [all].
        sinks: a learned logit a head that nothing attends to (gpt-oss).
        name: what messages call it.

    Raises:
        ValueError: a count is not whole and positive, or counts do not fit together.

    Taught in: notebooks/02_compute.ipynb.
    """

    layers: int
    hidden: int
    heads: int
    ffn: int
    vocab: int
    kv_heads: int | None = None
    head_dim: int | None = None
    gated: bool = True
    experts: int = 1
    experts_active: int = 1
    expert_ffn: int | None = None
    shared_experts: int = 0
    shared_ffn: int | None = None
    shared_gate: bool = False
    router_bias: bool = False
    dense_layers: int = 0
    moe_every: int = 1
    tied: bool = False
    context: int = 2048
    positions: int = 0
    biases: str = "none"
    norm: str = "rms"
    norms: int = 2
    qk_norm: str = "none"
    embedding_norm: bool = False
    q_rank: int = 0
    kv_rank: int = 0
    rope_dim: int = 0
    value_dim: int | None = None
    window: int = 0
    window_layers: int | None = None
    sinks: bool = False
    name: str = "transformer"

    def __post_init__(self) -> None:
        self._fill("name", str(self.name))
        for field in ("experts", "experts_active"):
            if getattr(self, field) in (0, None):
                self._fill(field, 1)
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int or (field.type == int | None and value is not None):
                least = 0 if field.name in _ZERO_ALLOWED else 1
                self._fill(field.name, whole(field.name, value, least=least))
        choice("biases", self.biases, BIASES)
        choice("norm", self.norm, NORMS)
        choice("qk_norm", self.qk_norm, QK_NORMS)
        if self.head_dim is None and self.hidden % self.heads:
            raise ValueError(
                f"hidden must be a multiple of heads unless head_dim is given, got {self.hidden} "
                f"and {self.heads}."
            )
        defaults = {
            "kv_heads": self.heads,
            "head_dim": self.hidden // self.heads,
            "expert_ffn": self.ffn,
            "window_layers": self.layers if self.window else 0,
        }
        for field, value in defaults.items():
            if getattr(self, field) is None:
                self._fill(field, value)
        if self.value_dim is None:
            self._fill("value_dim", self.head_dim)
        if self.shared_ffn is None:
            self._fill("shared_ffn", self.shared_experts * self.expert_ffn)
        self._check_fit()

    def _fill(self, field: str, value: object) -> None:
        object.__setattr__(self, field, value)  # a frozen dataclass completes itself once

    def _check_fit(self) -> None:
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads must be a multiple of kv_heads, got {self.heads} and {self.kv_heads}."
            )
        for small, large in (
            ("experts_active", "experts"),
            ("dense_layers", "layers"),
            ("window_layers", "layers"),
        ):
            if getattr(self, small) > getattr(self, large):
                raise ValueError(
                    f"{small} must be at most {large}, got {getattr(self, small)} and "
                    f"{getattr(self, large)}."
                )

    # --- parameters of the parts

    @property
    def latent(self) -> bool:
        """Whether attention keeps one compressed vector a token instead of keys and values."""
        return self.kv_rank > 0

    @cached_property
    def moe_layers(self) -> int:
        """Layers that have experts."""
        return 0 if self.experts == 1 else (self.layers - self.dense_layers) // self.moe_every

    @cached_property
    def attention_matrices(self) -> int:
        """Weights of one layer's attention, without biases and norms."""
        h, d, v = self.hidden, self.head_dim, self.value_dim
        out = self.heads * v * h
        if not self.latent:
            return h * self.heads * d + h * self.kv_heads * (d + v) + out
        queries = self.heads * (d + self.rope_dim)
        ask = h * self.q_rank + self.q_rank * queries if self.q_rank else h * queries
        keep = h * (self.kv_rank + self.rope_dim)
        return ask + keep + self.kv_rank * self.heads * (d + v) + out

    def _small_attention(self) -> int:
        """Biases, norms and sinks of one layer's attention."""
        q, k = self.heads * self.head_dim, self.kv_heads * self.head_dim
        bias = q + 2 * k if self.biases != "none" else 0
        bias += self.hidden if self.biases in ("attention", "all") else 0
        norm = {"none": 0, "head": 2 * self.head_dim, "full": q + k}[self.qk_norm]
        if self.latent:
            norm += self.q_rank + self.kv_rank
        return bias + norm + (self.heads if self.sinks else 0)

    def _network(self, width: int) -> int:
        """Weights of one feed-forward network of inner width `width`."""
        return (3 if self.gated else 2) * self.hidden * width

    def _network_bias(self, width: int) -> int:
        return (2 if self.gated else 1) * width + self.hidden if self.biases == "all" else 0

    @cached_property
    def expert_params(self) -> int:
        """Parameters of one routed expert, biases included."""
        return self._network(self.expert_ffn) + self._network_bias(self.expert_ffn)

    def _small_moe(self) -> int:
        bias = self.experts if self.router_bias else 0
        return bias + (self.hidden if self.shared_gate else 0)

    def _norm_params(self) -> int:
        return self.hidden * (2 if self.norm == "layer" else 1)

    @cached_property
    def embedding_params(self) -> int:
        """Parameters of the embedding alone, learned positions included."""
        return self.vocab * self.hidden + self.positions * self.hidden

    @cached_property
    def head_params(self) -> int:
        """Parameters of the last matrix where it is not the embedding itself."""
        return 0 if self.tied else self.vocab * self.hidden

    @cached_property
    def layer_matrices(self) -> tuple[int, int]:
        """Weights that multiply one token in a layer: (without experts, with experts)."""
        dense = self.attention_matrices + self._network(self.ffn)
        routed = self.experts_active * self._network(self.expert_ffn)
        sparse = self.attention_matrices + routed + self._network(self.shared_ffn)
        return dense, sparse + self.hidden * self.experts

    @cached_property
    def layer_params(self) -> tuple[int, int]:
        """Parameters of one layer: (without experts, with experts)."""
        small = self._small_attention() + self.norms * self._norm_params()
        dense = self.attention_matrices + self._network(self.ffn) + self._network_bias(self.ffn)
        shared = self._network(self.shared_ffn)
        sparse = self.attention_matrices + self.experts * self.expert_params + shared
        sparse += self.hidden * self.experts + self._small_moe()
        return small + dense, small + sparse

    # --- totals

    @cached_property
    def params(self) -> int:
        """All parameters, exactly."""
        dense, sparse = self.layer_params
        layers = (self.layers - self.moe_layers) * dense + self.moe_layers * sparse
        norms = self._norm_params() * (2 if self.embedding_norm else 1)
        return self.embedding_params + layers + norms + self.head_params

    @cached_property
    def active_params(self) -> int:
        """Parameters that one token uses: `params` without the experts it is not sent to."""
        idle = self.experts - self.experts_active
        return self.params - self.moe_layers * idle * self.expert_params

    @cached_property
    def matrix_params(self) -> int:
        """Weights that multiply one token: without look-ups, biases and norms."""
        dense, sparse = self.layer_matrices
        layers = (self.layers - self.moe_layers) * dense + self.moe_layers * sparse
        return layers + self.vocab * self.hidden

    # --- operations and bytes

    @cached_property
    def attention_flops(self) -> float:
        """Operations of one token's attention to one position in one layer (scores and values)."""
        return 2.0 * self.heads * (self.head_dim + self.rope_dim + self.value_dim)

    def attended(self, positions: float) -> float:
        """Layers x positions that a token attends to out of `positions`; windows end early."""
        windows = {"window_layers": self.window_layers, "window": self.window or positions}
        return formula("attended")(layers=self.layers, positions=positions, **windows)["attended"]

    def forward_flops(self, attended: float = 0.0) -> float:
        """Operations of one token's forward pass.

        Args:
            attended: positions it attends to; 0 leaves attention out. For a training sequence of s
                tokens, s is the convention of published MFU (PaLM, Megatron: the whole square),
                s / 2 is what a causal kernel computes.

        Taught in: notebooks/02_compute.ipynb.
        """
        if attended:
            number("attended", attended, most=1e12)
        return 2.0 * self.matrix_params + self.attention_flops * self.attended(attended)

    @cached_property
    def kv_values(self) -> int:
        """Numbers that one token leaves in the cache of one layer."""
        if self.latent:
            return self.kv_rank + self.rope_dim
        return self.kv_heads * (self.head_dim + self.value_dim)

    def kv_bytes_per_token(self, bits: float = 16) -> float:
        """Bytes that one token takes in the key-value cache of all layers.

        Args:
            bits: bits a number.

        Taught in: notebooks/17_serving.ipynb.
        """
        return self.layers * self.kv_values * number("bits", bits, most=64) / 8

    def kv_bytes(self, tokens: float, bits: float = 16) -> float:
        """Bytes of the cache of one sequence of `tokens`; layers with a window keep no more."""
        return self.attended(number("tokens", tokens)) * self.kv_values * bits / 8

    def __str__(self) -> str:
        active = f", {self.active_params / 1e9:.3g}B active" if self.moe_layers else ""
        return f"{self.name} ({self.params / 1e9:.4g}B parameters{active})"
