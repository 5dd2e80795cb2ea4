"""Checkers and hints of the exercises of notebook 06, distillation."""

import math

from costlab.exercises.checking import Exercise


class _Logits(list):
    """A list of numbers that a checker's sentence can show."""

    def __format__(self, spec: str) -> str:
        return f"[{', '.join(format(logit, spec) for logit in self)}]"


def _first(logits: list[float], scale: float) -> float:
    """The first class's share once every logit is multiplied by `scale`."""
    most = max(logits)
    heights = [math.exp((logit - most) * scale) for logit in logits]
    return heights[0] / sum(heights)


def _index_bytes(vocabulary: int) -> int:
    return math.ceil((vocabulary - 1).bit_length() / 8)


def _whole_months(training: float, saved: float) -> float:
    return math.ceil(training / saved) if saved > 0 else 0


SOFTENED = Exercise(
    signature="softened(logits, temperature)",
    cases=[
        (_Logits([2, 1, 0]), 2),
        (_Logits([0, 3, -1, 0.5]), 4),
        (_Logits([5, 1]), 1),
        (_Logits([1, 2, 3]), 0.5),
        (_Logits([2000, 1990, -2000]), 5),
    ],
    mistakes=[
        (
            lambda z, t: _first(z, 1),
            "you left out the temperature: divide every logit by it first.",
        ),
        (
            lambda z, t: _first(z, t),
            "you multiplied by the temperature, which sharpens: divide by it.",
        ),
        (
            lambda z, t: _first(z, 1) / t,
            "you divided the probability. The temperature divides the logits, before the "
            "exponential.",
        ),
        (
            lambda z, t: math.exp((z[0] - max(z)) / t),
            "the probabilities of all classes must add up to 1: divide by the sum of all "
            "exponentials.",
        ),
        (
            lambda z, t: (z[0] - max(z)) / t - math.log(sum(math.exp((x - max(z)) / t) for x in z)),
            "this is the logarithm of the probability: leave the logarithm out.",
        ),
    ],
    hints=[
        "A probability is one exponential over the sum of all. Where does the temperature go?",
        "Divide every logit by the temperature, then take exponentials. Large logits overflow, but "
        "the result does not change when all of them move by the same amount.",
        "Take the largest logit from all of them first: exp((logit - largest) / temperature).",
    ],
    praise="The warmer, the flatter: that is where the teacher's doubts become visible.",
)

TEACHER_SHARE = Exercise(
    signature="teacher_share(teacher, student)",
    cases=[(70e9, 7e9), (6_500_000, 1_600_000), (3, 1), (1e9, 1e9), (7e9, 70e9)],
    mistakes=[
        (
            lambda t, s: t / (t + s),
            "you counted as much for a weight of either. The teacher only goes forward; the "
            "student also goes backward.",
        ),
        (
            lambda t, s: 2 * t / (6 * s),
            "this is the teacher's work beside the student's; a share is one part of the sum of "
            "both.",
        ),
        (
            lambda t, s: t / (t + 2 * s),
            "you counted the student's backward pass and left out its forward pass.",
        ),
        (
            lambda t, s: 3 * t / (3 * t + s),
            "you have the two exchanged: it is the student that learns.",
        ),
        (
            lambda t, s: 3 * s / (t + 3 * s),
            "this is the student's share; the question asks for the teacher's.",
        ),
    ],
    hints=[
        "How many operations does each of the two do for one token?",
        "The teacher 2 for each of its weights, the student 6 for each of its own.",
        "2 x teacher over the sum of 2 x teacher and 6 x student.",
    ],
    praise="At three times the student's size, the teacher is half of the training bill.",
)

MONTHS_TO_REPAY = Exercise(
    signature="months_to_repay(training_dollars, teacher_month, student_month)",
    cases=[(10_000, 5000, 2000), (9000, 4500, 1500), (50, 1000, 100), (1, 3, 2), (7e5, 9e4, 3e4)],
    mistakes=[
        (
            lambda d, t, s: d / (t - s),
            "months are whole here: in the last of them the savings reach what was spent.",
        ),
        (
            lambda d, t, s: d // (t - s),
            "you rounded down, and after so many months something is still owed.",
        ),
        (
            lambda d, t, s: round(d / (t - s)),
            "you rounded to the nearest month: a little still owed takes one more.",
        ),
        (
            lambda d, t, s: d // (t - s) + 1,
            "you add a month even where the savings fit exactly: use math.ceil.",
        ),
        (
            lambda d, t, s: _whole_months(d, t),
            "you counted the teacher's whole bill as saved, but the student has a bill, too.",
        ),
        (
            lambda d, t, s: _whole_months(d, s),
            "this divides by what you still pay; divide by what you no longer pay.",
        ),
        (
            lambda d, t, s: _whole_months(d + s, t - s),
            "the student's bill is not paid once but every month: it is in the difference.",
        ),
    ],
    hints=[
        "What do you save in one month?",
        "The teacher's month less the student's. How often does that go into the training?",
        "math.ceil(training_dollars / saved), and math.inf where saved is not above 0.",
    ],
    praise="And nobody has asked yet for how many months the model will be in service.",
)

STORED_BYTES = Exercise(
    signature="stored_bytes(tokens, kept, vocabulary)",
    cases=[
        (1_000_000, 50, 32_000),
        (1000, 8, 256),
        (20_000, 100, 128_256),
        (64, 256, 256),
        (10, 4, 65_536),
        (10, 4, 65_537),
    ],
    mistakes=[
        (
            lambda n, k, v: n * k * 2,
            "you left out the indices: without them nobody knows whose logits these are.",
        ),
        (
            lambda n, k, v: n * k * (2 + _index_bytes(v)),
            "where every logit is kept, its place says whose it is, and no index is needed.",
        ),
        (
            lambda n, k, v: n * k * (2 if k == v else 4),
            "two bytes are not right for every index: a small vocabulary needs fewer, and a large "
            "one more.",
        ),
        (
            lambda n, k, v: n * k * (2 if k == v else 6),
            "you took four bytes for an index. Ask how many bytes this vocabulary needs.",
        ),
        (
            lambda n, k, v: n * k * (2 if k == v else 2 + math.log2(v) / 8),
            "an index takes whole bytes here: round up.",
        ),
        (
            lambda n, k, v: n * k * (2 if k == v else 2 + math.ceil(v.bit_length() / 8)),
            "indices begin at 0, so 256 tokens have indices up to 255, and one byte holds those.",
        ),
        (
            lambda n, k, v: k * (2 if k == v else 2 + _index_bytes(v)),
            "this is one token. The teacher's logits are kept for each of them.",
        ),
    ],
    hints=[
        "What is stored for each logit that is kept? A value, and what else?",
        "An index from 0 to vocabulary - 1. One byte tells 256 values apart, two 65,536.",
        "((vocabulary - 1).bit_length() + 7) // 8 bytes for an index, none if kept == vocabulary.",
    ],
    praise="Beside these, the text that they belong to is next to nothing.",
)

EXERCISES = {1: SOFTENED, 2: TEACHER_SHARE, 3: MONTHS_TO_REPAY, 4: STORED_BYTES}
