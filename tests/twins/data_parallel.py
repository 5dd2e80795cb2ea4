"""Twins of the claims of notebook 07: what they would be given if something were broken."""

import copy
import time
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import replace

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.testing._internal.distributed.fake_pg import FakeStore

from costlab import estimate
from costlab.estimate import collectives
from costlab.estimate.validation import measured
from costlab.lm.model import Config, LanguageModel
from costlab.parallel import LocalSGD, count_collectives, disagreement, lessons


@contextmanager
def group(ranks: int):
    """This process takes itself for rank 0 of so many; collectives return at once."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=ranks)
    try:
        yield
    finally:
        dist.destroy_process_group()


def sent(ranks: int, work: Callable[[], object]) -> float:
    """Bytes that rank 0 of such a group sends for some work."""
    with group(ranks), count_collectives() as traffic:
        work()
    return traffic.sent


def rows() -> tuple[torch.Tensor, torch.Tensor]:
    """Inputs and labels of a tiny task."""
    dice = torch.Generator().manual_seed(0)
    return torch.randn(32, 8, generator=dice), torch.arange(32) % 3


def gradient(part: slice) -> torch.Tensor:
    """The mean gradient over some of the rows."""
    torch.manual_seed(0)
    model, (inputs, labels) = nn.Linear(8, 3), rows()
    F.cross_entropy(model(inputs[part]), labels[part]).backward()
    return model.weight.grad


def average_of_unequal_shares() -> float:
    """The mean of a mean over three quarters of the rows and of one over the last quarter."""
    average = (gradient(slice(0, 24)) + gradient(slice(24, 32))) / 2
    whole = gradient(slice(None))
    return ((average - whole).norm() / whole.norm()).item()


def trained(part: slice) -> torch.Tensor:
    """The weights after five steps of AdamW on some of the rows."""
    torch.manual_seed(0)
    model, (inputs, labels) = nn.Linear(8, 3), rows()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    for _ in range(5):
        optimizer.zero_grad()
        F.cross_entropy(model(inputs[part]), labels[part]).backward()
        optimizer.step()
    return model.weight.detach()


def apart(first: slice, second: slice) -> Callable[[], float]:
    """How far weights are apart that were trained on these and on those rows."""
    return lambda: (trained(first) - trained(second)).abs().max().item()


WHOLE, LEFT, RIGHT = slice(None), slice(0, 16), slice(16, 32)


def ring_of_one_round() -> float:
    """Four ranks that stop after the first round: three chunks in four are not the whole sum."""
    numbers = [torch.randn(8, dtype=torch.float64) for _ in range(4)]
    whole = sum(numbers)
    stopped = torch.cat([whole[:2], (numbers[0] + numbers[1])[2:]])
    return (stopped - whole).abs().max().item()


def everything_to_everyone() -> float:
    """Bytes beyond the formula, if each of four ranks sends all its numbers to the three others."""
    numbers = torch.ones(100_000, dtype=torch.float64)

    def work() -> None:
        for peer in (1, 2, 3):
            dist.send(numbers, peer)

    return sent(4, work) - 2 * 8 * 100_000 * 3 / 4


def reduced(times: int, dtype: torch.dtype = torch.float32) -> float:
    """Bytes that two ranks send for a thousand gradients, over the gradients' own."""
    gradients = torch.ones(1000, dtype=dtype)

    def work() -> None:
        for _ in range(times):
            dist.all_reduce(gradients)

    return sent(2, work) / 4000


def pace_with_a_pause() -> float:
    """Of a step that waits as long again, and then some, before it goes on."""
    inputs, weight = torch.randn(256, 256), torch.randn(256, 256)

    def step(pause: float) -> float:
        start = time.perf_counter()
        inputs @ weight
        time.sleep(pause)
        return time.perf_counter() - start

    usual = min(step(0.01) for _ in range(3))
    return usual / step(5 * usual)


def meetings_at_every_step(every: int) -> float:
    """Bytes of data parallel over those of local SGD, whose interval is ignored if it is 1."""
    model = nn.Linear(10, 10)

    def work() -> None:
        meeting = LocalSGD(model, every=every)
        for _ in range(16):
            meeting.step()

    def averages() -> None:
        for parameter in model.parameters():
            for _ in range(16):
                dist.all_reduce(parameter.detach().clone())

    start = sent(2, lambda: LocalSGD(model, every=1))
    return sent(2, averages) / (sent(2, work) - start)


CARD = estimate.resolve_accelerator("h100-sxm")


def busy(ranks: int, batch: float, network: float = CARD.network_gbs) -> float:
    """Share of the time that accelerators compute, for a global batch in tokens."""
    card, size = replace(CARD, network_gbs=network), 6.7e9
    compute = 6 * size * batch / (ranks * 0.4 * card.peak_flops("bf16"))
    sending = collectives.all_reduce(card, 2 * size, ranks)
    return compute / (compute / 3 + max(compute * 2 / 3, sending))


def shares() -> tuple[float, float]:
    """What is not noise in a window's gradient, of two models of which neither has learned."""
    small = Config(width=16, layers=1, heads=1, kv_heads=1, head_dim=16, ffn=16, context=32)
    # of sixteen bytes out of 256: what there is to learn at first, all windows say
    windows = torch.randint(16, (8, 17), generator=torch.Generator().manual_seed(0))
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        sums = lessons.gradient_sums(LanguageModel(small), windows)
        true, noise = lessons.noise_scale(*sums, len(windows))
        found.append(true / (true + noise))
    return found[0], found[1]


def growth_without_learning() -> float:
    """Of the critical batch, from one untrained model to another."""
    first, second = shares()
    return (1 / second - 1) / (1 / first - 1)


def agreement() -> float:
    """The disagreement of ranks that hold one model."""
    with group(2):
        return disagreement(nn.Linear(4, 4))


def same(model: nn.Module) -> float:
    """How far a model is from a copy of it that was trained in the same way."""
    other = copy.deepcopy(model)
    return (model.weight - other.weight).abs().max().item()


def kept(group: str, **wanted: object) -> tuple[float, float]:
    """The share of its pace that an accelerator of the largest run keeps: published, predicted."""
    runs = [run for run in measured() if run.row.group == group and run.row.sequence == 2048
            and all(getattr(run.row, name) == value for name, value in wanted.items())]  # fmt: skip
    runs.sort(key=lambda run: run.row.devices)
    first, last = runs[0], runs[-1]
    return last.row.tokens_per_s / first.row.tokens_per_s, last.pace() / first.pace()


def harsher_than_published() -> float:
    """A prediction in the place of what was published, and the other way round."""
    published, predicted = kept("mosaic-a100-40gb", hidden=768)
    return published - predicted


def one_that_does_not_learn() -> float:
    """How far its loss is from that of a model that does."""
    torch.manual_seed(0)
    model, (inputs, labels) = nn.Linear(8, 3), rows()
    optimizer, losses = torch.optim.SGD(model.parameters(), lr=1.0), []
    for _ in range(50):
        optimizer.zero_grad()
        loss = F.cross_entropy(model(inputs), labels)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses[0] - losses[-1]


TWINS = {
    "The average of two halves is the gradient of the whole batch": average_of_unequal_shares,
    "Our ring adds up as torch's all-reduce does": ring_of_one_round,
    "Each of four ranks sends what the formula says, to the byte": everything_to_everyone,
    # ranks that each keep the gradient of their own half
    "Our two processes end with the weights of one": apart(WHOLE, LEFT),
    "So do two with torch's DistributedDataParallel": apart(WHOLE, LEFT),
    "So do two that call the ring after the backward pass": apart(WHOLE, RIGHT),
    # averaged after each of two passes, where one would have done
    "Each of two ranks sends its gradients once": lambda: reduced(times=2),
    # compressed to 16 bits
    "torch's DistributedDataParallel sends as much": lambda: (
        reduced(times=1, dtype=torch.float16) - reduced(times=1)
    ),
    "Ours keeps more than half of the pace of torch's": pace_with_a_pause,
    # models that have not learned
    "What windows agree on is lost in noise as the model learns": lambda: shares()[1] / shares()[0],
    "The critical batch grows more than a hundredfold in training": growth_without_learning,
    "Meeting at every 16th step sends a sixteenth of the bytes": lambda: meetings_at_every_step(1),
    # a meeting after each step that changes nothing
    "In a run as short as this, meeting seldom costs quality": lambda: 0.0,
    # a network of a tenth of the bandwidth
    "With the batch fixed, 512 compute nine tenths of the time": lambda: busy(
        512, 4e6, network=CARD.network_gbs / 10
    ),
    # a batch that grows with the machines
    "With the batch fixed, 16,384 compute less than a quarter of it": lambda: busy(
        16384, 4e6 * 16384 / 512
    ),
    # a batch that hardly grows
    "With a batch that grows, each keeps nine tenths on sixteen times as many": lambda: kept(
        "mlperf-v4.1-gpt3", accelerator=CARD.id
    )[0],
    "No prediction is harsher than what was published": harsher_than_published,
    "The loss of the broken hook is that of ours, to a tenth of a nat": one_that_does_not_learn,
    # the hook averages the gradient
    "The broken hook does not give the weights of one process": lambda: same(nn.Linear(4, 4)),
    "Its two ranks hold two different models": agreement,
    "Under ours the ranks agree to the last bit": apart(LEFT, RIGHT),
}
