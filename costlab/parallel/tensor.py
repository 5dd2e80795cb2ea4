"""Tensor parallel: every matrix cut over processes, by columns or by rows (arXiv:1909.08053).

Taught in: notebooks/08_model_parallel.ipynb.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.tensor import Replicate, Shard
from torch.nn import functional as F

from costlab.parallel.data import start_alike
from costlab.parallel.split import Split, fold, grid

# "column" hands its part of the output on to a "row", which takes it as input and adds up: a pair
# needs one sum. "gathered" is cut by columns, too, and puts its output together at once.
PAIRS = {
    "q_proj": "column", "k_proj": "column", "v_proj": "column", "o_proj": "row",
    "gate_proj": "column", "up_proj": "column", "down_proj": "row",
}  # fmt: skip
GATHERED = dict.fromkeys(PAIRS, "gathered")
KINDS = ("column", "row", "gathered")


class Enter(torch.autograd.Function):
    """f: what all processes have goes into what each does with it. Backward, the parts add up."""

    @staticmethod
    def forward(ctx: object, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """x as it is."""
        ctx.group = group
        return x.view_as(x)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        """The sum of all processes' gradients."""
        total = gradient.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=ctx.group)
        return total, None


class Leave(torch.autograd.Function):
    """g: each process's part of a sum becomes the sum. Backward, each takes the gradient as is."""

    @staticmethod
    def forward(ctx: object, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """The sum over processes."""
        total = x.clone(memory_format=torch.contiguous_format)
        dist.all_reduce(total, group=group)
        return total

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient as it is."""
        return gradient, None


class Gather(torch.autograd.Function):
    """Columns that each process computed become the whole output. Backward, each takes its own."""

    @staticmethod
    def forward(ctx: object, x: Tensor, group: dist.ProcessGroup) -> Tensor:
        """All columns, in the order of processes."""
        ctx.size, ctx.rank = group.size(), group.rank()
        parts = [torch.empty(x.shape, dtype=x.dtype, device=x.device) for _ in range(ctx.size)]
        dist.all_gather(parts, x.contiguous(), group=group)
        return torch.cat(parts, dim=-1)

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> tuple[Tensor, None]:
        """The gradient of this process's columns."""
        return gradient.chunk(ctx.size, dim=-1)[ctx.rank], None


class Part(nn.Module):
    """A linear layer of which this process holds some columns of the output, or rows of the input.

    As everywhere in torch, `weight` is (out, in): to cut the output's columns is to cut its rows.
    """

    def __init__(self, weight: Tensor, bias: Tensor | None, kind: str) -> None:
        super().__init__()
        self.weight, self.kind = nn.Parameter(weight), kind
        self.bias = None if bias is None else nn.Parameter(bias)
        self.group: dist.ProcessGroup | None = None
        self.sharers: dist.ProcessGroup | None = None  # processes that hold these same heads

    def forward(self, x: Tensor) -> Tensor:
        """x (..., in or a part of it) -> (..., a part of out, or all of it)."""
        if self.kind == "row":
            y = Leave.apply(F.linear(x, self.weight), self.group)
            return y if self.bias is None else y + self.bias
        if self.kind == "gathered":
            return Gather.apply(
                F.linear(Enter.apply(x, self.group), self.weight, self.bias), self.group
            )
        weight, bias = self.weight, self.bias
        if self.sharers is not None:  # each of them sees the gradient of its own queries alone
            weight = Enter.apply(weight, self.sharers)
            bias = None if bias is None else Enter.apply(bias, self.sharers)
        return F.linear(x, weight, bias)


def tensor_parallel(
    model: nn.Module, *, partition: Mapping[str, str] | None = None, replicas: int = 1
) -> TensorParallel:
    """A module in which every process computes its part of each matrix: `model` cut over them all.

        part = tensor_parallel(model)
        optimizer = torch.optim.AdamW(part.parameters())
        criterion(part(inputs), targets).backward()        # the same inputs on all processes
        optimizer.step()

    partition: last part of a linear layer's name -> "column" (its outputs are cut, and stay so),
    "row" (its inputs are cut, its outputs added up) or "gathered" (its outputs are cut and put
    together). [PAIRS: columns, then rows, in attention and in the MLP: two all-reduces forward and
    two backward for each block.] Columns in attention are cut between heads; where keys and values
    have fewer heads than there are processes, some processes hold the same heads, and two smaller
    all-reduces per block add up their gradients. Other parameters stand whole in every process.
    replicas: so many copies of the model, each over its share of the processes.

    `model` is not changed; weights are those of rank 0. Per block and micro-batch of x bytes a
    process sends 8 x (N-1)/N. At work: torch.distributed.tensor.parallel.parallelize_module.

    Raises TypeError or ValueError with one sentence before any work starts.
    Taught in: notebooks/08_model_parallel.ipynb.
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    plan = dict(PAIRS if partition is None else partition)
    for name, kind in plan.items():
        if kind not in KINDS:
            raise ValueError(f"partition[{name!r}] must be one of {', '.join(KINDS)}, got {kind!r}")
    mesh = grid("tensor_parallel", replicas)
    kinds, sharing = check_cut(model, plan, mesh["model"].size())
    whole = copy.deepcopy(model)
    start_alike(whole)
    return TensorParallel(whole, mesh, kinds, sharing)


class TensorParallel(Split):
    """This process's part of a model: from `tensor_parallel`."""

    def __init__(self, whole: nn.Module, mesh: object, kinds: dict, sharing: dict) -> None:
        super().__init__(whole, mesh)
        group, rank, ranks = mesh.get_group("model"), self.part, self.parts
        self.copies = {name: ranks for name, _ in whole.named_parameters()}
        shared = {n: fold(mesh, n) for n in sorted(set(sharing.values()) - {1})}
        for name, kind in kinds.items():
            part = _cut(whole.get_submodule(name), kind, rank, ranks, sharing[name])
            part.group = group
            dim = 1 if kind == "row" else 0
            cut = mesh["model"], (Shard(dim),)
            if sharing[name] > 1:
                grid_ = shared[sharing[name]]
                cut, part.sharers = (grid_, (Shard(0), Replicate())), grid_.get_group(1)
            names = [name + ".weight"] + [name + ".bias"] * (part.bias is not None and dim == 0)
            self.cuts |= dict.fromkeys(names, cut)
            self.copies |= dict.fromkeys(names, sharing[name])
            whole.set_submodule(name, part)
        parents = {n.rpartition(".")[0] for n, kind in kinds.items() if kind == "column"}
        for name in parents:
            whole.get_submodule(name).register_forward_pre_hook(
                lambda _, inputs: (Enter.apply(inputs[0], group), *inputs[1:])
            )

    def forward(self, *args: object, **kwargs: object) -> object:
        """What the whole model returns, on every process."""
        return self.module(*args, **kwargs)


def check_cut(
    model: nn.Module, plan: Mapping[str, str], ranks: int
) -> tuple[dict[str, str], dict[str, int]]:
    """({layer: kind}, {layer: how many processes share its heads}) of a plan for `ranks`.

    Raises ValueError for a plan that names no layer, or a layer that cannot be cut so.
    """
    kinds = {
        name: plan[last]
        for name, module in model.named_modules()
        if isinstance(module, nn.Linear) and (last := name.rpartition(".")[2]) in plan
    }
    if not kinds:
        raise ValueError(
            f"model must have linear layers named as in partition ({', '.join(plan)}), got none"
        )
    return kinds, {name: _sharing(model, name, kind, ranks) for name, kind in kinds.items()}


def _sharing(model: nn.Module, name: str, kind: str, ranks: int) -> int:
    """How many processes share the heads of a layer [1]; refuses what cannot be cut."""
    layer, parent = (model.get_submodule(n) for n in (name, name.rpartition(".")[0]))
    size = layer.in_features if kind == "row" else layer.out_features
    unit = getattr(parent, "head_dim", 1) if kind != "gathered" else 1
    count, what = size // unit, "heads" if unit > 1 else "columns or rows"
    if count % ranks == 0:
        return 1
    last = name.rpartition(".")[2]
    if unit > 1 and ranks % count == 0 and last in ("k_proj", "v_proj"):
        return ranks // count
    raise ValueError(
        f"the number of processes that share a model must divide the {count} {what} of {name}, "
        f"got {ranks}"
    )


def _cut(layer: nn.Linear, kind: str, rank: int, ranks: int, sharing: int) -> Part:
    """This process's part of a layer."""
    dim = 1 if kind == "row" else 0
    take = lambda t: t.detach().chunk(ranks // sharing, dim)[rank // sharing].clone()  # noqa: E731
    bias = layer.bias if layer.bias is None or dim else take(layer.bias)
    return Part(take(layer.weight), bias if bias is None else bias.detach().clone(), kind)
