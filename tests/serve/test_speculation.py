"""Speculative decoding: the model's own law, the model's own text, and bad drafts refused."""

import pytest
import torch

from costlab import generate
from costlab.lm.decoding import pick
from costlab.serve import NGram
from costlab.serve.speculation import acceptance, expected_speedup, law, speculate, verify

VOCAB, DRAWS = 4, 60_000


def chain(seed, sharp):
    """Rows of a Markov chain: the law of the next token for each last one."""
    dice = torch.Generator().manual_seed(seed)
    return torch.softmax(sharp * torch.randn(VOCAB, VOCAB, generator=dice), -1)


def three_tokens(check, draws=DRAWS):
    """The first three tokens of many speculations of two, after token 0, under two chains."""
    dice, p, q = torch.Generator().manual_seed(5), chain(0, 1.0), chain(1, 1.0)
    last, drafted = torch.zeros(draws, dtype=torch.long), []
    places = [last]
    for _ in range(2):
        drafted.append(pick(q[places[-1]].log(), dice, 1.0)[:, 0])
        places.append(drafted[-1])
    guesses = torch.stack(drafted, 1)
    kept, following = check(
        guesses, torch.stack([q[x] for x in places[:2]], 1), torch.stack([p[x] for x in places], 1),
        dice,
    )  # fmt: skip
    text = torch.cat([guesses, torch.zeros(draws, 1, dtype=torch.long)], 1)
    text[torch.arange(draws), kept] = following
    for i in (1, 2):  # what a speculation left open, the model writes on alone
        plain = pick(p[text[:, i - 1]].log(), dice, 1.0)[:, 0]
        text[:, i] = torch.where(kept < i, plain, text[:, i])
    return text, p


def p_value(found, expected):
    """Chance that counts stray as far as `found` from `expected`, by chi-square."""
    expected = expected.double() / expected.double().sum() * found.sum()
    stray = ((found - expected) ** 2 / expected).sum()
    return float(torch.special.gammaincc(torch.tensor((len(found) - 1) / 2).double(), stray / 2))


def surprise(text, p):
    """The p-value of the joint law of the three tokens."""
    codes = (text * torch.tensor([VOCAB**2, VOCAB, 1])).sum(1)
    expected = p[0][:, None, None] * p[:, :, None] * p[None]
    return p_value(codes.bincount(minlength=VOCAB**3), expected.flatten())


def residual_forgotten(drafted, q, p, dice):
    """After a rejection the next token is drawn from p itself."""
    kept, _ = verify(drafted, q, p, dice)
    return kept, pick(p[torch.arange(len(p)), kept].log(), dice, 1.0)[:, 0]


def bonus_from_the_draft(drafted, q, p, dice):
    """Where all guesses were kept, the bonus follows the draft's last law."""
    kept, following = verify(drafted, q, p, dice)
    guess = pick(q[:, -1].log(), dice, 1.0)[:, 0]
    return kept, torch.where(kept == drafted.shape[1], guess, following)


def test_three_tokens_follow_the_models_joint_law():
    assert surprise(*three_tokens(verify)) > 1e-3


@pytest.mark.parametrize("broken", [residual_forgotten, bonus_from_the_draft])
def test_a_broken_check_is_seen(broken):
    assert surprise(*three_tokens(broken)) < 1e-3


def test_acceptance_is_one_minus_total_variation():
    dice, p, q = torch.Generator().manual_seed(1), chain(0, 1.0), chain(1, 1.0)
    drafted = pick(q[:1].expand(DRAWS, -1).log(), dice, 1.0)
    many = lambda law: law[None].expand(DRAWS, -1, -1)  # noqa: E731
    kept, _ = verify(drafted, many(q[:1]), many(p[:2]), dice)
    expected = float(acceptance(p[0], q[0]))
    assert expected == pytest.approx(1 - 0.5 * float((p[0] - q[0]).abs().sum()), abs=1e-6)
    assert float(kept.float().mean()) == pytest.approx(expected, abs=4 * 0.5 / DRAWS**0.5)


def test_whole_speculations_follow_the_law_too(tiny):
    small = {"width": 8, "layers": 1, "heads": 1, "kv_heads": 1, "vocab": 3, "context": 8}
    model, draft, draws = tiny(0, **small), tiny(1, **small), 300
    dice, prompt = torch.Generator().manual_seed(0), torch.tensor([[1, 2]])
    texts = [
        speculate(model, draft, prompt, tokens=3, lookahead=2, generator=dice, temperature=0.7)
        for _ in range(draws)
    ]
    found = sum(
        9 * t[0] + 3 * t[1] + t[2] == torch.arange(27) for t in (x.tokens[0] for x in texts)
    )
    every = torch.cartesian_prod(*[torch.arange(3)] * 3)
    with torch.inference_mode():
        logits = model(torch.cat([prompt.expand(27, -1), every], 1))[:, 1:4]
    laws = law(logits, temperature=0.7).gather(-1, every[..., None])[..., 0]
    assert p_value(found, laws.prod(1)) > 1e-3
    assert 0 < sum(x.kept for x in texts) < sum(x.proposed for x in texts)


@pytest.mark.parametrize("lookahead", [1, 3, 7])
def test_greedy_text_is_the_models_own(tiny, lookahead):
    model = tiny(0)
    plain = generate(model, b"for i in", tokens=40)
    for draft in (tiny(1), model, NGram(2)):
        assert generate(model, b"for i in", tokens=40, draft=draft, lookahead=lookahead) == plain


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_models_of_transformers(peers, name):
    prompt = torch.randint(99, (1, 7))
    plain = generate(peers[name], prompt, tokens=20)
    other = peers["gpt2" if name == "llama" else "llama"]
    for draft in (other, peers[name], NGram(1)):
        assert torch.equal(generate(peers[name], prompt, tokens=20, draft=draft), plain)


def test_a_perfect_draft_is_always_kept(tiny):
    found = speculate(tiny(0), tiny(0), torch.tensor([[1, 2, 3]]), tokens=20, lookahead=4)
    assert found.acceptance == 1
    assert found.passes == 4
    drawn = speculate(
        tiny(0), tiny(0), torch.tensor([[1, 2, 3]]), tokens=20, lookahead=4,
        generator=torch.Generator().manual_seed(0),
    )  # fmt: skip
    assert drawn.acceptance > 0.95


def test_an_ngram_proposes_what_came_last():
    assert NGram(2).propose([1, 2, 3, 1, 2, 4, 1, 2], 3) == [4, 1, 2]
    assert NGram(2).propose([1, 2, 3], 3) == []
    assert NGram(1).propose([5, 5], 2) == [5]


def test_expected_speedup():
    assert expected_speedup(1.0, 4, 0.0) == 5
    assert expected_speedup(0.0, 4, 0.1) == pytest.approx(1 / 1.4)
    assert expected_speedup(0.5, 2, 0.25, 1.5) == pytest.approx(1.75 / 2.0)


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"draft": "x"}, TypeError, "draft must be a language model or an NGram, got str"),
        ({"lookahead": 0}, ValueError, "lookahead must be a whole number of at least 1, got 0"),
        ({"kv_cache": False}, ValueError, "draft needs the cache of keys and values"),
        ({"prompt": torch.ones(2, 3).long()}, ValueError, "draft serves one sequence at a time"),
        ({"tokens": 40}, ValueError, r"prompt \(1\) and tokens \(40\) exceed the draft's context"),
    ],
)
def test_bad_input_gets_a_sentence(tiny, change, error, sentence):
    given = {"prompt": "x", "tokens": 5, "draft": tiny(1, context=32)} | change
    with pytest.raises(error, match=f"^{sentence}"):
        generate(tiny(0), given.pop("prompt"), **given)


def test_a_draft_of_another_vocabulary_is_refused(tiny, peers):
    with pytest.raises(ValueError, match=r"^draft must have the model's vocabulary of 256 tokens"):
        generate(tiny(0), "x", tokens=5, draft=peers["llama"])
    with pytest.raises(ValueError, match=r"^order must be a whole number of at least 1, got 0"):
        NGram(0)
