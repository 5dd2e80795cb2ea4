"""What every test starts from: one thread, fixed seeds, no network."""

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

LOCAL = {"127.0.0.1", "::1", "localhost", "0.0.0.0"}


@pytest.fixture(autouse=True)
def seeds():
    """Seed every generator that is in use."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    """Refuse connections to other machines: book and tests promise to need none."""
    connect = socket.socket.connect

    def connect_locally(self, address):
        if self.family != getattr(socket, "AF_UNIX", None) and address[0] not in LOCAL:
            raise OSError(f"The tests work offline, and this one asked for {address[0]}.")
        return connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect_locally)
