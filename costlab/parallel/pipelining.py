"""Pipeline: consecutive layers on each process, micro-batches one behind the other.

Taught in: notebooks/08_model_parallel.ipynb.
"""

from __future__ import annotations

import copy
import time

import torch
import torch.distributed as dist
from torch import Tensor
from torch.distributed.device_mesh import DeviceMesh
from torch.nn import functional as F

from costlab.lm.model import LanguageModel
from costlab.parallel.data import start_alike
from costlab.parallel.schedules import Action, Span, actions, neighbors
from costlab.parallel.split import Split, grid
from costlab.parallel.stages import Stage, check_stages, cut, unit_costs


def pipeline(
    model: LanguageModel, *, microbatches: int, partition: str = "flops",
    schedule: str = "1f1b", replicas: int = 1, sample: Tensor | None = None,
) -> Pipeline:  # fmt: skip
    """This process's stage of `model`: some of its layers, between those of its neighbors.

        stage = pipeline(model, microbatches=4)
        optimizer = torch.optim.AdamW(stage.parameters())
        loss = stage.loss_and_gradients(windows)          # the same windows on all processes
        optimizer.step()

    microbatches: parts of a batch that follow each other, at least the stages. partition: what
    stages hold in equal amounts: "flops", "parameters" or measured "time", for which rank 0 runs
    `sample`, int64 (batch, positions). schedule: "1f1b" or "gpipe", see `actions`. replicas: so
    many copies of the model, each over its share of the processes.

    `model` is not changed; weights are those of rank 0. A stage sends one micro-batch's activations
    forward and as much backward. At work: torch.distributed.pipelining.

    Raises TypeError or ValueError with one sentence before any work starts.
    Taught in: notebooks/08_model_parallel.ipynb.
    """
    if not isinstance(model, LanguageModel):
        raise TypeError(f"model must be the book's LanguageModel, got {type(model).__name__}")
    mesh = grid("pipeline", replicas)
    stages = mesh["model"].size()
    check_stages(stages, len(model.model.layers))
    orders = actions(schedule, stages, microbatches)
    costs = unit_costs(model, partition, sample)
    dist.broadcast_object_list(told := [costs], src=0)  # times differ from process to process
    whole = copy.deepcopy(model)
    start_alike(whole)
    return Pipeline(whole, mesh, cut(told[0], stages), orders)


class Pipeline(Split):
    """This process's stage, and how it works with the others: from `pipeline`.

    Attributes:
        sizes: units of every stage (embedding, each block, norm with head).
        spans: when this stage computed what in the last step, on a clock that processes share.
    """

    def __init__(
        self, whole: LanguageModel, mesh: DeviceMesh, sizes: list[int], orders: list[list[Action]]
    ) -> None:
        super().__init__(Stage(whole, sizes, mesh.get_local_rank("model")), mesh)
        self.sizes, self.order, self.spans = sizes, orders[self.part], list[Span]()
        self.ranks = dist.get_process_group_ranks(mesh.get_group("model"))
        self.microbatches = 1 + max(action.micro for action in self.order)
        rows = mesh.mesh.tolist()
        # A group for each direction: under NCCL, what two processes say to each other in one group
        # has one order, and in the middle of 1F1B both would be sending.
        self.lanes = {kind: [dist.new_group(row) for row in rows][mesh.get_local_rank("data")]
                      for kind in ("forward", "backward")}  # fmt: skip

    def loss_and_gradients(self, windows: Tensor, precision: str = "fp32") -> Tensor:
        """Run a step's schedule; the mean loss in nats on windows (batch, positions + 1).

        Gradients add up in the `grad` of this stage's parameters. Raises ValueError where the batch
        does not divide into micro-batches.
        """
        if len(windows) % self.microbatches:
            raise ValueError(f"windows must divide into {self.microbatches} micro-batches, "
                             f"got {len(windows)} rows")  # fmt: skip
        run = _Run(self, windows.chunk(self.microbatches), precision)
        self.spans = [run.do(action) for action in self.order]
        for work, _ in run.sends:
            work.wait()
        loss = torch.as_tensor(run.loss, dtype=torch.float64, device=windows.device)
        dist.broadcast(loss, src=self.ranks[-1], group=self.mesh.get_group("model"))
        return loss

    def forward(self, *_: object) -> object:
        """Refused: a stage alone computes nothing of use."""
        raise RuntimeError(
            "call loss_and_gradients(windows): forward and backward passes alternate"
        )

    def missing_elsewhere(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """All of it: stages share no parameter."""
        return state


class _Run:
    """One step of one stage: what it has open, and what it waits for."""

    def __init__(self, pipe: Pipeline, micros: tuple[Tensor, ...], precision: str) -> None:
        self.pipe, self.micros, self.precision = pipe, micros, precision
        self.open: dict[int, tuple[Tensor | None, Tensor]] = {}  # micro -> (input, output)
        self.sends: list[tuple[dist.Work, Tensor]] = []
        self.loss = 0.0

    def do(self, action: Action) -> Span:
        """Hear, compute, send on; the span is that of computing."""
        source, target = neighbors(action, self.pipe.parts)
        tokens = self.micros[action.micro][:, :-1]
        heard = self.pipe.module.blank(tokens) if source is not None else None
        lane = self.pipe.lanes[action.kind]
        if heard is not None:
            dist.recv(heard, self.pipe.ranks[source], group=lane)
        start = time.perf_counter()
        step = self._forward if action.kind == "forward" else self._backward
        told = step(action.micro, heard, tokens)
        stop = time.perf_counter()
        if target is not None:
            told = told.contiguous()
            self.sends.append((dist.isend(told, self.pipe.ranks[target], group=lane), told))
        return Span(action, start, stop)

    def _forward(self, micro: int, heard: Tensor | None, tokens: Tensor) -> Tensor:
        stage = self.pipe.module
        given = tokens if heard is None else heard.requires_grad_()
        low = self.precision == "bf16"
        with torch.autocast(tokens.device.type, torch.bfloat16, enabled=low):
            out = stage(given)
        if stage.last:
            wide = out.to(torch.promote_types(out.dtype, torch.float32)).flatten(0, 1)
            out = F.cross_entropy(wide, self.micros[micro][:, 1:].flatten()) / len(self.micros)
            self.loss += out.item()
        self.open[micro] = heard, out
        return out.detach().to(stage.dtype)

    def _backward(self, micro: int, heard: Tensor | None, _: Tensor) -> Tensor | None:
        given, out = self.open.pop(micro)
        out.backward(None if heard is None else heard.to(out.dtype))
        return None if given is None else given.grad
