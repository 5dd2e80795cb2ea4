"""Small models of transformers, a bill written by hand, and measuring without a second process."""

from copy import deepcopy
from dataclasses import replace

import pytest

from costlab.bill import Bill, Machine, memory
from costlab.bill.records import Workload


@pytest.fixture
def llama(peers):
    return peers["llama"]


@pytest.fixture
def gpt2(peers):
    """With more dropout, and with the head tied to the embedding."""
    config = deepcopy(peers["gpt2"].config)
    config.update({"resid_pdrop": 0.3, "embd_pdrop": 0.3, "attn_pdrop": 0.3})
    return type(peers["gpt2"])(config)


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
