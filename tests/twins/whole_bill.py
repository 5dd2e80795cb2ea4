"""Twins of the claims of notebook 18: what they would be given if something were broken."""

from functools import cache

import torch

from costlab import estimate, results
from costlab.lm.model import Config, LanguageModel
from costlab.serve import Pace, split
from costlab.workload import day

READING_IS_FREE = Pace(8e-3, 5e-4, 1e-6, 1e-12, 0.0, 0.0)


def unchanged() -> float:
    """A ratio of two figures that are one and the same: the step did nothing."""
    return 1.0


def steps_that_multiply() -> float:
    """As if two steps always gave their product: the term that the claim finds is left over."""
    rho, a, b = 0.4, 3, 2
    return rho * (1 - rho) * (1 - 1 / a) * (1 - 1 / b)


@cache
def dollars(company: bool, prefixes: int) -> float:
    """A model that nobody passes, where only writing costs anything."""
    shape = {"width": 16, "layers": 1, "heads": 1, "kv_heads": 1, "head_dim": 8, "ffn": 16}
    torch.manual_seed(0)
    asked = day().slice(36_000, 36_200)
    found = split(
        LanguageModel(Config(**shape, context=512)), asked, pace=READING_IS_FREE, price=1,
        most=4 if company else 1, prefixes=prefixes,
    )  # fmt: skip
    return found.dollars_per_million_tokens


def prefixes_of_prompts_that_cost_nothing() -> float:
    """Both steps together over their product, where one of them has nothing to save."""
    alone = dollars(False, 0)
    product = alone / dollars(True, 0) * alone / dollars(False, 64)
    return alone / dollars(True, 64) / product


def saved_together() -> float:
    """What two steps save at scale, measured together and not added up."""
    asked = {"prompt": 1000, "generate": 200}
    one = estimate.serving("llama-3.1-8b", "h100-sxm", batch=1, **asked)
    both = estimate.serving(
        "llama-3.1-8b", "h100-sxm", slo_tpot=2 * one.tpot_seconds, weight_bits=8, **asked
    )
    return 1 - both.dollars_per_million_tokens / one.dollars_per_million_tokens


def ledger() -> dict:
    """As recorded."""
    return results.read("whole_bill")


def lossless_against_the_naive_loop() -> float:
    """The same steps, with the naive loop for a baseline."""
    rows = {tuple(row["on"]): row["dollars_per_megabyte"] for row in ledger()["rows"]}
    return ledger()["baselines"]["naive"] / rows["batch", "prefixes"]


def lossy_from_the_start() -> float:
    """Lossy steps that are credited with what the lossless ones did."""
    found = ledger()
    cheapest = min(row["dollars_per_megabyte"] for row in found["rows"] if row["keeps_promise"])
    return found["baselines"]["competent"] / cheapest


def kept_without_company() -> float:
    """Combinations that keep the promise, beaten or not, and share nothing."""
    shared = {"batch", "prefixes"}
    return sum(r["keeps_promise"] and not shared <= set(r["on"]) for r in ledger()["rows"])


TWINS = {
    # a cache that is never read
    "The naive loop takes more than twice as long as the competent one": unchanged,
    "Different parts: more than the product. The same part: less, by as much": steps_that_multiply,
    "Served for real, ten requests together take less time than one by one": unchanged,
    "Company pays, with all other steps off": unchanged,
    "Lossless steps alone make the service cost less than nine tenths": unchanged,
    "Company and kept prefixes give more than their product": (
        prefixes_of_prompts_that_cost_nothing
    ),
    "Every combination on the front shares machines and keeps prefixes": kept_without_company,
    "Lossless steps: more than a factor of four against the library's loop": unchanged,
    "Less than four against the book's own loop": lossless_against_the_naive_loop,
    "Lossy steps within one percent more bits: less than a factor of two on top": (
        lossy_from_the_start
    ),
    "No smaller number paid on a processor without instructions for it": lambda: max(
        one["factor"] for one in ledger()["singles"]
    ),
    # two steps that multiply
    "Company and kept prefixes: more than their product in the ledger, too": unchanged,
    # two steps of which the second adds nothing to the first
    "Company and fewer neurons: the product, within fifteen percent": lambda: 0.5,
    "Company and a slow cache in 8 bits: far less, for there is no room for it": unchanged,
    "At scale, company alone is worth more than a factor of ten": unchanged,
    "A cache in 8 bits is worth more in company than alone": unchanged,
    "Weights in 4 bits are worth less in company than alone": unchanged,
    "Added up, two savings promise more than the whole bill": saved_together,
    # two models that read alike
    "A small model of today reads a hundred times as much for each weight": unchanged,
}
