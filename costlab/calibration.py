"""Watch what flows into layers while a model reads a little text. Taught in notebook 05."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext
from functools import partial

import torch
from torch import Tensor, nn
from tqdm import tqdm

from costlab.bill.checks import Data, batches_of, check_tokens, on_device
from costlab.bill.counting import evaluating, matrices
from costlab.lm import corpus
from costlab.lm.decoding import (
    context_of,
    first_weight,
    is_language_model,
    vocabulary_of,
)
from costlab.modules import replace_

Change = Callable[[str, nn.Module, "Statistics"], nn.Module]


def calibration_batches(
    model: nn.Module, calibration: Data, *, windows: int = 64, context: int = 256
) -> list:
    """The batches to calibrate on: those given, or windows of the book's training text.

    None is only for models that read the book's bytes. Raises TypeError or ValueError.
    """
    if calibration is None:
        if not is_language_model(model) or vocabulary_of(model) != 256:
            raise ValueError(
                "calibration is needed: the model does not read bytes, so the book's training text "
                "cannot be used; give a batch or an iterable of batches"
            )
        text = corpus.as_tensor(corpus.training_text())
        context = min(context, context_of(model) - 1)
        drawn = corpus.batch(text, batch=windows, context=context, seed=1, step=0)
        batches = list(drawn[:, :-1].split(8))
    else:
        batches = batches_of(calibration, name="calibration")
        if is_language_model(model):
            check_tokens(type(model).__name__, model, batches, argument="calibration")
    device = first_weight(model).device
    return [on_device(device, batch) for batch in batches]


def call(model: nn.Module, batch: Tensor | tuple | dict) -> object:
    """Run the model on one batch: keywords from a dict, positions from a tuple."""
    if isinstance(batch, dict):
        return model(**batch)
    return model(*batch) if isinstance(batch, tuple) else model(batch)


class Statistics:
    """What a layer's inputs looked like: rows x (rows, inputs) of all calibration.

    `largest` is max |x| and `mean` is mean |x| of each input; `hessian` the mean of x^T x (inputs,
    inputs), where it is asked for. All float32.
    """

    def __init__(self, *, hessian: bool = False) -> None:
        self.rows, self.keep_hessian = 0, hessian
        self.largest = self.mean = self.hessian = torch.zeros(())

    def add(self, x: Tensor) -> None:
        """Take in a layer's input of shape (..., inputs)."""
        x = x.detach().reshape(-1, x.shape[-1]).float()
        if not len(x):  # an expert that no token of this batch was sent to
            return
        if not x.isfinite().all():
            raise ValueError("calibration must lead to finite activations, got NaN or infinity")
        old, self.rows, size = self.rows, self.rows + len(x), x.abs()
        self.largest = torch.maximum(size.amax(0), self.largest.to(x.device))
        self.mean = (self.mean.to(x.device) * old + size.sum(0)) / self.rows
        if self.keep_hessian:
            self.hessian = (self.hessian.to(x.device) * old + x.t() @ x) / self.rows


@contextmanager
def watching(model: nn.Module, found: dict[str, Statistics]) -> Iterator[None]:
    """Fill the statistics of the layers named in `found` while the model runs."""

    def watch(statistics: Statistics) -> Callable:
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:  # None: x stays as it is
            statistics.add(args[0] if args else next(iter(kwargs.values())))

        return hook

    handles = [
        model.get_submodule(name).register_forward_pre_hook(watch(statistics), with_kwargs=True)
        for name, statistics in found.items()
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()
    unseen = [name for name, statistics in found.items() if not statistics.rows]
    if unseen:
        raise ValueError(f"calibration must reach every layer, but it never reached {unseen[0]!r}")


@contextmanager
def _without_cache(model: nn.Module) -> Iterator[None]:
    """A cache of keys and values would grow each time a block is run again."""
    found = [getattr(module, "config", None) for module in model.modules()]  # decoders have theirs
    before = {id(c): (c, c.use_cache) for c in found if getattr(c, "use_cache", None) is not None}
    for config, _ in before.values():
        config.use_cache = False
    try:
        yield
    finally:
        for config, value in before.values():
            config.use_cache = value


@torch.no_grad()
def observe(model: nn.Module, batches: list, names: list[str]) -> dict[str, Statistics]:
    """Largest and mean inputs of the layers in `names`, from one pass over `batches`."""
    found = {name: Statistics() for name in names}
    with evaluating(model), _without_cache(model), watching(model, found):
        for batch in tqdm(batches, desc="calibrating", unit="batch", leave=False):
            call(model, batch)
    return found


def blocks(model: nn.Module) -> list[str]:
    """Names of the chain of blocks that holds most of the model's matrices; [""] without one."""

    def held(module: nn.Module) -> int:
        return sum(1 for _ in matrices(module))

    kinds = (nn.ModuleList, nn.Sequential)
    chains = {n: m for n, m in model.named_modules() if isinstance(m, kinds) and len(m) > 1}
    best = max(chains, key=lambda name: held(chains[name]), default=None)
    if best is None or 2 * held(chains[best]) <= held(model):
        return [""]
    return [f"{best}.{child}".lstrip(".") for child in chains[best]._modules]


class _Call:
    """One call of a block: what flows along the chain, and all that is passed beside it."""

    def __init__(self, args: tuple, kwargs: dict) -> None:
        self.args, self.kwargs = args[1:], dict(kwargs)
        self.key = None if args else next(iter(kwargs))  # the chain's tensor came by keyword
        self.first = args[0] if args else self.kwargs.pop(self.key)

    def replay(self, block: nn.Module, first: object) -> object:
        """Run the block on `first`; its output for the next block."""
        if self.key is None:
            out = block(first, *self.args, **self.kwargs)
        else:
            out = block(**{self.key: first}, **self.kwargs)
        return _first(out)


def _first(output: object) -> object:
    """What flows on from a block: its output, or the first of several."""
    return output[0] if isinstance(output, tuple) else output


def _record(model: nn.Module, batches: list, chain: list[str]) -> list[list[_Call]] | None:
    """The calls of each block, one for each batch; only the first block's keep what flows in.

    None where a block was skipped, shared, or not handed the very output of the one before.
    """
    calls: list[list[_Call]] = [[] for _ in chain]
    flowing, linked = [None], []

    def recorder(number: int) -> Callable:
        def hook(module: nn.Module, args: tuple, kwargs: dict) -> None:
            made = _Call(args, kwargs)
            calls[number].append(made)
            if number:
                linked.append(made.first is flowing[0])
                made.first = None

        return hook

    def passed_on(module: nn.Module, args: tuple, output: object) -> None:
        flowing[0] = _first(output)

    handles = []
    for number, name in enumerate(chain):
        block = model.get_submodule(name)
        handles.append(block.register_forward_pre_hook(recorder(number), with_kwargs=True))
        handles.append(block.register_forward_hook(passed_on))
    try:
        for batch in batches:
            call(model, batch)
    finally:
        for handle in handles:
            handle.remove()
    once = all(len(made) == len(batches) for made in calls)
    return calls if once and all(linked) else None


@torch.no_grad()
def walk(
    model: nn.Module, batches: list, names: list[str], change: Change, *, desc: str
) -> nn.Module:
    """Change the layers in `names`, block by block, each on what the changed ones before feed it.

    Each block runs twice over the batches, so the work grows with the number of layers, and one
    block's statistics are held at a time. change: name, layer and statistics with their Hessian
    -> the layer to put there. Returns the model, changed in place.
    """
    chain = blocks(model)
    bar = tqdm(total=len(names), desc=desc, unit="layer", leave=False)
    with bar, evaluating(model), _without_cache(model):
        calls = _record(model, batches, chain)
        if calls is None:
            chain = [""]
            calls = _record(model, batches, chain)
        left = list(names)
        hidden = [made.first for made in calls[0]]
        for number, block in enumerate(chain):
            prefix = f"{block}." if block else ""
            part = [name for name in left if name == block or name.startswith(prefix)]
            left = [name for name in left if name not in part]

            run = partial(_run, model, block, calls[number], hidden)
            model = _change(model, part, change, run, bar)
            if number + 1 < len(chain):
                hidden = run()
        # a head, asked for, sees what all the changed blocks give
        model = _change(model, left, change, lambda: [call(model, b) for b in batches], bar)
    return model


def _run(model: nn.Module, block: str, calls: list[_Call], hidden: list) -> list:
    """What the block makes of `hidden`, one entry for each batch."""
    module = model.get_submodule(block)
    return [made.replay(module, first) for made, first in zip(calls, hidden)]


def _change(
    model: nn.Module, names: list[str], change: Change, run: Callable[[], object], bar: tqdm
) -> nn.Module:
    """Watch the layers in `names` while `run` runs, then change each."""
    found = {name: Statistics(hessian=True) for name in names}
    with watching(model, found) if names else nullcontext():
        if names:
            run()
    for name in names:
        model = replace_(model, {name: change(name, model.get_submodule(name), found.pop(name))})
        bar.update()
    return model
