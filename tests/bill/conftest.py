"""Small models of several kinds, a bill written by hand, and measuring without a second process."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from costlab.bill import Bill, Machine, memory
from costlab.bill.records import Workload
from costlab.lm.model import Config, LanguageModel


@pytest.fixture
def tiny():
    """Builds the book's kind of model, small, with weights that make its logits differ."""

    def build(seed: int = 0, **changes) -> LanguageModel:
        shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
        model = LanguageModel(Config(**shape | {"context": 64} | changes))
        generator = torch.Generator().manual_seed(seed)
        for p in model.parameters():
            nn.init.normal_(p, mean=float(p.ndim == 1), std=0.2, generator=generator)
        return model

    return build


@pytest.fixture
def llama():
    transformers = pytest.importorskip("transformers")
    config = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=99, max_position_embeddings=64, eos_token_id=None,
    )  # fmt: skip
    return transformers.LlamaForCausalLM(config)


@pytest.fixture
def gpt2():
    """With dropout, and with the head tied to the embedding."""
    transformers = pytest.importorskip("transformers")
    config = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=99, n_positions=64, eos_token_id=None,
        resid_pdrop=0.3, embd_pdrop=0.3, attn_pdrop=0.3,
    )  # fmt: skip
    return transformers.GPT2LMHeadModel(config)


@pytest.fixture
def quick(monkeypatch):
    """No second process for the peak of memory: it stays unknown."""
    monkeypatch.setattr(memory, "peak_in_new_process", lambda *args: None)


MACHINE = Machine(
    name="a processor", device="cpu", cores=2, threads=1, precision="float32", peak_flops=1e11,
    bandwidth=1e10, sheet_flops=2e11, price_per_hour=0.36, price_source="here", assumed=False,
)  # fmt: skip


@pytest.fixture
def bill():
    """Builds a bill by hand; every field is known and may be given otherwise."""

    def build(**changes) -> Bill:
        machine = replace(MACHINE, **changes.pop("on", {}))
        values = {
            "name": "base", "bits_per_byte": 1.432, "quality": 0.5, "divergence": 0.012,
            "flips": 0.034, "parses": 0.81, "parameters": 6_500_000,
            "nonzero_parameters": 6_400_000, "bytes_in_memory": 26_000_000,
            "bytes_on_disk": 13_000_000, "flops_per_token": 1.3e7,
            "flops_per_token_with_attention": 1.4e7, "ttft_seconds": 0.0123,
            "latency_seconds": 0.0021, "tokens_per_second": 476.0, "scored_per_second": 9000.0,
            "peak_memory_bytes": 40_000_000, "mfu": 0.021, "share_of_peak": 0.043,
            "bandwidth_share": 1.21, "dollars_per_million_tokens": 0.21,
            "dollars_per_million_scored": 0.011,
        }  # fmt: skip
        return Bill(Workload(), machine, **values | changes)

    return build
