"""Eight adapters in one batch over one model, beside the model alone and beside copies."""

import pytest
import torch
from torch import nn

import costlab
from costlab.optimize.adapters import (
    adapter_state,
    add_adapters,
    batch_adapters,
    merge_adapters,
    with_adapters,
)

pytestmark = pytest.mark.soak
CUSTOMERS, TOKENS = 8, 24


def customer(model, seed):
    """The model with an adapter that changes something."""
    torch.manual_seed(seed)
    new = add_adapters(model, rank=8)
    for name, parameter in new.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.01)
    return new


def test_eight_adapters_in_one_batch_keep_most_of_the_rate(medians):
    model = costlab.load_model()
    tasks = [customer(model, seed) for seed in range(CUSTOMERS)]
    served = batch_adapters(tasks[0], [adapter_state(task) for task in tasks])
    copies = [merge_adapters(task) for task in tasks]
    prompts = torch.arange(CUSTOMERS * 32).view(CUSTOMERS, 32) % 96 + 32
    written = {}

    def alone():
        costlab.generate(model, prompts, tokens=TOKENS)

    def together():
        with with_adapters(served, list(range(CUSTOMERS))):
            written["together"] = costlab.generate(served, prompts, tokens=TOKENS)

    def in_turn():
        rows = zip(copies, prompts, strict=True)
        written["in turn"] = torch.cat(
            [costlab.generate(copy, row[None], tokens=TOKENS) for copy, row in rows]
        )

    seconds = medians({"alone": alone, "together": together, "in turn": in_turn}, least=3)
    assert len({tuple(row) for row in written["together"].tolist()}) > 1
    # rounding may decide between two tokens, and all that follows
    assert (written["together"] == written["in turn"]).float().mean() > 0.8
    kept, gained = seconds["alone"] / seconds["together"], seconds["in turn"] / seconds["together"]
    print(
        f"\neight adapters keep {kept:.2f} of the rate, {gained:.1f} times that of copies in turn"
    )
    # 0.79 is the share of the weights in the bytes that a step reads; 0.77 was seen on a quiet
    # machine, 0.68 and more on one that was shared
    assert kept > 0.6
    assert gained > 1.5
