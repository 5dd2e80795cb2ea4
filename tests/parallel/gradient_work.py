"""What the processes of the tests on gradient parallel do; processes can import only modules."""

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.checkpoint import checkpoint

from costlab.lm.model import Config, LanguageModel
from costlab.lm.trainer import loss_on
from costlab.parallel import count_collectives
from costlab.parallel.gradient import shard_gradients

SHAPE = {"width": 24, "layers": 2, "heads": 2, "kv_heads": 1, "head_dim": 12, "ffn": 40}
STEPS, BATCH = 5, 8
LR, DECAY = 1e-2, 0.1


def model(seed=0):
    """A tiny one of the book's kind."""
    torch.manual_seed(seed)
    return LanguageModel(Config(**SHAPE, context=16))


def groups(net):
    """Two groups, as in training: weight decay on matrices alone."""
    matrices = [p for p in net.parameters() if p.ndim >= 2]
    vectors = [p for p in net.parameters() if p.ndim < 2]
    return [
        {"params": matrices, "weight_decay": DECAY},
        {"params": vectors, "weight_decay": 0.0},
    ]


def adamw(net):
    return torch.optim.AdamW(groups(net), lr=LR)


def batch(step, micro=1):
    """This step's windows, in equal parts for each rank (and micro-batch)."""
    generator = torch.Generator().manual_seed(100 + step)
    windows = torch.randint(0, 256, (BATCH, 13), generator=generator)
    rank, ranks = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    return windows.chunk(ranks)[rank].chunk(micro)


def weights(net):
    return {name: t.detach().clone() for name, t in net.state_dict().items()}


def backward(net, step, micro=1):
    for windows in batch(step, micro):
        (loss_on(net, windows) / micro).backward()


def alone(micro=1, clip=None, steps=STEPS):
    """Weights after training in one process."""
    net = model()
    optimizer = adamw(net)
    for step in range(steps):
        backward(net, step, micro)
        if clip:
            nn.utils.clip_grad_norm_(net.parameters(), clip)
        optimizer.step()
        optimizer.zero_grad()
    return weights(net)


def sharded_model(stage=2, partition="flat", net=None):
    net = model(seed=dist.get_rank()) if net is None else net  # rank 0's weights count
    return shard_gradients(net, adamw(net), stage=stage, partition=partition)


def train(sharded, steps=range(STEPS), micro=1, clip=None):
    """Train with `shard_gradients`; the weights, the bytes held and those sent in the last step."""
    for step in steps:
        with count_collectives() as traffic:
            backward(sharded, step, micro)
            if clip:
                sharded.clip_grad_norm_(clip)
            held = sharded.held()
            sharded.step()
            sharded.zero_grad()
    with sharded.gathered() as whole:
        return weights(whole), held, traffic.sent


def every_stage():
    """Every stage and partition -> what `train` gives; and the weights under torch's own."""
    kinds = [(stage, partition) for stage in (1, 2, 3) for partition in ("flat", "greedy")]
    found = {kind: train(sharded_model(*kind)) for kind in kinds}
    return found | {"ddp": ddp(), "zero": zero(), "fsdp2": fsdp2()}


def variants():
    """The same, and what must not change the result, or not by itself."""
    found = every_stage()
    found |= {f"micro {s}": train(sharded_model(s), micro=2) for s in (1, 2)}
    found |= {f"clip {s}": train(sharded_model(s), clip=0.5)[0] for s in (1, 3)}
    for reentrant in (False, True):
        net = model()
        for block in net.model.layers:
            block.forward = _checkpointed(block.forward, reentrant)
        found[f"checkpointed {reentrant}"] = train(sharded_model(3, net=net))[0]
    found["unused"] = unused_parameters()
    return found


def _checkpointed(forward, reentrant):
    return lambda *args: checkpoint(forward, *args, use_reentrant=reentrant)


def unused_parameters():
    """Weights after a step with a layer that only rank 0 uses."""
    net = nn.Sequential(nn.Linear(3, 3), nn.Linear(3, 3))
    with torch.no_grad():
        for p in net.parameters():
            p.fill_(0.5)
    sharded = shard_gradients(net, torch.optim.SGD(net.parameters(), lr=1.0))
    used = net if dist.get_rank() == 0 else net[0]
    used(torch.ones(1, 3)).sum().backward()
    sharded.step()
    return weights(net)


def ddp():
    net = model()
    wrapped, optimizer = DistributedDataParallel(net), adamw(net)
    _steps(wrapped, optimizer)
    return weights(net)


def zero():
    from torch.distributed.optim import ZeroRedundancyOptimizer  # seconds, for every rank

    net = model()
    wrapped = DistributedDataParallel(net)
    optimizer = ZeroRedundancyOptimizer(groups(net), torch.optim.AdamW, lr=LR)
    _steps(wrapped, optimizer)
    return weights(net)


def fsdp2():
    from torch.distributed.fsdp import fully_shard

    net = model()
    for block in net.model.layers:
        fully_shard(block)
    fully_shard(net)
    _steps(net, adamw(net))
    return {name: p.full_tensor().detach() for name, p in net.named_parameters()}


def _steps(net, optimizer):
    for step in range(STEPS):
        backward(net, step)
        optimizer.step()
        optimizer.zero_grad()
