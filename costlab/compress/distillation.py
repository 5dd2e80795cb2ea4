"""Distillation: a small model learns what a large one expects. Taught in notebook 06."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from numbers import Real

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from costlab.bill.checks import Data, batches_of, check_tokens, on_device, tokens_of
from costlab.bill.counting import evaluating, flops_per_token
from costlab.calibration import call
from costlab.lm import corpus
from costlab.lm.decoding import context_of, first_weight, is_language_model, vocabulary_of
from costlab.lm.trainer import Recipe, descend

Batch = Tensor | tuple | dict


def distillation_loss(
    student_logits: Tensor,
    teacher_logits: Tensor,
    labels: Tensor | None = None,
    *,
    temperature: float = 2.0,
    alpha: float = 0.5,
) -> Tensor:
    """alpha T^2 KL(teacher || student) + (1 - alpha) cross-entropy, in nats; a scalar.

    Both logits (..., classes) are divided by `temperature` T inside the divergence alone, which is
    the mean over all positions. T^2 keeps its gradient at one size while T changes (Hinton, Vinyals
    and Dean, arXiv:1503.02531). Gradients reach the student only; half precision is computed in
    float32.
    labels: int64 (...), -100 where the cross-entropy has nothing to predict. Without labels the
    result is the divergence alone, and alpha is not applied. Raises TypeError or ValueError.
    """
    _check_knobs(temperature, alpha)
    _check_logits(student_logits, teacher_logits, labels)
    student, teacher = _wide(student_logits), _wide(teacher_logits.detach())
    soft = hard = 0.0
    if labels is None or alpha > 0:
        log_p, log_q = (F.log_softmax(x / temperature, dim=-1) for x in (teacher, student))
        p = log_p.exp()
        # a class that the teacher excludes adds nothing: 0 x infinity would be NaN
        divergence = torch.where(p == 0, 0.0, p * (log_p - log_q)).sum(-1)
        soft = temperature**2 * divergence.mean()
    if labels is None:
        return soft
    if alpha < 1:
        hard = F.cross_entropy(student.reshape(-1, student.shape[-1]), labels.flatten())
    return alpha * soft + (1 - alpha) * hard


def feature_loss(
    student_features: Tensor, teacher_features: Tensor, projection: nn.Module | None = None
) -> Tensor:
    """Mean squared error between a hidden state of the student and one of the teacher; a scalar.

    Both are (..., width), as `hidden_states` catches them. Where the widths differ, `projection`, a
    linear layer that learns along, takes the student's to the teacher's (FitNets,
    arXiv:1412.6550). Gradients reach student and projection only. Raises ValueError.
    """
    student, teacher = _wide(student_features), _wide(teacher_features.detach())
    if projection is not None:
        student = projection(student)
    if student.shape != teacher.shape:
        raise ValueError(f"features must have one shape, got {student.shape} and {teacher.shape}")
    return F.mse_loss(student, teacher)


@contextmanager
def hidden_states(model: nn.Module, names: Iterable[str]) -> Iterator[dict[str, Tensor]]:
    """Catch what the modules called `names` give, each time the model runs, with forward hooks."""
    caught: dict[str, Tensor] = {}

    def catch(name: str, module: nn.Module, inputs: tuple, out: Tensor | tuple) -> None:
        caught[name] = out[0] if isinstance(out, tuple) else out

    with ExitStack() as hooks:
        for name in names:
            module = model.get_submodule(name)
            hooks.enter_context(module.register_forward_hook(partial(catch, name)))
        yield caught


def distillation_flops(teacher: nn.Module | None, student: nn.Module, tokens: float) -> float:
    """Operations in the matrices to train `student` on `tokens`, the teacher's among them.

    For each token and weight: 6 of the student, forward and backward; 2 of the teacher, forward.
    teacher None is training without one. Attention's scores are left out.
    """
    passes = [0 if model is None else flops_per_token(model) for model in (student, teacher)]
    if None in passes:
        raise ValueError("teacher and student must have layers of nn.Linear or Conv1D to count")
    return float((3 * passes[0] + passes[1]) * tokens)


@dataclass(frozen=True)
class _Plan:
    """The knobs of the loss and of the trainer; `features`: student's modules -> teacher's."""

    knobs: dict[str, float]
    features: dict[str, str]
    recipe: Recipe


def distill(
    teacher: nn.Module,
    student: nn.Module,
    data: Data = None,
    *,
    temperature: float = 2.0,
    alpha: float = 0.5,
    steps: int,
    lr: float = 2e-3,
    batch_size: int = 16,
    context: int = 256,
    precision: str = "fp32",
    seed: int = 0,
    features: dict[str, str] | None = None,
) -> nn.Module:
    """A copy of `student`, trained for `steps` steps on `distillation_loss`, in evaluation mode.

    data: one batch, or an iterable of batches, taken in their order, again and again. None draws
    `batch_size` windows of `context` bytes of the book's training text for each step, by `seed`,
    for models that read bytes. Labels are a language model's next tokens, or "labels" of a dict as
    `transformers` aligns them; of other models the last item of a tuple, or "labels" of a dict;
    without any, only the teacher is learned from. Padding and labels of -100 count in no term.
    alpha: 0 is plain training; the teacher is never run. features: names of modules whose outputs
    shall agree, student's -> teacher's; adds `feature_loss` with weight 1, so choose outputs of
    norms, whose size is near 1. lr: peak of AdamW's rate, reached after a tenth of the steps (100
    at most), falling to zero over the last half. precision: "fp32", or "bf16" under autocast.
    The teacher keeps weights and mode. Raises TypeError or ValueError before anything is learned.
    """
    _check_knobs(temperature, alpha)
    recipe = Recipe(steps, batch_size, context, lr, precision=precision, seed=seed)
    recipe = replace(recipe, warmup=min(100, steps // 10), decay=steps // 2)
    plan = _Plan({"temperature": temperature, "alpha": alpha}, features or {}, recipe)
    _check_models(plan, teacher, student)
    draw = _source(plan, teacher, student, data)
    new = copy.deepcopy(student).train()
    with evaluating(teacher):
        _train(plan, teacher, new, draw)
    return new.eval()


def _train(plan: _Plan, teacher: nn.Module, student: nn.Module, draw: Callable) -> None:
    """Train `student` in place, and with it projections, which the first loss adds."""
    projections = nn.ModuleList()

    def loss(step: int) -> Tensor:
        return _loss(plan, teacher, student, projections, *draw(step))

    descend(nn.ModuleList([student, projections]), loss, plan.recipe, label="distilling")


def _loss(
    plan: _Plan, teacher: nn.Module, student: nn.Module, projections: nn.ModuleList,
    inputs: Batch, labels: Tensor | None,
) -> Tensor:  # fmt: skip
    """What one batch teaches: the distillation loss, and that of the features where asked."""
    half = plan.recipe.precision == "bf16"
    with torch.autocast(first_weight(student).device.type, torch.bfloat16, enabled=half):
        logits, states = _read(student, inputs, plan.features)
        targets, hints = logits, {}
        if plan.knobs["alpha"] > 0 or plan.features:
            with torch.no_grad():
                targets, hints = _read(teacher, inputs, plan.features.values())
    _check_logits(logits, targets, labels)
    if labels is not None and not (kept := labels != -100).all():
        logits, targets, labels = logits[kept], targets[kept], labels[kept]
    loss = distillation_loss(logits, targets, labels, **plan.knobs)
    pairs = [(states[mine], hints[theirs]) for mine, theirs in plan.features.items()]
    if not projections:
        projections.extend(_projection(*pair, plan.recipe.seed) for pair in pairs)
    return loss + sum(feature_loss(*pair, layer) for pair, layer in zip(pairs, projections))


def _read(model: nn.Module, inputs: Batch, names: Iterable[str]) -> tuple[Tensor, dict]:
    """Logits of a model, and the hidden states called `names`."""
    with hidden_states(model, names) as found:
        out = call(model, inputs)
    return getattr(out, "logits", out), found


def _projection(state: Tensor, hint: Tensor, seed: int) -> nn.Module:
    """From the student's width to the teacher's, where they differ: learns along, thrown away."""
    narrow, wide = state.shape[-1], hint.shape[-1]
    if narrow == wide:
        return nn.Identity()
    layer, generator = nn.Linear(narrow, wide, bias=False), torch.Generator().manual_seed(seed)
    nn.init.normal_(layer.weight, std=narrow**-0.5, generator=generator)
    return layer.to(_wide(state))


def _split(model: nn.Module, batch: Batch) -> tuple[Batch, Tensor | None]:
    """Inputs and labels of a batch; a language model's last token is only a label."""
    if not is_language_model(model):
        if isinstance(batch, dict):
            return {k: v for k, v in batch.items() if k != "labels"}, batch.get("labels")
        labelled = isinstance(batch, tuple) and len(batch) > 1
        return (batch[:-1], batch[-1]) if labelled else (batch, None)
    labels = tokens = tokens_of(batch)

    def cut(value: object) -> object:
        return value[:, :-1] if isinstance(value, Tensor) and value.shape == tokens.shape else value

    if isinstance(batch, dict):
        labels, mask = batch.get("labels", tokens), batch.get("attention_mask")
        if getattr(labels, "shape", None) != tokens.shape:
            raise ValueError(f"labels must have the shape of input_ids {tuple(tokens.shape)}")
        if mask is not None and mask.shape == labels.shape:
            labels = labels.masked_fill(mask == 0, -100)
        inputs = {k: cut(v) for k, v in batch.items() if k != "labels"}
    else:
        inputs = tuple(map(cut, batch)) if isinstance(batch, tuple) else cut(batch)
    return inputs, labels[:, 1:].long()


def _source(plan: _Plan, teacher: nn.Module, student: nn.Module, data: Data) -> Callable:
    """Step -> inputs and labels; raises TypeError or ValueError for data that cannot serve."""
    recipe, device = plan.recipe, first_weight(student).device
    language = [model for model in (student, teacher) if is_language_model(model)]
    if data is None:
        if len(language) < 2 or vocabulary_of(student) != 256:
            reason = "teacher and student do not both read the bytes of the book's training text"
            raise ValueError(f"data is needed: {reason}; give a batch or an iterable of batches")
        text = corpus.as_tensor(corpus.training_text())
        context = min(recipe.context, *map(context_of, language))
        draw = partial(corpus.batch, text, batch=recipe.batch_size, context=context)
        return lambda step: _split(student, draw(seed=recipe.seed, step=step).to(device))
    batches = batches_of(data)
    for model in language:
        check_tokens(type(model).__name__, model, batches)
    pairs = [_split(student, on_device(device, batch)) for batch in batches]
    if plan.knobs["alpha"] == 0 and any(labels is None for _, labels in pairs):
        raise ValueError("data must hold labels where alpha is 0, got a batch without")
    return lambda step: pairs[step % len(pairs)]


def _wide(x: Tensor) -> Tensor:
    """In float32 at least."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _check_knobs(temperature: float, alpha: float) -> None:
    if not isinstance(temperature, Real) or not 0 < temperature < float("inf"):
        raise ValueError(f"temperature must be a positive, finite number, got {temperature!r}")
    if not isinstance(alpha, Real) or not 0 <= alpha <= 1:
        raise ValueError(f"alpha must be a number from 0 to 1, got {alpha!r}")


def _check_logits(student: Tensor, teacher: Tensor, labels: Tensor | None) -> None:
    kinds = [tuple(getattr(x, "shape", [type(x).__name__])) for x in (student, teacher)]
    if kinds[0] != kinds[1] or not isinstance(student, Tensor) or not student.ndim or 0 in kinds[0]:
        wanted = "student_logits and teacher_logits must be tensors of one shape (..., classes)"
        raise ValueError(f"{wanted} that is not empty, got {kinds[0]} and {kinds[1]}")
    if labels is None:
        return
    shape, classes = student.shape[:-1], student.shape[-1]
    found = getattr(labels, "dtype", type(labels).__name__), getattr(labels, "shape", ())
    if found != (torch.int64, shape):
        raise ValueError(f"labels must be int64 {tuple(shape)}, got {found[0]} {tuple(found[1])}")
    wrong = labels[((labels < 0) | (labels >= classes)) & (labels != -100)]
    if wrong.numel():
        raise ValueError(f"labels must be from 0 to {classes - 1} or -100, got {wrong[0].item()}")


def _check_models(plan: _Plan, teacher: nn.Module, student: nn.Module) -> None:
    both = {"student": student, "teacher": teacher}
    for name, model in both.items():
        if not isinstance(model, nn.Module):
            raise TypeError(f"{name} must be a torch.nn.Module, got {type(model).__name__}")
    if not any(p.requires_grad for p in student.parameters()):
        raise ValueError("student must have parameters that require gradients, and has none")
    sizes = {n: vocabulary_of(model) for n, model in both.items() if is_language_model(model)}
    if len(set(sizes.values())) > 1:
        raise ValueError(f"teacher and student must share one vocabulary, got {sizes} tokens")
    known = [dict(model.named_modules()) for model in both.values()]
    for pair in plan.features.items():
        if pair[0] not in known[0] or pair[1] not in known[1]:
            raise ValueError(f"features must name a student's and a teacher's module, got {pair}")
