"""Twins of the claims of notebook 01: what they would be given if something were broken."""

from functools import cache

import pytest
import torch
from torch.nn import functional as F

from costlab import catalog, generate, results, workload
from costlab.bill.machine import best_of
from costlab.lm import corpus
from costlab.lm.baselines import lzma_bits_per_byte
from costlab.lm.model import Config, KVCache, LanguageModel
from costlab.lm.trainer import bits_per_byte


@cache
def untrained() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(
        Config(width=32, layers=2, heads=2, kv_heads=1, head_dim=16, ffn=64)
    ).eval()


def flat_day() -> float:
    """Traffic that never changes: every hour is the mean hour."""
    hours = workload.day().per_window(3600) * 0 + 1
    return hours.max() / hours.mean()


def serving_that_costs_nothing_much() -> float:
    """A service of a hundredth of the machines: training then outweighs years of it."""
    ledger = catalog.serving_ledgers()[0]
    run = next(run for run in catalog.published_runs() if run.id == "deepseek-v3")
    return abs(run.device_hours / (ledger.devices * ledger.hours / 100) - 60)


def untrained_bits() -> float:
    """A model that has learned nothing."""
    return bits_per_byte(untrained(), corpus.validation_batches(limit=2048))


def lzma_unprimed() -> float:
    """The compressor without the training text."""
    return lzma_bits_per_byte(corpus.validation_text())


def seconds_billed_as_hours() -> float:
    """Training at the price of an hour for each second."""
    return results.read("language_model")["training"]["dollars"] * 3600


def a_thousand_rows_at_once() -> float:
    """Time to carry weights over that of the arithmetic, if a thousand tokens share each weight."""
    chip = catalog.accelerator("h100-sxm")
    return (2 / (chip.bandwidth_gbs * 1e9)) / (1024 * 2 / chip.peak_flops("bf16"))


def months_of_a_machine_that_takes_no_time() -> float:
    """A nanosecond a token: one machine is enough, and the budget pays it."""
    month = workload.monthly_bill(
        workload.day(), seconds_per_prompt_token=1e-9, seconds_per_output_token=1e-9,
        price=catalog.reference_price(2), provision="peak",
    )  # fmt: skip
    return month.dollars_per_month / workload.SERVICE.budget_dollars_per_month


def sixteen_one_by_one() -> float:
    """No batch: sixteen rows, each with its own pass over the weights."""
    weight, rows = torch.randn(1024, 1024), torch.randn(16, 1024)
    with torch.inference_mode():
        one = best_of(lambda: F.linear(rows[:1], weight), "cpu", repeats=50)
        each = best_of(lambda: [F.linear(row[None], weight) for row in rows], "cpu", repeats=50)
    return each / one


def bytes_changed_by_a_stale_cache() -> float:
    """A cache that forgets what it was given: the model writes something else."""

    class Stale(KVCache):
        def append(self, layer, keys, values):
            keys, values = super().append(layer, keys, values)
            return keys[:, :, -1:], values[:, :, -1:]

    model, prompt = untrained(), "def add(a, b):\n"
    right = generate(model, prompt, tokens=32, kv_cache=False)
    import costlab.lm.decoding as decoding

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(decoding, "KVCache", Stale)
        wrong = generate(model, prompt, tokens=32)
    return sum(a != b for a, b in zip(right, wrong))


def unchanged() -> float:
    """A ratio of two figures that are one and the same, exact by definition: nothing was done."""
    return 1.0


TWINS = {
    "The busiest hour brings more than twice the traffic of the mean": flat_day,
    "Two months of serving, ten days more or less, cost as much": serving_that_costs_nothing_much,
    "The model needs fewer bits than lzma alone": untrained_bits,
    "On all of the text the model beats the best n-gram": untrained_bits,
    # lzma that was shown nothing first
    "lzma that has seen the training text needs fewer bits still": lzma_unprimed,
    "Training this model costs less than a dollar": seconds_billed_as_hours,
    "For one token, carrying weights takes longer than the arithmetic": a_thousand_rows_at_once,
    # a step that runs at the peak
    "A step takes ten times what its arithmetic needs, and more": unchanged,
    # a step that runs at its floor
    "A step takes longer than its floor": unchanged,
    # a step in which nothing but matrices takes time
    "A step takes longer than its matrices alone": unchanged,
    "Sixteen tokens at once take less than half of sixteen times one": sixteen_one_by_one,
    "The naive service costs more than five times its budget": (
        months_of_a_machine_that_takes_no_time
    ),
    # a cache that saves nothing
    "Keeping keys and values cuts the month's bill to less than half": unchanged,
    "With and without the cache the model writes the same bytes": bytes_changed_by_a_stale_cache,
}


# Bounds that a cell computes: what they are worth when the notebook is right.
COMPUTED = {
    "On all of the text the model beats the best n-gram": 2.5,
    "lzma that has seen the training text needs fewer bits still": 1.6,
    "The model needs fewer bits than lzma alone": 2.5,
}
