"""Train the book's language model: `costlab train`, or `python -m costlab.lm.trainer`.

Windows of the corpus depend on seed and step alone, checkpoints hold weights, optimizer state and
step in one safetensors file that appears whole or not at all, and the learning rate stays constant
until its final decay: so a run that was stopped ends with the weights of one that was not. Taught
in notebook 01.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from tqdm import tqdm

from costlab.lm import corpus
from costlab.lm.checkpoint import load_checkpoint, save_checkpoint
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import save_model


@dataclass(frozen=True)
class Recipe:
    """How to train: `context` in bytes, `steps`, `warmup` and `decay` in steps."""

    steps: int = 10_000
    batch_size: int = 4
    context: int = 512
    lr: float = 2e-3
    warmup: int = 100
    decay: int = 5_000  # the last steps, over which the learning rate falls to zero
    weight_decay: float = 0.1
    precision: str = "bf16"
    seed: int = 0

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name == "precision":
                continue
            whole = name not in ("lr", "weight_decay")
            if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
                raise ValueError(f"{name} must be a {'whole ' * whole}number, got {value!r}")
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be at least 0, got {value}")
            if value == 0 and name in ("steps", "batch_size", "context", "lr"):
                raise ValueError(f"{name} must be positive, got {value}")
        if self.precision not in ("bf16", "fp32"):
            raise ValueError(f"precision must be 'bf16' or 'fp32', got {self.precision!r}")

    def rate(self, step: int) -> float:
        """Share of the full learning rate at `step`: warm-up, constant, decay to zero."""
        left = self.steps - step
        return min(1.0, (step + 1) / max(1, self.warmup), left / max(1, self.decay))


PARALLEL = ("data", "gradient", "tensor", "pipeline", "fsdp", "data+tensor", "data+pipeline")
SHIPPED = Recipe(steps=14_000, decay=7_500)  # what the weights of the book were trained with


def make_optimizer(model: nn.Module, recipe: Recipe) -> torch.optim.Optimizer:
    """AdamW (arXiv:1711.05101) with weight decay on matrices, none on norms."""
    matrices = [p for p in model.parameters() if p.ndim >= 2]
    vectors = [p for p in model.parameters() if p.ndim < 2]
    groups = [
        {"params": matrices, "weight_decay": recipe.weight_decay},
        {"params": vectors, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=recipe.lr, betas=(0.9, 0.95), fused=True)


def loss_on(model: nn.Module, windows: Tensor, precision: str = "fp32") -> Tensor:
    """Mean cross-entropy in nats of each next byte in windows (batch, positions + 1)."""
    device = windows.device.type
    with torch.autocast(device, torch.bfloat16, enabled=precision == "bf16"):
        logits = model(windows[:, :-1])
    return F.cross_entropy(logits.float().flatten(0, 1), windows[:, 1:].flatten())


def update(
    model: nn.Module, optimizer: torch.optim.Optimizer, recipe: Recipe, step: int, loss: Tensor
) -> float:
    """One step down `loss`, its gradient's norm clipped to 1.0; returns the loss as a number.

    Raises ValueError for a loss that is not finite, before any weight sees it.
    """
    if not math.isfinite(value := loss.item()):
        raise ValueError(f"model and data must be finite, lr small, got a loss: {value:g}")
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for group in optimizer.param_groups:
        group["lr"] = recipe.lr * recipe.rate(step)
    optimizer.step()
    optimizer.zero_grad()
    return value


def descend(
    model: nn.Module,
    loss: Callable[[int], Tensor],
    recipe: Recipe,
    *,
    label: str,
    after: Callable[[], object] | None = None,
) -> None:
    """Take `recipe.steps` steps of `make_optimizer`, in place; of the recipe, optimizer and rate.

    loss: called with the step, from 0, gives a scalar; the first call may still add parameters to
    `model`. label: before the progress bar. after: called after each update (to put masks back).
    Modes are left alone: call `model.train()` before. Raises ValueError as `update` does.
    """
    optimizer = None
    for step in (progress := tqdm(range(recipe.steps), unit="step", desc=label, leave=False)):
        found = loss(step)
        optimizer = optimizer or make_optimizer(model, recipe)
        nats = update(model, optimizer, recipe, step, found)
        progress.set_postfix(nats=f"{nats:.3f}", refresh=False)
        if after:
            after()


def train(
    model: LanguageModel,
    recipe: Recipe,
    *,
    out: Path | None = None,
    checkpoint_every: int = 250,
    until: int | None = None,
    report: Callable[[int, float], None] | None = None,
) -> LanguageModel:
    """Train `model` in place on the book's corpus and return it.

    out: folder of `checkpoint.safetensors`, from which an interrupted run goes on; None keeps none.
    until: stop after this many steps (to try an interruption). report: called with step and nats.
    """
    text = corpus.as_tensor(corpus.training_text())
    device = next(model.parameters()).device
    optimizer, run = make_optimizer(model, recipe), asdict(model.config) | asdict(recipe)
    path, start = (Path(out) / "checkpoint.safetensors" if out else None), 0
    if path and path.exists():
        start = load_checkpoint(path, model, optimizer, run)
    last = min(until or recipe.steps, recipe.steps)
    progress = tqdm(range(start, last), initial=start, total=last, unit="step", desc="training")
    model.train()
    for step in progress:
        windows = corpus.batch(
            text, batch=recipe.batch_size, context=recipe.context, seed=recipe.seed, step=step
        ).to(device)
        loss = loss_on(model, windows, recipe.precision)
        nats = update(model, optimizer, recipe, step, loss)
        progress.set_postfix(nats=f"{nats:.3f}", refresh=False)
        if report:
            report(step, nats)
        if path and ((step + 1) % checkpoint_every == 0 or step + 1 == last):
            save_checkpoint(path, model, optimizer, step + 1, run)
    return model.eval()


@torch.inference_mode()
def bits_per_byte(model: nn.Module, batches: list[Tensor]) -> float:
    """Summed nats of every predicted byte / ln 2 / number of bytes; batches: (batch, positions)."""
    nats = count = 0.0
    for windows in batches:
        nats += loss_on(model, windows).item() * windows[:, 1:].numel()
        count += windows[:, 1:].numel()
    return nats / count / torch.log(torch.tensor(2.0)).item()


def announce(model: nn.Module, recipe: Recipe, out: Path, seconds_per_step: float) -> None:
    """Say what the run will take before it starts."""
    parameters = sum(p.numel() for p in model.parameters())
    seen = recipe.steps * recipe.batch_size * recipe.context
    print(
        f"{parameters / 1e6:.2f} M parameters, {recipe.steps} steps, {seen / 1e6:.1f} MB of text, "
        f"about {recipe.steps * seconds_per_step / 60:.0f} minutes on {torch.get_num_threads()} "
        f"threads; checkpoints in {out}, interrupt and repeat the command to go on"
    )


def seconds_per_step(model: nn.Module, recipe: Recipe) -> float:
    """Time a step, forward and backward, on random bytes, after one to warm up; changes nothing."""
    windows = torch.randint(1, model.config.vocab, (recipe.batch_size, recipe.context + 1))
    for _ in range(2):
        start = time.perf_counter()
        loss_on(model, windows.to(next(model.parameters()).device), recipe.precision).backward()
        model.lm_head.weight.grad.sum().item()  # a GPU works on after the call: wait for it
        model.zero_grad()
    return time.perf_counter() - start


def parser() -> argparse.ArgumentParser:
    """The options of the command: those of the model's shape and of the recipe, spelled alike."""
    options = argparse.ArgumentParser(prog="costlab train", description=__doc__.split("\n\n")[0])
    options.add_argument("--out", type=Path, default=Path("run"), help="folder of the run (run)")
    options.add_argument("--checkpoint-every", type=int, default=250, help="steps (250)")
    options.add_argument("--threads", type=int, help="CPU threads (torch's own choice)")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    for kind in (Config(), SHIPPED):
        for field in fields(kind):
            model_context = isinstance(kind, Config) and field.name == "context"
            name = "--model-context" if model_context else "--" + field.name.replace("_", "-")
            default = getattr(kind, field.name)
            options.add_argument(name, type=type(default), default=default, help=f"({default})")
    several = options.add_argument_group("on several processes, under torchrun or started here")
    several.add_argument("--parallel", help=f"one of {', '.join(PARALLEL)}")
    several.add_argument("--processes", type=int, default=2, help="without torchrun (2)")
    several.add_argument("--layout", help="such as 2x4: two copies, each on four (one copy)")
    several.add_argument("--microbatches", type=int, help="of a pipeline (a row each)")
    several.add_argument("--schedule", default="1f1b", help="of a pipeline: 1f1b or gpipe (1f1b)")
    several.add_argument("--partition", default="flops", help="of a pipeline's stages (flops)")
    return options


def main(argv: list[str] | None = None) -> int:
    """Train, from nothing or from the last checkpoint, and write `weights.safetensors`."""
    args = parser().parse_args(argv)
    given = vars(args)
    config = Config(**{f.name: given[f.name] for f in fields(Config) if f.name != "context"},
                    context=args.model_context)  # fmt: skip
    recipe = Recipe(**{f.name: given[f.name] for f in fields(Recipe)})
    if recipe.context > config.context:
        raise ValueError(
            f"context ({recipe.context}) must not exceed model-context ({config.context})"
        )
    for name in ("threads", "checkpoint_every", "processes"):
        if given[name] is not None and given[name] < 1:
            raise ValueError(f"{name} must be at least 1, got {given[name]}")
    if args.parallel:
        # Up the chain, once: parallel builds on this module, and this command leads to it.
        from costlab.parallel.train import train as train_in_parallel

        return train_in_parallel(config, recipe, args)
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(recipe.seed)
    try:
        model = LanguageModel(config).to(args.device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device must be one that torch has here, such as 'cpu', got {args.device!r}: {reason}"
        ) from error
    corpus.validation_text()  # fail now, not after an hour, where the text is not what it should be
    announce(model, recipe, args.out, seconds_per_step(model, recipe))
    try:
        train(model, recipe, out=args.out, checkpoint_every=args.checkpoint_every)
    except KeyboardInterrupt:
        saved = (args.out / "checkpoint.safetensors").exists()
        where = f"go on from {args.out}/checkpoint.safetensors" if saved else "begin anew"
        print(f"stopped; repeat the command to {where}")
        return 130
    size = save_model(model, args.out / "weights.safetensors", recipe=asdict(recipe))
    batches = corpus.validation_batches(context=min(512, config.context))
    quality = bits_per_byte(model, [b.to(args.device) for b in batches])
    print(f"{quality:.3f} bits per byte on validation text; {size / 1e6:.1f} MB of weights")
    return 0


if __name__ == "__main__":
    # Under its own name, so that its classes are known to the processes that `--parallel` starts.
    from costlab.lm import trainer

    try:
        raise SystemExit(trainer.main())
    except (ValueError, OSError) as error:
        raise SystemExit(f"costlab train: {error}") from None
