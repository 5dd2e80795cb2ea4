"""What can be counted without a clock: parameters, bytes, operations.

Taught in notebooks 01 and 02.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import chain

from torch import Tensor, nn

from costlab.lm.decoding import first_weight, is_language_model
from costlab.lm.model import LanguageModel


def matrices(
    model: nn.Module, *, every_use: bool = False
) -> Iterator[tuple[str, nn.Module, int, int]]:
    """Name, module, inputs, outputs of each layer with a matrix (nn.Linear, GPT-2's Conv1D).

    every_use: a module registered under several names comes once for each of them.
    """
    for name, module in model.named_modules(remove_duplicate=not every_use):
        if hasattr(module, "in_features") and hasattr(module, "out_features"):
            yield name, module, module.in_features, module.out_features
        elif type(module).__name__ == "Conv1D" and hasattr(module, "nf"):
            yield name, module, module.weight.shape[0], module.nf


def tensors(model: nn.Module) -> list[Tensor]:
    """Every parameter and buffer once, tied ones too."""
    return list({id(t): t for t in chain(model.parameters(), model.buffers())}.values())


def weights(model: nn.Module) -> Iterator[Tensor]:
    """Every parameter once, and the weights that stand behind the codes of quantized layers."""
    yield from model.parameters()
    for module in model.modules():
        if hasattr(module, "float_weight"):
            yield module.float_weight()


def bytes_in_memory(model: nn.Module) -> int:
    """Bytes of all parameters and buffers."""
    return sum(t.numel() * t.element_size() for t in tensors(model))


def flops_per_token(model: nn.Module) -> int | None:
    """Operations to pass one token through every matrix: two per weight; None without a matrix.

    Modules used several times count once per use only if they are registered so; embeddings are
    looked up, not multiplied. Norms and activation functions are left out, as is usual
    (arXiv:2001.08361).
    """
    total = sum(2 * rows * columns for _, _, rows, columns in matrices(model, every_use=True))
    return total or None


def attention_flops(model: nn.Module, position: float) -> float | None:
    """Attention's operations for one token that sees `position`: 4 x positions x channels a layer.

    Scores and weighted values each take two operations per position and channel. None where the
    shape is unknown.
    """
    if not is_language_model(model):
        return None
    if isinstance(model, LanguageModel):
        inner = sum(block.self_attn.q_proj.out_features for block in model.model.layers)
        return 4.0 * position * inner
    config = model.config
    heads, layers = config.num_attention_heads, config.num_hidden_layers
    dim = getattr(config, "head_dim", None) or config.hidden_size // heads
    return 4.0 * position * heads * dim * layers


def kv_bytes_per_token(model: nn.Module) -> float | None:
    """Bytes that keys and values of one token take in the cache.

    None where the shape is unknown.
    """
    if not is_language_model(model):
        return None
    size = first_weight(model).element_size()
    if isinstance(model, LanguageModel):
        blocks = model.model.layers
        channels = sum(
            b.self_attn.k_proj.out_features + b.self_attn.v_proj.out_features for b in blocks
        )
        return float(size * channels)
    config = model.config
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    dim = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return 2.0 * size * heads * dim * config.num_hidden_layers


@contextmanager
def evaluating(model: nn.Module) -> Iterator[nn.Module]:
    """The model in evaluation mode; each module's own mode is put back."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield model
    finally:
        for module, mode in modes.items():
            module.training = mode
