"""Functions that the tests of data parallel training run in other processes."""

import copy

import torch
import torch.distributed as dist
from torch import nn
from torch.nn import functional as F
from torch.nn.parallel import DistributedDataParallel

from costlab.lm.model import Config, LanguageModel
from costlab.parallel.counting import count_collectives
from costlab.parallel.data import data_parallel, share, start_alike
from costlab.parallel.local import LocalSGD
from costlab.parallel.ring import ring_all_reduce_

STEPS = 5


def build(seed: int = 0) -> LanguageModel:
    """The book's kind of model, tiny."""
    torch.manual_seed(seed)
    shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
    return LanguageModel(Config(**shape, context=32))


def windows(step: int) -> torch.Tensor:
    """The whole batch of a step: 8 windows of 17 bytes."""
    generator = torch.Generator().manual_seed(step)
    return torch.randint(256, (8, 17), generator=generator)


def nats(model, rows):
    return F.cross_entropy(model(rows[:, :-1]).flatten(0, 1), rows[:, 1:].flatten())


def train(wrap, *, seed=0, part=share, after=lambda model: None, finish=lambda optimizer: None):
    """The weights after five steps of AdamW with `wrap(model)`."""
    model = build(seed)
    wrapped = wrap(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(STEPS):
        nats(wrapped, part(windows(step))).backward()
        after(model)
        optimizer.step()
        optimizer.zero_grad()
    finish(optimizer)
    return {name: p.detach() for name, p in model.named_parameters()}


def alone() -> dict:
    """What one process with the whole batch arrives at."""
    return train(lambda model: model, part=lambda rows: rows)


def ring_by_hand(model):
    for p in model.parameters():
        ring_all_reduce_(p.grad.div_(dist.get_world_size()))


def average_parameters(model):
    """The broken variant: the hook gets the parameter, and averages that."""

    def hook(parameter):
        dist.all_reduce(parameter.detach().div_(dist.get_world_size()))

    for p in model.parameters():
        p.register_post_accumulate_grad_hook(hook)
    return model


def schemes() -> dict:
    """Weights after five steps of every scheme that this rank takes part in."""
    rank = dist.get_rank()
    return {
        "ours": train(lambda model: data_parallel(model, bucket_mb=0.02), seed=rank),
        "one bucket": train(lambda model: data_parallel(model)),
        "torch": train(DistributedDataParallel),
        "ring": train(lambda model: model, after=ring_by_hand),
        "broken": train(average_parameters),
    }


def accumulate() -> dict:
    """Gradients of four windows a rank at once, in two parts, and in two with traffic each time."""
    found = {}
    rows = share(windows(0))
    for name in ("at once", "no_sync", "twice"):
        model = data_parallel(build())
        with count_collectives() as traffic:
            if name == "at once":
                nats(model, rows).backward()
            else:
                first, second = rows.chunk(2)
                if name == "no_sync":
                    with model.no_sync():
                        (nats(model, first) / 2).backward()
                else:
                    (nats(model, first) / 2).backward()
                (nats(model, second) / 2).backward()
        found[name] = [p.grad for p in model.module.parameters()], traffic.count
    return found


class Odd(nn.Module):
    """Shares a matrix, uses one branch on odd ranks alone, never uses another; has buffers."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.first, self.second = nn.Linear(4, 4), nn.Linear(4, 4)
        self.second.weight = self.first.weight
        self.branch, self.unused, self.zero = nn.Linear(4, 4), nn.Linear(4, 4), nn.Linear(4, 4)
        self.frozen = nn.Linear(4, 4).requires_grad_(False)
        self.register_buffer("seen", torch.tensor([seed == 0, True]))
        self.register_buffer("rate", torch.tensor(0.5 + seed))

    def forward(self, x, branch: bool):
        y = self.second(self.frozen(self.first(x)))
        if branch:
            y = y + self.branch(x)
        return y + 0 * self.zero(x)


def odd() -> dict:
    """Gradients of a module whose ranks do not use the same parameters, and its buffers."""
    rank, ranks = dist.get_rank(), dist.get_world_size()
    model = Odd(seed=rank)
    wrapped = data_parallel(model, bucket_mb=1e-4)
    x = torch.arange(4.0 * ranks).view(ranks, 4)
    wrapped(share(x), rank % 2 == 1).square().mean().backward()
    reference = copy.deepcopy(model)
    reference.zero_grad()
    losses = [reference(x[i : i + 1], i % 2 == 1).square().mean() for i in range(ranks)]
    (sum(losses) / ranks).backward()
    expected = {name: p.grad for name, p in reference.named_parameters()}
    return {
        "grads": {name: p.grad for name, p in model.named_parameters()},
        "expected": expected,
        "seen": model.seen.tolist(),
        "rate": model.rate.item(),
        "keys": list(wrapped.state_dict()) == list(model.state_dict()),
    }


def alike_from_rank_0() -> dict:
    """Buffers and parameters of odd types after `start_alike`."""
    model = nn.Module()
    rank = dist.get_rank()
    model.flag = nn.Buffer(torch.tensor([rank == 0]))
    model.count = nn.Buffer(torch.tensor(7 - rank))
    model.turned = nn.Parameter(torch.full((2, 3), float(rank)).T)
    start_alike(model)
    return {"flag": model.flag, "count": model.count, "turned": model.turned.detach()}


def after_an_error() -> bool:
    """Whether a backward pass that raised leaves the next one whole."""
    model = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 1))
    wrapped = data_parallel(model)

    def refuse(gradient):
        raise RuntimeError("stop")

    hidden = model[0](torch.ones(1, 3))
    hidden.register_hook(refuse)
    try:
        model[1](hidden).sum().backward()
    except RuntimeError:
        model.zero_grad()
    wrapped(torch.full((1, 3), dist.get_rank() + 1.0)).sum().backward()
    mean = (dist.get_world_size() + 1) / 2
    return torch.allclose(model[0].weight.grad, model[1].weight.detach().T.expand(3, 3) * mean)


def rings() -> list:
    """(numel, equal to torch's, bytes sent in float64) for sizes that divide and do not."""
    found = []
    for numel in (1, 7, 64, 1000):
        generator = torch.Generator().manual_seed(dist.get_rank())
        mine = torch.randn(numel, dtype=torch.float64, generator=generator)
        theirs = mine.clone()
        dist.all_reduce(theirs)
        with count_collectives() as traffic:
            ring_all_reduce_(mine)
        found.append((numel, torch.allclose(mine, theirs, rtol=0, atol=1e-14), traffic.sent))
    found.append((0, ring_all_reduce_(torch.ones(0, 3)).shape == (0, 3), None))
    column = torch.ones(4, 6)[:, ::2]  # not contiguous
    ring_all_reduce_(column)
    found.append((12, bool((column == dist.get_world_size()).all()), None))
    return found


def meetings() -> dict:
    """Local SGD: what is sent, and the special cases that have an answer."""
    found, ranks = {}, dist.get_world_size()
    model = build(seed=dist.get_rank())
    meeting = LocalSGD(model, every=3)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    met, differ = [], []
    with count_collectives() as traffic:
        for step in range(6):
            nats(model, share(windows(step))).backward()
            optimizer.step()
            optimizer.zero_grad()
            met.append(meeting.step())
            differ.append(model.lm_head.weight.detach().clone())
    found["met"], found["sent"] = met, traffic.sent
    found["weights"] = differ
    found["parameters"] = sum(p.numel() for p in model.parameters())

    # Plain SGD without momentum, meeting after every step and averaging: exactly data parallel.
    model = build()
    meeting = LocalSGD(model, every=1, outer_lr=1.0, outer_momentum=0.0)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    for step in range(3):
        nats(model, share(windows(step))).backward()
        optimizer.step()
        optimizer.zero_grad()
        meeting.step()
    found["average"] = [p.detach() for p in model.parameters()]

    # One linear weight and known ways: the outer step is torch's SGD on the average way.
    line = nn.Linear(1, 1, bias=False)
    line.weight.data.fill_(1.0)
    meeting = LocalSGD(line, every=1, outer_lr=0.5, outer_momentum=0.5)
    for _ in range(2):
        line.weight.data -= 1.0 + dist.get_rank()
        meeting.step()
    found["line"] = line.weight.item()
    found["mean way"] = (ranks + 1) / 2
    return found


def counts() -> dict:
    """Every kind of collective on known sizes: {name: [(kind, payload, ranks), …], sent}."""
    import torch.distributed._functional_collectives as functional

    ranks, world = dist.get_world_size(), dist.group.WORLD
    whole, part = torch.ones(8 * ranks), torch.ones(8)
    parts = [torch.empty(8) for _ in range(ranks)]
    root = dist.get_rank() == 0
    calls = {
        "all_reduce": lambda: dist.all_reduce(whole),
        "reduce_scatter": lambda: dist.reduce_scatter_tensor(part, whole),
        "all_gather": lambda: dist.all_gather_into_tensor(whole, part),
        "all_gather of lists": lambda: dist.all_gather(parts, part),
        "broadcast": lambda: dist.broadcast(whole, 0),
        "reduce": lambda: dist.reduce(whole, 0),
        "gather": lambda: dist.gather(part, parts if root else None),
        "scatter": lambda: dist.scatter(part, parts if root else None),
        "all_to_all": lambda: dist.all_to_all_single(torch.empty_like(whole), whole),
        "barrier": dist.barrier,
        "send": lambda: dist.send(whole, 1) if root else dist.recv(whole, 0),
        "functional all_reduce": lambda: functional.all_reduce(whole, "sum", world).sum(),
        "functional all_gather": lambda: functional.all_gather_tensor(part, 0, world).sum(),
        "functional reduce_scatter": lambda: functional.reduce_scatter_tensor(
            whole, "sum", 0, world
        ).sum(),
    }
    found = {}
    for name, call in calls.items():
        with count_collectives() as traffic:
            call()
        found[name] = [(c.kind, c.payload, c.ranks) for c in traffic.calls], traffic.sent
    pairs = [dist.new_group([0, 1]), dist.new_group([0])]
    with count_collectives() as traffic:
        dist.all_reduce(whole, group=pairs[0])
        if root:
            dist.all_reduce(whole, group=pairs[1])
    found["groups"] = [(c.kind, c.payload, c.ranks) for c in traffic.calls], traffic.sent
    for name, wrap in (("torch's", DistributedDataParallel), ("ours", data_parallel)):
        wrapped = wrap(nn.Linear(16, 16))
        with count_collectives() as traffic:
            wrapped(torch.ones(1, 16)).sum().backward()
        found[name] = [(c.kind, c.payload, c.ranks) for c in traffic.calls], traffic.sent
    return found


def refusals() -> dict:
    """The sentences for what cannot be trained, which need a process group to be reached."""
    found = {}
    calls = {
        "frozen": lambda: data_parallel(nn.Linear(2, 2).requires_grad_(False)),
        "unlike": lambda: data_parallel(nn.Linear(2, 2 + dist.get_rank())),
        "rows": lambda: share(torch.ones(dist.get_world_size() + 1, 2)),
        "no rows": lambda: share(torch.ones(())),
        "ring": lambda: ring_all_reduce_(torch.ones(3, dtype=torch.int64)),
    }
    for name, call in calls.items():
        try:
            call()
        except (TypeError, ValueError) as error:
            found[name] = f"{type(error).__name__}: {error}"
    [numbers] = share({"x": (torch.arange(4.0 * dist.get_world_size()),)})["x"]
    found["shared"] = numbers.tolist()
    return found


def everything() -> dict:
    """All of the above in one start of the processes."""
    work = (schemes, accumulate, odd, alike_from_rank_0, after_an_error, rings, meetings, refusals)
    return {fn.__name__: fn() for fn in work} | {
        "counts": counts() if dist.get_world_size() == 2 else None
    }
