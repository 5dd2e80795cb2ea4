"""The book's language model: a small Llama-style decoder over bytes.

RMSNorm (arXiv:1910.07467), rotary positions (arXiv:2104.09864), gated MLP (arXiv:2002.05202) and
grouped-query attention (arXiv:2305.13245). Parameters carry the names `transformers` gives them, so
the same weights load there with equal logits. Taught in notebook 01.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F


@dataclass(frozen=True)
class Config:
    """Shape of the model.

    `context` is the longest sequence, in bytes; `ffn` the inner width of the MLP.
    """

    width: int = 384
    layers: int = 4
    heads: int = 6
    kv_heads: int = 2
    head_dim: int = 64
    ffn: int = 1024
    vocab: int = 256
    context: int = 512
    rope_theta: float = 10_000.0
    norm_eps: float = 1e-5

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            whole = name not in ("rope_theta", "norm_eps")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise ValueError(f"{name} must be a {'whole ' * whole}number, got {value!r}")
            if not 0 < value < float("inf"):
                raise ValueError(f"{name} must be positive, got {value}")
        if self.head_dim % 2:
            raise ValueError(f"head_dim must be even (rotated in pairs), got {self.head_dim}")
        if self.heads % self.kv_heads:
            raise ValueError(
                f"heads must be a multiple of kv_heads, got {self.heads} and {self.kv_heads}"
            )

    def to_transformers(self) -> dict:
        """The same shape as a `transformers` LlamaConfig takes it, and as config.json holds it."""
        return {
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_size": self.width,
            "intermediate_size": self.ffn,
            "num_hidden_layers": self.layers,
            "num_attention_heads": self.heads,
            "num_key_value_heads": self.kv_heads,
            "head_dim": self.head_dim,
            "vocab_size": self.vocab,
            "max_position_embeddings": self.context,
            "rope_theta": self.rope_theta,
            "rms_norm_eps": self.norm_eps,
            "tie_word_embeddings": False,
            "bos_token_id": 0,
            "eos_token_id": 0,
        }


class KVCache:
    """Keys and values of every layer.

    Tensors of shape (batch, kv_heads, capacity, head_dim), filled to `length`.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity, self.length = capacity, 0
        self.keys: dict[int, Tensor] = {}
        self.values: dict[int, Tensor] = {}

    def append(self, layer: int, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        """Store new keys and values of one layer behind `length`.

        Returns all of that layer's so far.
        """
        if layer not in self.keys:
            batch, heads, _, dim = keys.shape
            self.keys[layer] = keys.new_empty(batch, heads, self.capacity, dim)
            self.values[layer] = values.new_empty(batch, heads, self.capacity, dim)
        end = self.length + keys.shape[2]
        self.keys[layer][:, :, self.length : end] = keys
        self.values[layer][:, :, self.length : end] = values
        return self.keys[layer][:, :, :end], self.values[layer][:, :, :end]

    def positions(self, new: int) -> slice | Tensor:
        """Positions of the `new` tokens to come: a slice, or (batch, 1, new) if rows differ."""
        return slice(self.length, self.length + new)

    def mask(self, new: int, device: torch.device) -> Tensor | None:
        """What each new position sees: bool (new, all), or None where causal order says it all."""
        if new == 1 or not self.length:
            return None
        end = self.length + new  # is_causal would align top left
        return torch.ones(new, end, dtype=torch.bool, device=device).tril(self.length)

    def advance(self, new: int) -> None:
        """Count `new` tokens as stored, after all layers have appended them."""
        self.length += new


def rotate(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Turn each pair of coordinates of x (..., positions, head_dim) by its position's angle."""
    left, right = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-right, left), dim=-1) * sin


class Attention(nn.Module):
    """Grouped-query causal self-attention: `heads` queries share `kv_heads` keys and values."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        inner, kv = config.heads * config.head_dim, config.kv_heads * config.head_dim
        self.head_dim = config.head_dim
        self.q_proj = nn.Linear(config.width, inner, bias=False)
        self.k_proj = nn.Linear(config.width, kv, bias=False)
        self.v_proj = nn.Linear(config.width, kv, bias=False)
        self.o_proj = nn.Linear(inner, config.width, bias=False)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], cache: KVCache | None, layer: int
    ) -> Tensor:
        """x (batch, positions, width) -> the same shape."""
        q, k, v = (
            proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)
            for proj in (self.q_proj, self.k_proj, self.v_proj)
        )
        angles = tuple(a.to(q.dtype) for a in angles)  # under autocast attention stays in bf16
        q, k = rotate(q, *angles), rotate(k, *angles)
        mask, new = None, q.shape[2]
        if cache is not None:
            k, v = cache.append(layer, k, v)
            mask = cache.mask(new, x.device)
        causal = mask is None and new == k.shape[2] > 1
        y = F.scaled_dot_product_attention(
            q, k, v, attn_mask=mask, is_causal=causal, enable_gqa=q.shape[1] != k.shape[1]
        )
        return self.o_proj(y.transpose(1, 2).flatten(-2))


class MLP(nn.Module):
    """Gated feed-forward block: down(silu(gate(x)) * up(x))."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.gate_proj = nn.Linear(config.width, config.ffn, bias=False)
        self.up_proj = nn.Linear(config.width, config.ffn, bias=False)
        self.down_proj = nn.Linear(config.ffn, config.width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (..., width) -> (..., width)."""
        return self.down_proj(F.silu(self.gate_proj(x)) * self.up_proj(x))


class Block(nn.Module):
    """One layer: attention and MLP, each behind a norm, each added to its input."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.self_attn = Attention(config)
        self.mlp = MLP(config)
        self.input_layernorm = nn.RMSNorm(config.width, eps=config.norm_eps)
        self.post_attention_layernorm = nn.RMSNorm(config.width, eps=config.norm_eps)

    def forward(
        self, x: Tensor, angles: tuple[Tensor, Tensor], cache: KVCache | None, layer: int
    ) -> Tensor:
        """x (batch, positions, width) -> the same shape."""
        x = x + self.self_attn(self.input_layernorm(x), angles, cache, layer)
        return x + self.mlp(self.post_attention_layernorm(x))


class Decoder(nn.Module):
    """Embedding, blocks, final norm."""

    def __init__(self, config: Config) -> None:
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab, config.width)
        self.layers = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.norm = nn.RMSNorm(config.width, eps=config.norm_eps)


class LanguageModel(nn.Module):
    """Bytes in, next-byte logits out.

    `model(tokens)` takes int64 (batch, positions) and returns float (batch, positions, vocab). With
    a `KVCache` only the new positions are computed and the cache grows by them.
    """

    def __init__(self, config: Config | None = None) -> None:
        super().__init__()
        self.config = config or Config()
        self.model = Decoder(self.config)
        self.lm_head = nn.Linear(self.config.width, self.config.vocab, bias=False)
        position = torch.arange(self.config.context).float()
        pair = torch.arange(0, self.config.head_dim, 2).float() / self.config.head_dim
        angle = torch.outer(position, self.config.rope_theta**-pair).repeat(1, 2)
        self.register_buffer("cos", angle.cos(), persistent=False)
        self.register_buffer("sin", angle.sin(), persistent=False)
        self.apply(self._initialize)
        residual = 0.02 / (2 * self.config.layers) ** 0.5  # keeps the sum over layers at unit scale
        for block in self.model.layers:
            nn.init.normal_(block.self_attn.o_proj.weight, std=residual)
            nn.init.normal_(block.mlp.down_proj.weight, std=residual)

    @staticmethod
    def _initialize(module: nn.Module) -> None:
        if isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)

    def forward(self, tokens: Tensor, cache: KVCache | None = None) -> Tensor:
        """Logits (batch, positions, vocab) of `tokens` (batch, positions)."""
        start = cache.length if cache is not None else 0
        end = start + tokens.shape[1]
        if end > self.config.context:
            raise ValueError(
                f"tokens reach position {end}, the model's context is {self.config.context} bytes"
            )
        if cache is not None and end > cache.capacity:
            raise ValueError(f"tokens reach position {end}, the cache holds {cache.capacity}")
        x = self.model.embed_tokens(tokens)
        at = slice(start, end) if cache is None else cache.positions(tokens.shape[1])
        angles = self.cos[at], self.sin[at]
        for layer, block in enumerate(self.model.layers):
            x = block(x, angles, cache, layer)
        if cache is not None:
            cache.advance(tokens.shape[1])
        return self.lm_head(self.model.norm(x))
