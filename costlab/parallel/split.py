"""What tensor parallel and pipeline share: a model over some processes, and copies of it beside.

Taught in: notebooks/08_model_parallel.ipynb.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Placement

from costlab.parallel.data import clip_, pack, share, unpack
from costlab.parallel.launch import device
from costlab.parallel.processes import require_group

Cut = tuple[DeviceMesh, tuple[Placement, ...]]


class Split(nn.Module):
    """This process's part of a model: what `tensor_parallel` and `pipeline` return.

    Processes stand in a grid of `replicas` rows: a row holds the model once, cut into parts, and
    the rows are data parallel to each other.

    Attributes:
        module: this process's part, under the names of the whole model.
        mesh: the grid, with the axes "data" and "model".
        cuts: name -> how a parameter of the whole model is cut, for those that are.
        copies: name -> in how many processes of a row this part of the parameter stands [1].
    """

    def __init__(self, module: nn.Module, mesh: DeviceMesh) -> None:
        super().__init__()
        self.module, self.mesh = module, mesh
        self.cuts: dict[str, Cut] = {}
        self.copies: dict[str, int] = {}

    @property
    def part(self) -> int:
        """Which part of the model this is, from 0."""
        return self.mesh.get_local_rank("model")

    @property
    def parts(self) -> int:
        """Into how many the model is cut."""
        return self.mesh["model"].size()

    def share(self, batch: Tensor) -> Tensor:
        """The rows of `batch` that this process's copy of the model is to see."""
        return share(batch, self.mesh.get_group("data"))

    def average_gradients(self) -> None:
        """Average gradients over the copies of the model; all processes call it after backward."""
        if self.mesh["data"].size() > 1:
            held, copies = list(self.module.parameters()), self.mesh.get_group("data")
            dist.all_reduce(flat := pack(held, copies), group=copies)
            unpack(flat, held)

    @torch.no_grad()
    def clip_grad_norm_(self, most: float) -> Tensor:
        """Scale gradients so that their norm over the whole model is at most `most`; returns it.

        torch's own `clip_grad_norm_` would see this part alone.
        """
        named = [(n, p.grad) for n, p in self.module.named_parameters() if p.grad is not None]
        squares = [g.float().square().sum() / self.copies.get(n, 1) for n, g in named]
        total = sum(squares, torch.zeros((), device=device()))
        return clip_([g for _, g in named], total, most, self.mesh.get_group("model"))

    def as_whole(self, name: str, tensor: Tensor) -> Tensor:
        """A tensor shaped as parameter `name` is here, as part of the whole one's (a DTensor)."""
        if name not in self.cuts or not tensor.ndim:
            return tensor
        mesh, placements = self.cuts[name]
        return DTensor.from_local(tensor.contiguous(), mesh, placements, run_check=False)

    def state_dict(self) -> dict[str, Tensor]:
        """A copy of the whole model's, on every process; all of them call it."""
        mine = {}
        for name, tensor in self.module.state_dict().items():
            mine[name] = full(self.as_whole(name, tensor))
        gathered: list = [None] * self.parts
        dist.all_gather_object(gathered, self.missing_elsewhere(mine), self.mesh.get_group("model"))
        rest = {name: tensor for part in gathered for name, tensor in part.items()}
        return {name: tensor.detach().clone() for name, tensor in (mine | rest).items()}

    def missing_elsewhere(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Of `state`, what other parts of the model do not hold."""
        return {}


def full(tensor: Tensor) -> Tensor:
    """A tensor put together, where it is cut (a DTensor); any other as it is."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def grid(name: str, replicas: int) -> DeviceMesh:
    """All processes as `replicas` rows, each of which is to hold the model once.

    Raises ValueError naming `name`, the function that asked, without a process group or where the
    number of processes is not a multiple of `replicas`.
    """
    require_group(name)
    world = dist.get_world_size()
    whole = isinstance(replicas, int) and not isinstance(replicas, bool)
    if not whole or replicas < 1 or world % replicas:
        raise ValueError(f"replicas must divide the {world} processes, got {replicas!r}")
    shape = (replicas, world // replicas)
    return init_device_mesh(device().type, shape, mesh_dim_names=("data", "model"))


def fold(mesh: DeviceMesh, sharing: int) -> DeviceMesh:
    """This process's row of a grid, with the `sharing` that hold the same part in a line."""
    replicas, parts = mesh.shape
    names = (f"data of {sharing}", f"parts of {sharing}", f"sharers of {sharing}")
    shape = (replicas, parts // sharing, sharing)
    return init_device_mesh(mesh.device_type, shape, mesh_dim_names=names)[names[1:]]
