"""What the processes of the tests on model parallel do; processes can import only modules."""

import torch
import torch.distributed as dist
from torch import nn
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.tensor.debug import CommDebugMode
from torch.nn import functional as F

from costlab.lm.model import Config, LanguageModel
from costlab.parallel import count_collectives
from costlab.parallel.experts import Experts, expert_parallel
from costlab.parallel.peak import peak_bytes
from costlab.parallel.pipelining import pipeline
from costlab.parallel.stages import Stage
from costlab.parallel.tensor import GATHERED, tensor_parallel

SHAPE = {"width": 24, "layers": 4, "heads": 4, "kv_heads": 2, "head_dim": 6, "ffn": 40}
STEPS, BATCH, POSITIONS, LR, DECAY = 5, 8, 12, 1e-2, 0.1


def model(dtype=torch.float32, seed=0, **changes):
    torch.manual_seed(seed)
    return LanguageModel(Config(**SHAPE | changes, context=16)).to(dtype)


def windows(step):
    generator = torch.Generator().manual_seed(100 + step)
    return torch.randint(0, 256, (BATCH, POSITIONS + 1), generator=generator)


def nats(net, batch):
    return F.cross_entropy(net(batch[:, :-1]).flatten(0, 1), batch[:, 1:].flatten())


def train(net, backward, average=lambda: None, clip=None):
    """Five steps; the first's gradients by name, and the losses."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=LR, weight_decay=DECAY)
    losses = []
    for step in range(STEPS):
        losses.append(float(backward(windows(step))))
        average()
        if clip:
            clip(0.5)
        optimizer.step()
        optimizer.zero_grad()
    return losses


def single(dtype, clip=False):
    """Losses and weights of one process."""
    net = model(dtype)

    def backward(batch):
        loss = nats(net, batch)
        loss.backward()
        return loss.detach()

    limit = (lambda most: nn.utils.clip_grad_norm_(net.parameters(), most)) if clip else None
    losses = train(net, backward, clip=limit)
    return losses, {name: t.detach() for name, t in net.state_dict().items()}


def counted(work):
    """Collectives in a call as the package counts them, and their numbers as torch does."""
    with CommDebugMode() as torchs, count_collectives() as traffic:
        work()
    calls = [(call.kind, call.payload, call.ranks) for call in traffic.calls]
    told = torchs.get_comm_counts().items()  # of operators such as c10d.allreduce_
    return calls, {str(op).split(".")[-1].replace("_", ""): number for op, number in told}


def tensor_run(dtype, clip=False, **knobs):
    """The same with `tensor_parallel`: losses, whole weights, collectives of the first step."""
    part = tensor_parallel(model(dtype, seed=dist.get_rank()), **knobs)

    def backward(batch):
        loss = nats(part, part.share(batch))
        loss.backward()
        return loss.detach()

    found = counted(lambda: backward(windows(0)))
    part.zero_grad()
    losses = train(part, backward, part.average_gradients, part.clip_grad_norm_ if clip else None)
    return losses, part.state_dict(), *found


def pipeline_run(dtype, clip=False, **knobs):
    """The same with `pipeline`: losses, whole weights, order of work, peak bytes of a step."""
    stage = pipeline(model(dtype, seed=dist.get_rank()), **knobs)
    backward = lambda batch: stage.loss_and_gradients(stage.share(batch))  # noqa: E731
    backward(windows(0))
    stage.zero_grad(set_to_none=False)
    peak = peak_bytes(lambda: backward(windows(0)))
    stage.zero_grad()
    losses = train(
        stage, backward, stage.average_gradients, stage.clip_grad_norm_ if clip else None
    )
    return losses, stage.state_dict(), [s.action for s in stage.spans], peak


def torchs_tensor():
    """Losses of torch's own plan over the same weights, and its collectives in the first step."""
    from costlab.parallel.lessons_model import torch_plan  # seconds, for every process

    net = model(torch.float64)
    torch_plan(net, init_device_mesh("cpu", (dist.get_world_size(),)))

    def backward(batch):
        loss = nats(net, batch)
        loss.backward()
        return loss.detach()

    calls, kinds = counted(lambda: backward(windows(0)))
    net.zero_grad()
    return train(net, backward), calls, kinds


def torchs_pipeline():
    """Gradients of one step of torch's GPipe over our stage."""
    from torch.distributed.pipelining import PipelineStage, ScheduleGPipe  # seconds, too

    rank, ranks = dist.get_rank(), dist.get_world_size()
    ours = pipeline(model(torch.float64), microbatches=4)
    batch = windows(0)
    ours.loss_and_gradients(batch)
    module = Stage(model(torch.float64), ours.sizes, rank)
    stage = PipelineStage(module, rank, ranks, torch.device("cpu"))
    criterion = lambda out, to: F.cross_entropy(out.flatten(0, 1), to.flatten())  # noqa: E731
    engine = ScheduleGPipe(stage, 4, loss_fn=criterion)
    given = (batch[:, :-1],) if rank == 0 else ()
    engine.step(*given, target=batch[:, 1:] if module.last else None)
    theirs = dict(module.named_parameters())
    return max(float((p.grad - theirs[name].grad).abs().max())
               for name, p in ours.module.named_parameters())  # fmt: skip


def experts():
    """Farthest that expert parallel is from the layer itself, for this process's tokens."""
    torch.manual_seed(0)
    layer = Experts(Config(**SHAPE, context=16), experts=8, active=2).double()
    torch.manual_seed(dist.get_rank())
    x = torch.randn(7 + dist.get_rank(), SHAPE["width"], dtype=torch.float64)
    expected, ranks = layer(x), dist.get_world_size()
    for index, expert in enumerate(layer.experts):
        if index // (8 // ranks) != dist.get_rank():  # held by others: must not be used here
            nn.init.constant_(expert.down_proj.weight, float("nan"))
    with count_collectives() as traffic, torch.no_grad():
        found = expert_parallel(layer, x)
    return float((found - expected).abs().max()), traffic.count


def two():
    """All that two processes are asked."""
    found = {"tensor": tensor_run(torch.float64), "tensor32": tensor_run(torch.float32, clip=True)}
    found["gathered"] = tensor_run(torch.float64, partition=GATHERED)
    found["torch's tensor"] = torchs_tensor()
    for kind in ("gpipe", "1f1b"):
        found[kind] = pipeline_run(torch.float64, schedule=kind, microbatches=8)
    sample = windows(0)[:, :-1]
    found["time"] = pipeline_run(torch.float32, True, partition="time", sample=sample,
                                 microbatches=2)  # fmt: skip
    found["torch's pipeline"] = torchs_pipeline()
    found["refused"] = refused()
    return found


def four():
    """All that four processes are asked: shared heads, and both parallels beside data parallel."""
    return {
        "experts": experts(),
        "tensor": tensor_run(torch.float64),
        "tensor clipped": tensor_run(torch.float32, clip=True),
        "data+tensor": tensor_run(torch.float32, clip=True, replicas=2),
        "pipeline": pipeline_run(torch.float64, microbatches=4, partition="parameters"),
        "data+pipeline": pipeline_run(torch.float32, clip=True, microbatches=2, replicas=2),
    }


def refused():
    """What each bad input is told, in words."""
    tries = {
        "heads": lambda: tensor_parallel(model(heads=3, kv_heads=1)),
        "neurons": lambda: tensor_parallel(model(ffn=41)),
        "kind": lambda: tensor_parallel(model(), partition={"q_proj": "diagonal"}),
        "nothing": lambda: tensor_parallel(nn.Linear(4, 4)),
        "no module": lambda: tensor_parallel("model"),
        "replicas": lambda: tensor_parallel(model(), replicas=3),
        "layers": lambda: pipeline(model(layers=1), microbatches=2),
        "microbatches": lambda: pipeline(model(), microbatches=1),
        "schedule": lambda: pipeline(model(), microbatches=2, schedule="zigzag"),
        "partition": lambda: pipeline(model(), microbatches=2, partition="layers"),
        "sample": lambda: pipeline(model(), microbatches=2, partition="time"),
        "book": lambda: pipeline(nn.Linear(4, 4), microbatches=2),
        "experts": lambda: expert_parallel(
            Experts(Config(**SHAPE, context=16), experts=3), torch.zeros(2, SHAPE["width"])
        ),
        "rows": lambda: pipeline(model(), microbatches=3).loss_and_gradients(windows(0)),
    }
    told = {}
    for name, attempt in tries.items():
        try:
            attempt()
        except (ValueError, TypeError) as error:
            told[name] = f"{type(error).__name__}: {error}"
    return told
