"""Quality is more than one number: bits per byte, divergence, flipped tokens, code that parses.

See notebook 01.
"""

from __future__ import annotations

import ast
import codeop
import math
import re
import warnings
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from costlab.lm import corpus
from costlab.lm.decoding import decode, first_weight, logits_of

PROMPT, WRITTEN, PROMPTS = 192, 96, 64  # bytes before, bytes written, completions judged


@dataclass(frozen=True)
class Scores:
    """What scoring a text gave.

    Nats and count of the predicted tokens, and how far from the base model.
    """

    nats: float
    count: int
    divergence: float | None
    flips: float | None

    @property
    def bits_per_token(self) -> float:
        """Mean bits for each predicted token."""
        return self.nats / self.count / math.log(2)


@torch.inference_mode()
def score(model: nn.Module, batches: list[Tensor], base: nn.Module | None = None) -> Scores:
    """Score tokens (batch, positions): each position predicts the next.

    With a `base` model also the mean divergence KL(base || model) in nats per token, and the share
    of positions where the likeliest token is another one.
    """
    nats = divergence = flips = 0.0
    count = 0
    for tokens in batches:
        logits = logits_of(model, tokens)[:, :-1].float().flatten(0, 1)
        nats += F.cross_entropy(logits, tokens[:, 1:].flatten(), reduction="sum").item()
        count += logits.shape[0]
        if base is not None:
            reference = logits_of(base, tokens)[:, :-1].float().flatten(0, 1)
            p, q = reference.log_softmax(-1), logits.log_softmax(-1)
            divergence += F.kl_div(q, p, reduction="sum", log_target=True).item()
            flips += (reference.argmax(-1) != logits.argmax(-1)).sum().item()
    compared = base is not None
    return Scores(
        nats, count, divergence / count if compared else None, flips / count if compared else None
    )


def prompts(limit: int = PROMPTS) -> Tensor:
    """Beginnings of functions from validation text.

    (limit, PROMPT) bytes, each ending behind a `def` line.
    """
    text = corpus.validation_text()
    heads = [m.end() for m in re.finditer(rb"^( *)def \w+\([^)\n]*\)[^:\n]*:\n", text, re.M)]
    ends = [end for end in heads if end >= PROMPT]
    chosen = [ends[i * len(ends) // limit] for i in range(limit)] if len(ends) >= limit else ends
    return torch.tensor([list(text[end - PROMPT : end]) for end in chosen])


def function_of(prompt: bytes, completion: bytes) -> str:
    """The function that begins on the prompt's last line, as far as it goes, flush left.

    Empty where the completion holds no line of a body.
    """
    head = prompt.rstrip(b"\n").rsplit(b"\n", 1)[-1].decode("utf-8", "replace")
    indent = len(head) - len(head.lstrip())
    body = completion.decode("utf-8", "replace").split("\n")[:-1]  # the last line may be cut off
    lines = [head[indent:]]
    if not any(line.strip() for line in body):
        return ""
    for line in body:
        if line.strip() and len(line) - len(line.lstrip()) <= indent:
            break
        lines.append(line[indent:])
    return "\n".join(lines) + "\n"


def parses(code: str) -> bool:
    """Whether Python accepts `code`, complete or merely cut off; it is parsed, never run."""
    if "\n" not in code.strip():
        return False  # a head without a body
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            ast.parse(code)
            return True
        except SyntaxError:
            pass
        except (ValueError, MemoryError, RecursionError):
            return False  # a null byte, or nested too deep
        try:
            return codeop.compile_command(code.rstrip("\n"), symbol="exec") is None
        except (SyntaxError, ValueError, OverflowError, MemoryError, RecursionError):
            return False


def share_that_parses(model: nn.Module, *, limit: int = PROMPTS, seed: int = 0) -> float:
    """Share of completions of validation functions that parse as Python.

    Drawn at temperature 0.5 from a fixed seed: always taking the likeliest byte makes small models
    repeat themselves.
    """
    tokens = prompts(limit).to(first_weight(model).device)
    dice = torch.Generator(tokens.device).manual_seed(seed)
    written = decode(model, tokens, tokens=WRITTEN, generator=dice, temperature=0.5)
    pairs = zip(tokens.tolist(), written.tolist(), strict=True)
    return sum(parses(function_of(bytes(p), bytes(w))) for p, w in pairs) / len(tokens)
