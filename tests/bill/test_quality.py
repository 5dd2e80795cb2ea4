"""Quality: scoring by hand, and a parser that no bytes can upset."""

import math

import pytest
import torch
from hypothesis import example, given
from hypothesis import strategies as st
from torch.nn import functional as F

from costlab.bill import quality
from costlab.bill.quality import function_of, parses, prompts, score, share_that_parses
from costlab.lm import corpus


def test_scores_by_hand(tiny):
    model, base = tiny(1).eval(), tiny(0).eval()
    batches = [torch.randint(256, (3, 20)), torch.randint(256, (1, 7))]
    found = score(model, batches, base)
    with torch.inference_mode():
        q = torch.cat([model(t)[:, :-1].flatten(0, 1) for t in batches]).log_softmax(-1)
        p = torch.cat([base(t)[:, :-1].flatten(0, 1) for t in batches]).log_softmax(-1)
    labels = torch.cat([t[:, 1:].flatten() for t in batches])
    assert found.count == 3 * 19 + 6
    assert found.nats == pytest.approx(F.nll_loss(q, labels, reduction="sum").item(), rel=1e-5)
    assert found.bits_per_token == pytest.approx(found.nats / 63 / math.log(2))
    assert found.divergence == pytest.approx((p.exp() * (p - q)).sum(-1).mean().item(), rel=1e-4)
    assert found.flips == pytest.approx((p.argmax(-1) != q.argmax(-1)).float().mean().item())
    assert found.divergence > 0.01
    assert 0 < found.flips < 1 or found.flips == 1


def test_a_model_does_not_diverge_from_itself(tiny):
    batches = [torch.randint(256, (2, 20))]
    assert score(tiny(), batches, tiny()).divergence == 0
    assert score(tiny(), batches, tiny()).flips == 0
    alone = score(tiny(), batches)
    assert alone.divergence is None
    assert alone.flips is None


def test_prompts_are_heads_of_functions_from_validation_text():
    tokens, text = prompts(), corpus.validation_text()
    assert tokens.shape == (quality.PROMPTS, quality.PROMPT)
    assert len({tuple(row) for row in tokens.tolist()}) == quality.PROMPTS
    for row in tokens.tolist():
        prompt = bytes(row)
        assert prompt in text
        last = prompt[:-1].rsplit(b"\n", 1)[-1].strip()
        assert prompt.endswith(b":\n")
        assert last.startswith(b"def ")


@pytest.mark.parametrize(
    ("code", "accepted"),
    [
        ("def f():\n    return 1\n", True),
        ("def f():\n    return (1,\n", True),  # cut off, not wrong
        ("def f():\n    if x:\n", True),
        ('def f():\n    """A doc\n', True),
        ("def f():\n    return ]\n", False),
        ("def f():\n    return = 1\n", False),
        ("def f():\n  a\n b\n", False),
        ("def f():\n", False),
        ("", False),
        ("def f():\n    return '\0'\n", False),
        ("def f():\n    " + "(" * 5000 + "\n", False),
        ("def f():\n    return " + "-" * 200_000 + "1\n", False),
        ("def f():\n    return '\\d'\n", True),  # a warning is no error
    ],
)
def test_what_parses(code, accepted):
    assert parses(code) is accepted


@given(st.binary(max_size=60), st.binary(max_size=120))
@example(b"", b"")
@example(b"def f():\n", b"    x = '\x00'\n")
@example(b"\xff\xfe def", b"\n\n\r\x0c\n")
@example(b"def f():\n", b"    return '\\N{x}'\n")
def test_no_bytes_upset_the_parser(prompt, completion):
    assert parses(function_of(prompt, completion)) in (True, False)


@given(st.text(alphabet="def x():\n\t (=[]'\"\\#", max_size=80))
def test_no_nearly_python_upsets_the_parser(code):
    assert parses(code) in (True, False)


def test_the_function_ends_where_its_indent_ends():
    prompt = b"class A:\n    def f(self):\n"
    written = b"        return 1\n\n    def g(self):\n        retur"
    assert function_of(prompt, written) == "def f(self):\n    return 1\n\n"
    assert function_of(prompt, b"        return 1\n") == "def f(self):\n    return 1\n"
    assert function_of(prompt, b"        retur") == ""  # no whole line of a body
    assert function_of(b"def f():\n", b"x = 1\n") == "def f():\n"


def test_the_share_that_parses_is_counted(tiny, monkeypatch):
    endings = [b"    return 1\n", b"    return ]\n", b"\x00\n", b"    pass\n"]
    rows = [list(b" " * (192 - 9) + b"def f():\n")] * 4
    monkeypatch.setattr(quality, "prompts", lambda limit: torch.tensor(rows))
    written = [list(e.ljust(20, b"\n")) for e in endings]
    monkeypatch.setattr(quality, "decode", lambda *args, **options: torch.tensor(written))
    # the head stands at the indent of the spaces before it, so its body never begins
    assert share_that_parses(tiny()) == 0
    rows[:] = [list(b"\n" * (192 - 9) + b"def f():\n")] * 4
    assert share_that_parses(tiny()) == 0.5


def test_untrained_weights_write_no_python(tiny):
    model = tiny(context=quality.PROMPT + quality.WRITTEN)
    assert share_that_parses(model, limit=4) == 0
