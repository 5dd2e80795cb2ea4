"""Twins of the claims of notebook 17: what they would be given if something were broken."""

from functools import cache

import pytest
import torch
from torch.nn import functional as F

from costlab import catalog, estimate
from costlab.lm.decoding import pick
from costlab.lm.model import Config, LanguageModel
from costlab.serve import Pace, Policy, at_rate, generate, replay, speculation
from costlab.serve.routing import best_of, kept_to_pay
from costlab.serve.slots import SlotCache, feed
from costlab.workload import day


def sixteen_times_one() -> float:
    """Sixteen tokens one after another, for a pass that shares nothing."""
    return 16.0


def unchanged() -> float:
    """A ratio of two figures that are one and the same, exact by definition: nothing was done."""
    return 1.0


def bytes_of_keys_alone() -> float:
    """The formula without its two: values forgotten."""
    rows = catalog.serving_results("kv cache")
    sizes = [estimate.resolve_model(r.model).kv_bytes_per_token() / 2 / r.value for r in rows]
    return max(abs(size - 1) for size in sizes)


def fewer_bytes_of_wide_codes() -> float:
    """Codes that take the room of floats."""
    return 1.0


@cache
def untrained() -> LanguageModel:
    """A small model with logits that differ."""
    model = LanguageModel(Config(width=32, layers=2, heads=4, kv_heads=2, head_dim=8, ffn=48))
    dice = torch.Generator().manual_seed(0)
    for p in model.parameters():
        torch.nn.init.normal_(p, mean=float(p.ndim == 1), std=0.3, generator=dice)
    return model.eval()


class Unmasked(SlotCache):
    """A cache that shows every row what lies behind its end."""

    def mask(self, new, device, *, always=False):
        return None


@torch.inference_mode()
def logits_off(kind: type) -> float:
    """How far the logits of rows in one cache are from those of each alone."""
    model, together, alone = untrained(), kind(2, 32), []
    for length in (4, 12):
        one = SlotCache(1, 32)
        one.rows = 1
        feed(model, torch.arange(length)[None] + 60, one)
        together.take(one)
        alone.append(feed(model, torch.tensor([[32]]), one)[0, -1])
    found = feed(model, torch.full((2, 1), 32), together)[:, -1]
    return float((found - torch.stack(alone)).abs().max())


def answers_that_differ() -> float:
    """Of ten requests whose rows are not masked."""
    traffic = at_rate(day().slice(36_000, 36_100), 1000.0)
    policies = Policy(places=16), Policy(places=1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(SlotCache, "mask", Unmasked.mask)
        wrong, right = (replay(untrained(), traffic, policy=p, price=1) for p in policies)
    return sum(a.tokens != b.tokens for a, b in zip(wrong.served, right.served, strict=True))


PACE = Pace(8e-3, 5e-4, 1e-6, 1e-2, 2e-4, 1e-8)


@cache
def rehearsed(load: float, policy: Policy) -> object:
    """Ten requests at a pace made up, `load` times as fast as they come."""
    traffic = day().slice(36_000, 36_600)
    return replay(
        untrained(), at_rate(traffic, load), policy=policy, price=1, pace=PACE
    )  # fmt: skip


def rehearsal_at_another_pace() -> float:
    """A pace three times too slow."""
    slow = replay(
        untrained(), day().slice(36_000, 36_100), policy=Policy(places=1), price=1,
        pace=Pace(*(3 * value for value in vars(PACE).values())),
    )  # fmt: skip
    true = replay(
        untrained(), day().slice(36_000, 36_100), policy=Policy(places=1), price=1, pace=PACE
    )
    return slow.busy_seconds / true.busy_seconds


def price_without_idle_time() -> float:
    """Only the seconds at work are paid for: the load no longer counts."""
    quiet, full = rehearsed(0.3, Policy()), rehearsed(6.0, Policy())
    work = [run.busy_seconds / run.tokens for run in (quiet, full)]
    return work[0] / work[1]


def pause_of_pieces_as_long_as_prompts() -> float:
    """Pieces so large that each is a whole prompt."""
    whole, pieces = (rehearsed(3.0, Policy(chunk=chunk)) for chunk in (None, 512))
    return pieces.worst_gap() / whole.worst_gap()


def prefixes_of_nobody() -> float:
    """A store that keeps none."""
    return sum(one.reused for one in rehearsed(6.0, Policy(prefixes=0)).served)


def share_cached_of_output() -> float:
    """Hits counted among the tokens that were written, none of which a cache can hold."""
    return 0.0


def linear_rereading() -> float:
    """An agent that sends only what is new: ten times the turns, ten times the cost."""
    return 10.0


def saved_by_a_cache_without_discount() -> float:
    """Hits at the full price."""
    return 0.0


def chains() -> tuple[torch.Tensor, torch.Tensor, torch.Generator]:
    """The laws p and q of the notebook's example, for 20,000 draws."""
    p, q = torch.tensor([0.6, 0.3, 0.1]), torch.tensor([0.2, 0.3, 0.5])
    return p, q, torch.Generator().manual_seed(0)


def kept_whatever_p_says() -> float:
    """A check that keeps every guess, against one minus total variation."""
    p, q, _ = chains()
    return 1 - float(torch.minimum(p, q).sum())


def speedup_of_a_free_draft() -> float:
    """As if the draft's passes cost nothing."""
    return max(speculation.expected_speedup(1.0, k, 0.0) for k in range(1, 9))


def bytes_that_follow_the_draft() -> float:
    """Guesses kept without a check: the draft's text, not the model's."""
    torch.manual_seed(1)
    draft = LanguageModel(untrained().config).eval()
    wrote = [generate(m, b"for i in", tokens=32) for m in (untrained(), draft)]
    return sum(a != b for a, b in zip(*wrote, strict=True))


def token_off(residual: bool) -> float:
    """How far the shares of a token are from p, with the residual or without."""
    p, q, dice = chains()
    n = 20_000
    guess = pick(q.log().expand(n, -1), dice, 1.0)
    good, right = speculation.verify(guess, q.expand(n, 1, 3), p.expand(n, 2, 3), dice)
    bad = pick(p.log().expand(n, -1), dice, 1.0)[:, 0]
    first = torch.where(good == 1, guess[:, 0], right if residual else bad)
    return float((F.one_hot(first, 3).float().mean(0) - p).abs().max())


def share_to_keep_when_the_small_is_free() -> float:
    """The small model's own price forgotten."""
    return kept_to_pay(small_cost=0.0, large_cost=1.0)


def cost_per_solved_with_attempts_that_are_free() -> float:
    """Only the last attempt is paid, so that more attempts look cheaper."""
    outcomes = [[False, True]] * 5 + [[True, True]] * 5
    once, twice = best_of(outcomes, attempt_cost=1)
    return abs(1 / twice.solved / once.cost_per_solved - 1)


def an_estimate_that_forgets_company() -> float:
    """As if each of 32 requests paid for a step alone."""
    return PACE.step(1, 250) / (PACE.step(32, 250) / 32) - 1


TWINS = {
    "Outside the cache, sixteen tokens take less than half of sixteen times one": (
        sixteen_times_one
    ),
    "In company of sixteen a token takes less than half of its time alone": unchanged,
    "The formula gives the published bytes of each model": bytes_of_keys_alone,
    "Eight bits make room for more than three times the requests": fewer_bytes_of_wide_codes,
    "Three rows of different lengths get the logits they get alone": lambda: logits_off(Unmasked),
    # requests served one after another under another name
    "Together they take less than three quarters of the time, one by one": unchanged,
    "At most one answer in ten differs from what it is alone": answers_that_differ,
    "Replays and rehearsals are within a factor of two and a half": rehearsal_at_another_pace,
    "At a twentieth of capacity a megabyte costs ten times as much, and more": (
        price_without_idle_time
    ),
    "At one promise, one at a time serves less than continuous batching": unchanged,
    "And so does a static batch": unchanged,
    "In pieces of 64 the longest pause is shorter": pause_of_pieces_as_long_as_prompts,
    "Kept prefixes save most of what could be saved": prefixes_of_nobody,
    "More than half of what a real service reads, it has read before": share_cached_of_output,
    "Ten times the turns cost more than thirty times, even cached": linear_rereading,
    "The cache takes away four fifths of a long session's reading": (
        saved_by_a_cache_without_discount
    ),
    "A guess is kept as often as one minus total variation says": kept_whatever_p_says,
    "A draft as dear as the model never pays, however good its guesses": speedup_of_a_free_draft,
    # a draft that takes no time and is always right
    "A draft that is hardly cheaper than the model loses": speedup_of_a_free_draft,
    "Guessed or not, the likeliest bytes are the same": bytes_that_follow_the_draft,
    "Our pair needs more than half of the small answers to be used": (
        share_to_keep_when_the_small_is_free
    ),
    # two models of one size
    "A pair ten times apart in size needs less than that": unchanged,
    "Were tasks alike, attempts would not change the cost of a solved one": (
        cost_per_solved_with_attempts_that_are_free
    ),
    # no discount
    "A batch tier costs half": unchanged,
    # an interface without a price that a busy machine could meet only at the end of its curve
    "Renting beats the cheapest interface only if it is busy most of the time": lambda: (
        estimate.rental.break_even(
            "llama-3.1-8b", "h100-sxm", api="gpt-4o", prompt=1000, generate=200
        ).utilization
    ),
    # prompts that take no time
    "Prompts between the steps make a token take half as long again, or more": unchanged,
    "The estimate is within 15 percent at five loads it has not seen": (
        an_estimate_that_forgets_company
    ),
    # a library that takes half our time
    "Our loop is not slower than transformers' generate": lambda: 0.5,
    "Without the mask the shorter rows get other logits": lambda: logits_off(SlotCache),
    "With the residual every token is as likely as the model says": lambda: token_off(False),
    "Without it one is off by more than a tenth": lambda: token_off(True),
    "One promise, one model: sharing passes lowers the month's bill": unchanged,
}
