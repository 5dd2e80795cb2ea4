"""How a training run is laid out over devices: checked before anything is predicted."""

from dataclasses import dataclass

from costlab.estimate.checks import choice, whole
from costlab.estimate.devices import PRECISIONS
from costlab.estimate.transformer import Transformer

RECOMPUTE = ("none", "selective", "full")
MICRO_BATCHES = 8  # of a replica in a step where no batch is given: enough to hide the update
LONGEST = 8192  # default length of a sequence, where the model's context is longer


@dataclass(frozen=True, kw_only=True)
class Layout:
    """A training layout; see `costlab.estimate.training` for what the words mean."""

    devices: int
    data: int
    tensor: int
    pipeline: int
    context: int
    expert: int
    zero: int
    micro_batch: int
    global_batch: int
    sequence: int
    precision: str
    recompute: str
    interleave: int
    adapters: int | None

    @property
    def micro_batches(self) -> int:
        """Micro-batches that one replica works through in a step."""
        return self.global_batch // (self.data * self.micro_batch)

    @property
    def step_tokens(self) -> int:
        """Tokens of one step, over all devices."""
        return self.global_batch * self.sequence

    def __str__(self) -> str:
        named = ("tensor", "pipeline", "context", "expert", "data")
        parts = [f"{n} {getattr(self, n)}" for n in named if getattr(self, n) > 1]
        parts += [f"zero {self.zero}"] if self.zero else []
        return ", ".join([*parts, f"micro-batch {self.micro_batch}"])


def make_layout(
    model: Transformer,
    *,
    devices: int = 1,
    data: int | None = None,
    tensor: int = 1,
    pipeline: int = 1,
    context: int = 1,
    expert: int = 1,
    zero: int = 0,
    micro_batch: int = 1,
    global_batch: int | None = None,
    sequence: int | None = None,
    precision: str = "bf16",
    recompute: str = "none",
    interleave: int = 1,
    adapters: int | None = None,
) -> Layout:
    """The checked layout, with what was left out filled in.

    Raises:
        ValueError: a number is absurd, or numbers do not multiply or divide as they must.
    """
    sizes = {"devices": devices, "tensor": tensor, "pipeline": pipeline, "context": context}
    sizes |= {"expert": expert, "micro_batch": micro_batch, "interleave": interleave}
    sizes = {name: whole(name, value, most=10**7) for name, value in sizes.items()}
    zero = whole("zero", zero, least=0, most=3)
    choice("precision", precision, PRECISIONS)
    choice("recompute", recompute, RECOMPUTE)
    if adapters is not None:
        adapters = whole("adapters", adapters, most=model.hidden)
    if sequence is None:
        sequence = min(model.context, LONGEST)
    sequence = whole("sequence", sequence, most=10**9)
    data = _data(data, **{n: sizes[n] for n in ("devices", "tensor", "pipeline", "context")})
    _check_model(model, sizes, data)
    batch = _batch(global_batch, data, sizes["micro_batch"], sizes["pipeline"])
    return Layout(
        **sizes,
        data=data,
        zero=zero,
        global_batch=batch,
        sequence=sequence,
        precision=precision,
        recompute=recompute,
        adapters=adapters,
    )


def _data(data: int | None, *, devices: int, tensor: int, pipeline: int, context: int) -> int:
    replica = tensor * pipeline * context
    if devices % replica:
        raise ValueError(
            f"devices must be a multiple of tensor x pipeline x context ({tensor} x {pipeline} x "
            f"{context} = {replica}), got {devices}."
        )
    if data is None:
        return devices // replica
    data = whole("data", data, most=10**7)
    if data * replica != devices:
        raise ValueError(
            f"data must be devices / (tensor x pipeline x context) = {devices // replica}, "
            f"got {data}."
        )
    return data


def _check_model(model: Transformer, sizes: dict[str, int], data: int) -> None:
    if sizes["tensor"] > model.heads:
        raise ValueError(
            f"tensor must be at most the {model.heads} heads of {model.name}, "
            f"got {sizes['tensor']}."
        )
    chunks = sizes["pipeline"] * (sizes["interleave"] if sizes["pipeline"] > 1 else 1)
    if chunks > model.layers:
        raise ValueError(
            f"pipeline x interleave must be at most the {model.layers} layers of {model.name}, "
            f"got {chunks}."
        )
    expert, peers = sizes["expert"], data * sizes["context"]
    if peers % expert:
        raise ValueError(f"expert must divide data x context ({peers}), got {expert}.")
    if model.experts % expert:
        raise ValueError(
            f"expert must divide the {model.experts} experts of {model.name}, got {expert}."
            if model.experts > 1
            else f"expert must be 1, {model.name} has no experts, got {expert}."
        )


def _batch(global_batch: int | None, data: int, micro_batch: int, pipeline: int) -> int:
    each = data * micro_batch
    if global_batch is None:
        return each * max(MICRO_BATCHES, 4 * pipeline)
    global_batch = whole("global_batch", global_batch)
    if global_batch % each:
        below = global_batch // each * each
        near = f"{below} or {below + each}" if below else str(each)
        raise ValueError(
            f"global_batch must be a multiple of data x micro_batch ({data} x {micro_batch} = "
            f"{each}), such as {near}, got {global_batch}."
        )
    return global_batch
