"""What the model must beat, against slow and plain versions of the same."""

import lzma
import math
import random
from collections import Counter

import pytest

from costlab.lm.baselines import lzma_bits_per_byte, ngram_bits_per_byte

TRAINING = b"the cat sat on the mat; the dog sat on the log. " * 3 + bytes(range(60))


def witten_bell(context: bytes, byte: int, training: bytes, order: int) -> float:
    """Probability of `byte` after `context`, from the definition, by counting anew each time."""
    history = context[len(context) - order :] if order else b""
    lower = witten_bell(context, byte, training, order - 1) if order else 1 / 256
    after = Counter(
        training[i + order]
        for i in range(len(training) - order)
        if training[i : i + order] == history
    )
    if not after:
        return lower
    return (after[byte] + len(after) * lower) / (after.total() + len(after))


def slow_bits(text: bytes, training: bytes, order: int) -> float:
    bits = [
        -math.log2(witten_bell(text[:i], text[i], training, min(order, i)))
        for i in range(len(text))
    ]
    return sum(bits) / len(bits)


@pytest.mark.parametrize("order", range(8))
def test_ngram_matches_a_slow_one(order):
    text = b"the dog sat on a mat\xff and the cat."
    assert ngram_bits_per_byte(text, TRAINING, order=order) == pytest.approx(
        slow_bits(text, TRAINING, order), rel=1e-9
    )


@pytest.mark.parametrize("order", [0, 1, 2, 5])
def test_probabilities_of_the_next_byte_sum_to_one(order):
    dice = random.Random(order)
    for _ in range(4):
        at = dice.randrange(len(TRAINING) - 8)
        context = TRAINING[at : at + 7] if dice.random() < 0.7 else dice.randbytes(7)
        before = 7 * ngram_bits_per_byte(context, TRAINING, order=order)
        total = sum(
            2 ** -(8 * ngram_bits_per_byte(context + bytes([b]), TRAINING, order=order) - before)
            for b in range(256)
        )
        assert total == pytest.approx(1, abs=1e-9)


def test_order_zero_by_hand():
    # training abac: a twice, b and c once; three kinds; weight 3 on the uniform 1/256
    p = {byte: (n + 3 / 256) / (4 + 3) for byte, n in ((b"a", 2), (b"b", 1), (b"z", 0))}
    for byte, probability in p.items():
        assert ngram_bits_per_byte(byte, b"abac", order=0) == pytest.approx(-math.log2(probability))


def test_more_context_helps_on_text_like_the_training_text():
    text = b"the cat sat on the log. the dog sat on the mat; "
    bits = [ngram_bits_per_byte(text, TRAINING, order=k) for k in (0, 1, 3)]
    assert bits == sorted(bits, reverse=True)
    assert bits[0] < 8


def test_lzma_is_lzma():
    def size(data):
        return len(lzma.compress(data, preset=9 | lzma.PRESET_EXTREME))

    text = b"a text to press, and to press again; " * 5
    assert lzma_bits_per_byte(text) == 8 * size(text) / len(text)
    primed = 8 * (size(TRAINING + text) - size(TRAINING)) / len(text)
    assert lzma_bits_per_byte(text, primer=TRAINING) == primed
    assert lzma_bits_per_byte(text, primer=text) < lzma_bits_per_byte(text)


@pytest.mark.parametrize("order", [-1, 8])
def test_an_order_out_of_range_is_refused(order):
    with pytest.raises(
        ValueError, match=f"^order must be from 0 to 7 bytes of context, got {order}"
    ):
        ngram_bits_per_byte(b"text text", TRAINING, order=order)


def test_empty_texts_are_refused():
    with pytest.raises(ValueError, match=r"^text is empty"):
        lzma_bits_per_byte(b"")
    with pytest.raises(ValueError, match=r"^text must be longer than order \(5\), got 2 bytes"):
        ngram_bits_per_byte(b"ab", TRAINING)
    with pytest.raises(ValueError, match=r"^training must be longer than order \(5\), got 0 bytes"):
        ngram_bits_per_byte(b"a longer text", b"")
