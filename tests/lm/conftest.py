"""A tiny model, and a tiny text to train it on."""

import os

import pytest
import torch

from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import WEIGHTS, load_model

TEXT = b"def add(a, b):\n    return a + b\n\n\ndef twice(x):\n    return add(x, x)\n\n\n" * 40


@pytest.fixture
def tiny():
    """Builds the same small untrained model each time."""

    def build(**changes) -> LanguageModel:
        torch.manual_seed(0)
        shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
        return LanguageModel(Config(**shape | {"context": 64} | changes))

    return build


@pytest.fixture
def text(monkeypatch):
    """A short text in place of the corpus."""
    monkeypatch.setattr(corpus, "training_text", lambda root=None: TEXT)
    return TEXT


@pytest.fixture(scope="session")
def trained():
    """The book's trained model."""
    if not WEIGHTS.exists() and os.environ.get("CI") != "true":
        pytest.skip("the trained weights are not there yet: run `costlab train`")
    return load_model()
