"""What every test starts from: one thread, fixed seeds, no network."""

import importlib
import os
import random
import socket
import sys

# Before torch is imported, here or in a process that a test starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

import pytest
from hypothesis import settings

# Machines are slow and shared: no deadline. The same examples everywhere: a failure repeats.
settings.register_profile("costlab", deadline=None, derandomize=True, max_examples=50)
settings.load_profile("costlab")

if os.environ.get("CI") == "true":
    # On a reader's machine a peer that is missing skips its tests; on CI every oracle is asked.
    pytest.importorskip = lambda name, *_, **__: importlib.import_module(name)

LOCAL = {"127.0.0.1", "::1", "localhost", "0.0.0.0"}


@pytest.fixture(autouse=True)
def seeds():
    """Seed every generator that is in use."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def tiny():
    """Builds the book's kind of model, small, with weights that make its logits differ."""
    import torch

    from costlab.lm.model import Config, LanguageModel

    def build(seed: int = 0, **changes):
        shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
        model = LanguageModel(Config(**shape | {"context": 64} | changes))
        generator = torch.Generator().manual_seed(seed)
        for p in model.parameters():
            torch.nn.init.normal_(p, mean=float(p.ndim == 1), std=0.2, generator=generator)
        return model.eval()

    return build


@pytest.fixture(scope="module")
def peers():
    """Tiny models of transformers, by name."""
    import torch

    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    llama = transformers.LlamaConfig(
        hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, vocab_size=99, max_position_embeddings=64, eos_token_id=None,
    )  # fmt: skip
    gpt2 = transformers.GPT2Config(
        n_embd=32, n_layer=2, n_head=4, vocab_size=99, n_positions=64, eos_token_id=None
    )
    return {
        "llama": transformers.LlamaForCausalLM(llama).eval(),
        "gpt2": transformers.GPT2LMHeadModel(gpt2).eval(),
    }


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Refuse connections to other machines: book and tests promise to need none."""
    connect = socket.socket.connect

    def connect_locally(self, address):
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in LOCAL:
            raise OSError(f"The tests work offline, and this one asked for {address[0]}.")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)
