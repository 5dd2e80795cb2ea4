"""Speculative decoding: a cheap draft proposes, the model checks all proposals in one pass.

What is written follows the model's own law exactly (arXiv:2211.17192, arXiv:2302.01318). Taught in
notebook 17.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from costlab.lm.decoding import first_weight, pick
from costlab.serve.slots import SlotCache, feed


def law(logits: Tensor, *, temperature: float | None) -> Tensor:
    """Probabilities (…, vocab) of the next token; None puts all on the likeliest."""
    if temperature is None:
        return F.one_hot(logits.argmax(-1), logits.shape[-1]).float()
    return torch.softmax(logits.float() / temperature, dim=-1)


def verify(
    drafted: Tensor, q: Tensor, p: Tensor, generator: torch.Generator | None
) -> tuple[Tensor, Tensor]:
    """How many drafted tokens each row keeps (rows,), and the token that follows them (rows,).

    drafted: (rows, k), drawn from q (rows, k, vocab), what the draft believed; p (rows, k + 1,
    vocab), what the model believes at the same places and at the one behind them. Token x is kept
    with probability min(1, p(x) / q(x)). At the first that is not, the next comes from the
    residual max(p - q, 0); where all are kept, a bonus token comes from p. So every token
    follows p. Without a generator p and q must put all on one token.
    """
    rows, k = drafted.shape
    chosen = drafted[..., None]
    believed, wanted = (d.gather(-1, chosen)[..., 0] for d in (q, p[:, :k]))
    luck = 0.5 if generator is None else torch.rand(rows, k, generator=generator)
    kept = (luck * believed < wanted).cumprod(1).sum(1)
    residual = (p - F.pad(q, (0, 0, 0, 1))).clamp(min=0)
    left = residual[torch.arange(rows), kept]
    return kept, pick(left.log(), generator, 1.0)[:, 0]


def acceptance(p: Tensor, q: Tensor) -> Tensor:
    """Probability (…) that a token drawn from q is kept: the sum of min(p, q), 1 - TV(p, q)."""
    return torch.minimum(p, q).sum(-1)


def expected_speedup(acceptance: float, lookahead: int, cost: float, check: float = 1.0) -> float:
    """How many times as fast as one token a pass, for proposals kept independently.

    acceptance: chance that one is kept (0 to 1). cost: a pass of the draft over a pass of the
    model; check: a pass that checks `lookahead` tokens over one that writes a single token.
    (1 - a^(k+1)) / (1 - a) tokens for k drafts and a check (arXiv:2211.17192, theorem 3.8).
    """
    tokens = sum(acceptance**i for i in range(lookahead + 1))
    return tokens / (lookahead * cost + check)


@dataclass(frozen=True)
class NGram:
    """A draft without weights: what followed the last `order` tokens the last time they came.

    Known as prompt lookup; it proposes nothing where they never came.
    """

    order: int = 4

    def __post_init__(self) -> None:
        if not isinstance(self.order, int) or isinstance(self.order, bool) or self.order < 1:
            raise ValueError(f"order must be a whole number of at least 1, got {self.order!r}")

    def propose(self, text: list[int], most: int) -> list[int]:
        """Up to `most` tokens that may follow `text`."""
        tail = text[-self.order :]
        for end in range(len(text) - 1, self.order - 1, -1):
            if text[end - self.order : end] == tail:
                return text[end : end + most]
        return []


@dataclass(frozen=True)
class Speculation:
    """What was written, tokens (1, n), and how: passes of the model, tokens proposed and kept."""

    tokens: Tensor
    passes: int
    proposed: int
    kept: int

    @property
    def acceptance(self) -> float:
        """Share of the proposals that were kept; those behind a rejected one count as lost."""
        return self.kept / max(self.proposed, 1)


class _Model:
    """A draft that is a model, with a cache of its own."""

    def __init__(self, model: nn.Module, capacity: int) -> None:
        self.model, self.cache = model, SlotCache(1, capacity)
        self.cache.rows = 1

    def rewind(self, length: int) -> None:
        """Forget what is behind `length`."""
        self.cache.lengths[0] = min(int(self.cache.lengths[0]), length)

    def read(self, text: list[int]) -> Tensor:
        """Logits (1, new, vocab) of what of `text` is not in the cache yet."""
        new = text[int(self.cache.lengths[0]) :]
        tokens = torch.tensor([new], device=first_weight(self.model).device)
        return feed(self.model, tokens, self.cache)


@torch.inference_mode()
def speculate(
    model: nn.Module,
    draft: nn.Module | NGram,
    prompt: Tensor,
    *,
    tokens: int,
    lookahead: int = 4,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
) -> Speculation:
    """Write `tokens` tokens after `prompt` (1, positions), `lookahead` of them guessed at a time.

    Taught in notebook 17. `generate` checks what it is given and calls this.
    """
    warmth = None if generator is None else temperature
    text, start = prompt[0].tolist(), prompt.shape[1]
    target = _Model(model, start + tokens)
    helper = draft if isinstance(draft, NGram) else _Model(draft, start + tokens)
    passes = proposed = kept = 0
    while len(text) < start + tokens:
        room = min(lookahead, start + tokens - len(text) - 1)
        drafted, q = _propose(helper, text, room, warmth, generator)
        logits = target.read(text + drafted)
        p = law(logits[:, -len(drafted) - 1 :], temperature=warmth)
        guesses = torch.tensor([drafted], dtype=torch.long, device=p.device)
        q = F.one_hot(guesses, p.shape[-1]).float() if q is None else q
        good, following = verify(guesses, q, p, generator)
        passes, proposed, kept = passes + 1, proposed + len(drafted), kept + int(good)
        text += [*drafted[: int(good)], int(following)]
        target.rewind(len(text) - 1)
        if not isinstance(helper, NGram):
            helper.rewind(len(text) - 1)
    written = torch.tensor([text[start:]], device=prompt.device)
    return Speculation(written, passes, proposed, kept)


def _propose(
    helper: NGram | _Model, text: list[int], most: int, warmth: float | None, generator: object
) -> tuple[list[int], Tensor | None]:
    """Guesses, and the law (1, guesses, vocab) each was drawn from; None for certain ones."""
    drafted, laws = [], []
    if isinstance(helper, NGram):
        return helper.propose(text, most), None
    for _ in range(most):
        q = law(helper.read(text + drafted)[:, -1:], temperature=warmth)
        drafted.append(int(pick(q[:, 0].log(), generator, 1.0)))
        laws.append(q)
    return drafted, torch.cat(laws, 1) if laws else None
