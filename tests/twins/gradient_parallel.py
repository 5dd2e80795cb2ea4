"""Twins of the claims of notebook 09: what they would be given if something were broken."""

import copy
from contextlib import contextmanager

import torch
import torch.distributed as dist
from torch.nn.utils import parameters_to_vector
from torch.testing._internal.distributed.fake_pg import FakeStore

from costlab import catalog, estimate
from costlab.estimate import collectives
from costlab.lm.model import LanguageModel
from costlab.lm.trainer import loss_on
from costlab.parallel.counting import count_collectives
from costlab.parallel.faults import checkpoint_interval, time_with_failures
from costlab.parallel.gradient import shard_gradients
from costlab.parallel.lessons_gradient import SMALL

JOB = {"save": 0.3, "restart": 10.0, "mtbf": 900.0}


def small() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(SMALL)


def windows() -> torch.Tensor:
    return torch.randint(0, 256, (4, 33), generator=torch.Generator().manual_seed(0))


def gradient(net: LanguageModel, part: torch.Tensor) -> torch.Tensor:
    net.zero_grad()
    loss_on(net, part).backward()
    return parameters_to_vector([p.grad for p in net.parameters()])


def slices(averaged: bool) -> float:
    """How far two slices land from one process, updated by the average or by their own part."""
    net, batch = small(), windows()
    whole = gradient(net, batch)
    halves = [gradient(net, part) for part in batch.chunk(2)]
    size = len(whole) // 2
    own = torch.cat([halves[0][:size], halves[1][size:]])
    found = (halves[0] + halves[1]) / 2 if averaged else own
    landed = [updated(parameters_to_vector(net.parameters()), g) for g in (whole, found)]
    return float((landed[0] - landed[1]).abs().max())


def updated(weights: torch.Tensor, gradient: torch.Tensor) -> torch.Tensor:
    """After one step of AdamW."""
    p = torch.nn.Parameter(weights.detach().clone())
    p.grad = gradient
    torch.optim.AdamW([p], lr=1e-4).step()
    return p.detach()


@contextmanager
def ranks(number: int):
    """One process as rank 0 of many."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=number)
    try:
        yield
    finally:
        dist.destroy_process_group()


def gradients_at_stage_1(number: int) -> float:
    """Bytes of gradients that nobody cut, over those of stage 2."""
    with ranks(number):
        net = small()
        sharded = shard_gradients(net, torch.optim.AdamW(net.parameters()), stage=1)
        loss_on(sharded, windows()).backward()
        size = sum(p.numel() for p in net.parameters())
        return sharded.held()["gradients"] - 4 * size / number


def stage_3_as_if_stage_2() -> float:
    """Whether it sends anything else."""
    with ranks(2):
        net = small()
        sharded = shard_gradients(net, torch.optim.AdamW(net.parameters()), stage=3)
        with count_collectives() as traffic:
            loss_on(sharded, windows()).backward()
            sharded.step()
        return float(traffic.sent != 4 * sum(p.numel() for p in net.parameters()))


def table_without_the_copy() -> float:
    """Gigabytes off when the optimizer's copy of the weights is forgotten."""
    row = next(r for r in catalog.training_results("zero memory") if r.devices == 64)
    return abs((4 + 8 / 64) * row.params / 1e9 - row.value)


def trained_by_an_optimizer_built_in_time() -> float:
    net = small()
    weights = parameters_to_vector(net.parameters())
    return float((updated(weights, gradient(net, windows())) - weights.detach()).abs().max())


def parts_that_are_not_divided() -> float:
    """Accumulated losses added up instead of averaged."""
    net, batch = small(), windows()
    whole = gradient(net, batch)
    return float((sum(gradient(net, part) for part in batch.chunk(4)) - whole).abs().max())


def restart_without_states() -> float:
    """Weights come back, the optimizer begins anew."""
    ends = []
    for forgets in (False, True):
        net = small()
        optimizer = torch.optim.AdamW(net.parameters())
        for step in range(4):
            if forgets and step == 2:
                optimizer = torch.optim.AdamW(net.parameters())
            loss_on(net, windows()).backward()
            optimizer.step()
            optimizer.zero_grad()
        ends.append(parameters_to_vector(copy.deepcopy(net).parameters()))
    return float((ends[0] - ends[1]).abs().max().detach())


def saved_as_seldom_as_it_fails() -> float:
    """Time at an interval as long as the machines last, over that of the best."""
    best = checkpoint_interval(save=JOB["save"], mtbf=JOB["mtbf"])
    seldom, often = (time_with_failures(36e3, interval=i, **JOB) for i in (JOB["mtbf"], best))
    return seldom / often


def formula_without_failures() -> float:
    best = checkpoint_interval(save=JOB["save"], mtbf=JOB["mtbf"])
    return abs(36e3 / time_with_failures(36e3, interval=best, **JOB) - 1)


def firm_machines_that_fail_as_spot() -> float:
    """The price of a machine that nobody takes away, for one that is taken away."""
    job = {"save": 60, "restart": 600, "mtbf": 4 * 3600}
    interval = checkpoint_interval(save=60, mtbf=job["mtbf"])
    return time_with_failures(3600, interval=interval, **job) / 3600


def on_half_the_devices() -> float:
    """Tokens on each of 8,192 devices, at the same batch, over those that hide stage 3."""
    card, big = estimate.resolve_accelerator("h100-sxm"), catalog.model("llama-3.1-8b")
    rows = catalog.training_steps()
    [row] = [r for r in rows if (r.model, r.context, r.devices) == ("llama-3.1-405b", 1, 8192)]
    units = big.layers + 1
    sending = 3 * units * collectives.all_gather(card, 2 * big.params / units, row.devices)
    computing = 6 * big.params / (0.4 * card.peak_flops("bf16"))
    return row.global_batch * row.sequence / row.devices * computing / sending


def nothing() -> float:
    """A difference of two figures that are one and the same: nothing was done."""
    return 0.0


def unchanged() -> float:
    """A ratio of two figures that are one and the same."""
    return 1.0


TWINS = {
    "Two processes that update a slice each end at the weights of one": lambda: slices(False),
    "On 16,384 devices each has fewer tokens than hide stage 3": on_half_the_devices,
    "Twice or half that interval costs less than five percent": saved_as_seldom_as_it_fails,
    # the same order
    "In float32 the order of additions alone moves a weight by over 1e-5": nothing,
    "Every stage ends at the weights of one process, and so do torch's own": lambda: slices(False),
    "A rank holds what the formulas say, to the byte": lambda: gradients_at_stage_1(2),
    "Stages 1 and 2 send two thirds of stage 3, each as predicted": stage_3_as_if_stage_2,
    # the flat partition: all ranks hold the same
    "On 64 ranks the greedy partition fills one rank more than three times": unchanged,
    "A third of the 64 ranks, or more, hold nothing": nothing,
    "At 64 ranks, too, every kind of memory is as predicted, to the byte": (
        lambda: gradients_at_stage_1(64)
    ),
    "The formulas give the published gigabytes, to their last digit": table_without_the_copy,
    "The check sees a slice that is updated from unreduced gradients": lambda: slices(True),
    "With an optimizer built too early, FSDP2 trains nothing, silently": (
        trained_by_an_optimizer_built_in_time
    ),
    # compression that sends everything
    "A hundredth of the gradient costs quality at equal steps": nothing,
    # as much as not sending it
    "In so few steps it hardly matters whether the rest is remembered": unchanged,
    # a sum instead of a list: it does not grow with the ranks
    "At 512 ranks, sending one entry in a hundred sends more than sending all": lambda: 0.02,
    "All four ways give the same gradient": parts_that_are_not_divided,
    # blocks that keep everything, a batch in one part
    "Both together need less than a fifth of the memory": unchanged,
    "A killed rank changes nothing: the same weights, bit by bit": restart_without_states,
    "No interval tried beats Young and Daly's by more than one percent": (
        saved_as_seldom_as_it_fails
    ),
    "A formula without any simulation predicts its time to two percent": formula_without_failures,
    "Under real kills the best interval kept the most work of the three": unchanged,
    # half of what was kept
    "Each kept what the formula expects, to a fifth": lambda: 0.5,
    "Spot pays for all that is repeated, if machines last four hours": (
        firm_machines_that_fail_as_spot
    ),
    # a model in sixteen bits
    "Served, it costs what it cost: the same bytes": lambda: 0.5,
}
