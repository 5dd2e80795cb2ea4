"""Small models of every kind that the techniques promise to work on."""

from itertools import pairwise

import pytest
import torch
from torch import nn


@pytest.fixture(scope="module")
def bert():
    """An encoder whose head is tied to its embedding, and a batch for it, as a dict."""
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.BertConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        vocab_size=99, max_position_embeddings=64,
    )  # fmt: skip
    tokens = torch.randint(0, 99, (3, 10))
    batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
    return transformers.BertForMaskedLM(config).eval(), batch


@pytest.fixture
def mlp():
    """Builds a plain stack of layers."""

    def build(*widths: int, seed: int = 0) -> nn.Sequential:
        torch.manual_seed(seed)
        parts = [part for a, b in pairwise(widths) for part in (nn.Linear(a, b), nn.GELU())]
        return nn.Sequential(*parts[:-1]).eval()

    return build
