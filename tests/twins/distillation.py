"""Twins of the claims of notebook 06: what they would be given if something were broken."""

import torch
from torch import Tensor
from torch.nn import functional as F

import costlab
from costlab import catalog
from costlab.compress.distillation import distillation_loss
from costlab.lm.model import Config, LanguageModel
from costlab.lm.trainer import bits_per_byte

TINY = Config(width=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn=32, context=64)


def logits() -> tuple[Tensor, Tensor]:
    """Of a student and of a teacher, for two sequences of five tokens; their mean is not zero."""
    dice = torch.Generator().manual_seed(0)
    return tuple(torch.randn(2, 5, 8, generator=dice, dtype=torch.float64) + k for k in (0, 3))


def loss_without_the_square() -> float:
    """The factor T^2 left out."""
    student, teacher = logits()
    labels = torch.zeros(2, 5, dtype=torch.long)
    right = distillation_loss(student, teacher, labels)
    soft = distillation_loss(student, teacher) / 4
    hard = F.cross_entropy(student.flatten(0, 1), labels.flatten())
    return float((right - 0.5 * soft - 0.5 * hard).abs())


def limit_of_logits_not_centered() -> float:
    """Two models that agree but for a constant, which changes no probability."""
    student, teacher = logits()
    limit = (student - teacher).pow(2).mean() / 2
    return abs(float(distillation_loss(student, teacher, temperature=256.0) / limit) - 1)


def gradient_with_the_square() -> float:
    """At eight times the temperature, over that at one."""
    lengths = []
    for temperature in (8.0, 1.0):
        student, teacher = logits()
        student.requires_grad_()
        distillation_loss(student, teacher, temperature=temperature).backward()
        lengths.append(float(student.grad.norm()))
    return lengths[0] / lengths[1]


def scores(kind: str, temperature: float | None = None) -> list[float]:
    """Bits per byte of the recorded runs of a kind."""
    return [
        run["bits_per_byte"]
        for run in costlab.results.read("distillation")["runs"]
        if run["kind"] == kind and run["temperature"] == temperature
    ]


def gained_by_nothing() -> float:
    """Runs compared with themselves."""
    alone = scores("without teacher")
    return max(a - b for a, b in zip(alone, alone, strict=True))


def spread_of_the_taught() -> float:
    """The same teacher at the same temperature, against itself: the worst seed and the best."""
    taught = scores("teacher", 1.0)
    return max(taught) - min(taught)


def gained_when_alpha_is_ignored() -> float:
    """Two students that both learn without the teacher."""
    text, found = [torch.arange(64)[None] % 50], []
    for _ in range(2):
        torch.manual_seed(0)
        student = LanguageModel(TINY)
        found.append(costlab.distill(LanguageModel(TINY), student, text, steps=2, alpha=0.0))
    return bits_per_byte(found[0], text) - bits_per_byte(found[1], text)


def divergence(flat: bool) -> tuple[float, float]:
    """PyTorch's over ours, with the tokens in one dimension or not; and the tokens."""
    student, teacher = (x.log_softmax(-1) for x in logits())
    pair = [x.flatten(0, 1) if flat else x for x in (student, teacher)]
    theirs = F.kl_div(*pair, log_target=True, reduction="batchmean")
    return float(theirs / distillation_loss(*logits(), temperature=1.0)), student.shape[1]


def hours_of_the_smaller_teacher() -> float:
    """To read every token at the peak, over those that were spent."""
    run = next(run for run in catalog.published_runs() if run.id == "llama-3.2-3b")
    peak = catalog.accelerator(run.accelerator).peak_flops("bf16")
    hours = 2 * catalog.model("llama-3.1-8b").params * run.tokens / peak / 3600
    return hours / float(run.note.split(";")[1].split()[0])


def learned_at_no_rate() -> float:
    """Bits won by a student whose learning rate is next to zero."""
    text = [torch.arange(64)[None] % 50]
    student = LanguageModel(TINY)
    same = costlab.distill(LanguageModel(TINY), student, text, steps=2, lr=1e-12)
    return bits_per_byte(student, text) - bits_per_byte(same, text)


TWINS = {
    "These lines and the package give the same loss": loss_without_the_square,
    "At a high temperature the loss is that of matching logits": limit_of_logits_not_centered,
    "Without T², T = 8 leaves a tenth of the gradient, or less": gradient_with_the_square,
    "A teacher at a temperature of one helps, with every seed": gained_by_nothing,
    "The hotter the teacher the worse, with every seed": gained_by_nothing,
    "At a temperature of eight it harms, with every seed": gained_by_nothing,
    "The last states, matched as well, lose with every seed": gained_by_nothing,
    "The same after a few steps: the teacher helps at equal steps": gained_when_alpha_is_ignored,
    "For the same operations, more text beats the teacher": spread_of_the_taught,
    "For the same time, too": spread_of_the_taught,
    "Where text is scarce the teacher helps, with every seed": gained_by_nothing,
    "Flattened, PyTorch's divergence is ours": lambda: abs(divergence(False)[0] - 1),
    "Not flattened, it is as many times larger as there are tokens": lambda: (
        divergence(True)[0] / divergence(True)[1]
    ),
    "The check tells each of the three mistakes from the right loss": lambda: abs(
        divergence(True)[0] - 1
    ),
    "The larger teacher cannot have read every token": hours_of_the_smaller_teacher,
    "A model of transformers learns from the same teacher": learned_at_no_rate,
    # a student of the teacher's size
    "The student takes less than a tenth of the memory": lambda: 1.0,
    "It writes at less than half the price": lambda: 1.0,
}
