"""The exercises: solutions are right, wrong answers are told why, odd answers never raise."""

import math
from statistics import NormalDist

import matplotlib.pyplot as plt
import numpy as np
import pytest
import torch
from torch.nn.utils import prune

from costlab import exercises
from costlab.exercises import check, hint, names
from costlab.exercises.checking import load_solution, question, solution_markdown

# Worked out by hand, so that a solution and its checker cannot be wrong together.
BY_HAND = {
    "adapters.1": [((10, 10, 1), 0.2), ((4, 8, 2), 0.75), ((100, 25, 5), 0.25)],
    "adapters.2": [((1000, 16, 10), 2160.0), ((8, 4, 0), 4.0), ((0, 4, 2), 32.0)],
    "adapters.3": [((10, 4, 2), 3), ((10, 4, 4), 1), ((10, 11, 1), 0), ((10, 10, 1), 0)],
    "adapters.4": [((3, 0), 2 / 3), ((6, 2), 1.0), ((12, 1), 0.75)],
    "advisor.1": [((10, 4, 1), 3), ((9, 3, 0.75), 4), ((8, 4, 1), 2)],
    "advisor.2": [((100, 0.03, 0.01, 0.02), 100.0), ((1, 0.02, 0.01, 0.05), 0.2)],
    "advisor.3": [((1000, 500, 400), 10), ((1001, 500, 400), 11), ((0, 2, 1), 0)],
    "bill.1": [((7e9,), 14e9), ((0,), 0)],
    "bill.2": [((3.6, 100), 10.0), ((36, 1000), 10.0), ((0, 5), 0)],
    "bill.3": [
        ((12, 50, 400, 1.5), 2160.0),
        ((8, 100, 200, 2), 5760.0),
        ((0.01, 20, 500, 3), 2160),
    ],
    "clipping.1": [((0, 2), 0.0), ((1, 1), 0.6826894921), ((0.1, 0.05), 0.9544997361)],
    "clipping.2": [((0, 2), 0.0), ((0.6826894921, 1), 1.0), ((0.9544997361, 0.05), 0.1)],
    "clipping.3": [((4, 4), 0.5), ((2, 4), 2 / 3), ((4, 0), 0.0)],
    "compute.1": [((2, 100, 10), 20.0), ((50, 100, 10), 100.0), ((10, 100, 10), 100.0)],
    "compute.2": [((100, 2, 1, 1000, 10), 20.0), ((100, 2, 1000, 1000, 10), 200.0)],
    "compute.3": [((3.6, 1e15, 0.5), 2.0), ((1.8, 1e15, 1.0), 0.5)],
    "data_parallel.1": [((1000, 2), 4000.0), ((1000, 4), 6000.0), ((5, 1), 0.0)],
    "data_parallel.2": [((100, 2, 1, 10), 12.0), ((120, 4, 0, 10), 18.0), ((9, 1, 1, 1), 0.0)],
    "data_parallel.3": [((8, 32, 10), 400.0), ((32, 32, 10), 640.0), ((0.5, 0, 10), 5.0)],
    "distillation.1": [
        (([3, 3], 5), 0.5),
        (([math.log(81), 0, 0], 2), 9 / 11),
        (([1e6, 1e6, -1e6], 1), 0.5),
    ],
    "distillation.2": [((3, 1), 0.5), ((9, 1), 0.75), ((1, 1), 0.25)],
    "distillation.3": [
        ((10, 5, 2), 4),
        ((9, 5, 2), 3),
        ((10, 2, 2), math.inf),
        ((1, 2, 5), math.inf),
        ((0, 5, 2), 0),
    ],
    "distillation.4": [
        ((10, 3, 256), 90),
        ((10, 3, 257), 120),
        ((2, 5, 65_537), 50),
        ((10, 256, 256), 5120),
        ((7, 1, 1), 14),
    ],
    "gradient_parallel.1": [((1, 4, 1), 7.0), ((1, 4, 2), 5.5), ((2, 4, 3), 8.0)],
    "gradient_parallel.2": [((100, 2, 1, 3), 100.0), ((100, 2, 2, 3), 200.0), ((8, 4, 3, 2), 36)],
    "gradient_parallel.3": [((8, 100, 1), 40.0), ((8, 400, 4), 40.0), ((2, 100, 4), 10.0)],
    "gradient_parallel.4": [((8, 4, 4), 0.125), ((2, 1, 0), 1.0), ((10, 2, 6), 0.05)],
    "listing_compression.1": [((0.3, 0.1), 0.3), ((-0.3, 0.1), -0.3), ((-0.1, 0.1), 0)],
    "listing_compression.2": [((3, 12, 0.6), 0.1), ((1, 1, 5), 5), ((4096, 4096, 1), 1 / 4096)],
    "listing_compression.3": [
        ((2, 0.1, 0.9, 2), 0.922),
        ((1, 0.5, 0.5, 2), 1.625),
        ((3, 0.1, 0, 0), 0),
    ],
    "listing_distributed.1": [((10, 3), 4), ((10, 5), 2), ((1, 9), 1)],
    "listing_distributed.2": [((10, 2, 2), 3), ((64, 16, 4), 1), ((65, 16, 4), 2)],
    "listing_distributed.3": [((1, 1, 3, 3), -0.5), ((5, 2, 1, 2), 0.0), ((4, 3, 0, 1), -1.0)],
    "listing_optimization.1": [((12, 1), 1), ((12, 1.0), 12), ((12, 0.1), 1), ((5, 0.5), 2)],
    "listing_optimization.2": [((0.75, 2), 0.5), ((0.875, 3), 0.5), ((0.3, 1), 0.3), ((0, 4), 0)],
    "listing_optimization.3": [
        ((88, 10, 4 * 6346), 64),
        ((88, 10, 4 * 6346 - 1), 63),
        ((1, 1, 16), 1),
        ((9, 4, 16), 0),
    ],
    "model_parallel.1": [((10, 4, 1, 2), 320.0), ((10, 4, 3, 4), 1440.0), ((7, 8, 9, 1), 0)],
    "model_parallel.2": [((2, 0.5), 2), ((4, 0.25), 9), ((3, 0.5), 3), ((5, 0.3), 10)],
    "model_parallel.3": [((8, 2, 1, 3), 6.0), ((4, 2, 2, 1), 3.0), ((5, 5, 9, 2), 10.0)],
    "pruning.1": [((2, 0, 1), 2.0), ((-1, 3, 4), 12.5), ((1, 4, 0), 8.0)],
    "pruning.2": [((0.5, 2), 0.75), ((0.2, 1), 0.2), ((1, 3), 1), ((0.3, 0), 0)],
    "pruning.3": [((16, 2, 4), 9.0), ((16, 4, 8), 9.5), ((7, 3, 6), 5.0)],
    "pruning.4": [((1, 1, 4, 1.2), 0.32), ((2, 3, 5, 0), 6.0), ((-1, 2, 2, -1), 0.75)],
    "quantization.1": [((7.5, 7.5, 4), 7.0), ((-7.5, 7.5, 4), -8.0), ((0.4, 1.5, 2), 0.0)],
    "quantization.2": [((1024, 4, 32), 576.0), ((32, 8, 32), 34.0)],
    "quantization.3": [((30.0, 5, 30.0), 5), ((40, 4, 18), 8), ((20, 8, 43.5), 5)],
    "quantization.4": [((1000, 10, 2), 100.0), ((1000, 10, 0.5), 25.0)],
    "regularization.1": [
        ((1, 2, 0.5, 0.25), 0.375),
        ((-1, 1, 2, 0.125), -0.875),
        ((0.25, 1, 1, 0.25), 0),
        ((0, -4, 1, 0.5), 1.5),
    ],
    "regularization.2": [
        ((1, 0.5, 0.25), 8),
        ((-1.5, 2, 0.5), 2),
        ((2.2, 4, 0.125), 5),
        ((0, 1, 1), 0),
    ],
    "regularization.3": [
        (([3, 4], 2, 0.5), 2.4),
        (([-6, 8], 4, 1.25), -3),
        (([0.3, 0.4], 2, 0.5), 0),
    ],
    "regularization.4": [(([3, 4, -4.5, 0], 2), 5), (([1, -7], 1), 7), (([0, 0], 2), 0)],
    "serving.1": [((4, 2, 64, 4, 1), 4096), ((32, 8, 128, 2, 10), 1310720)],
    "serving.2": [((3.6, 0.0005), 2), ((36, 0.01), 1)],
    "serving.3": [((0.5, 2), 1.75), ((1, 4), 5), ((0, 9), 1)],
    "serving.4": [((2, 100, 0.5), 250), ((4, 10, 1), 100), ((1, 7, 0.1), 7)],
    "shearing.1": [((0.5, 1), 7 / 12), ((0.5, 0), 0.5), ((1, 4), 1)],
    "shearing.2": [((1024, 0.3, 8), 720), ((64, 0.9, 16), 16), ((16, 0.5, 8), 8)],
    "shearing.3": [((0.5, 2), 4 / 3), ((1, 7), 7), ((0.8, 4), 2.5)],
    "shearing.4": [((100, 13, 1), 9), ((100, 20, 10), 10), ((7, 30, 2), 1)],
    "storage.1": [((800, 0.5, 16), 900.0), ((80, 1, 32), 10.0), ((80, 0, 8), 90.0)],
    "storage.2": [((13, 10, 0.1), 30.0), ((26, 4, 2), 11.0)],
    "storage.3": [((1e9, 2500, 1000, 0.5), 14.0), ((2e9, 100, 100, 0.01), 0.28)],
    "trends.1": [((2, 8), 3.0), ((0.5, 0.25), 2.0), ((1.1, 1), 0.0)],
    "trends.2": [((1, 0.5, 2), 13140.0), ((2, 0.9, 1), 17520.0)],
    "trends.3": [((100, 0.5, 8, 16), 200.0), ((100, 0.5, 8, 32), 400.0), ((7, 0.9, 2, 2), 7.0)],
    "your_model.1": [((10, 24, 1), 10.0), ((10, 12, 0.5), 40.0), ((0, 1, 0.1), 0.0)],
    "your_model.2": [((20, 100, 10), 2.0), ((5, 5, 1), 1.0), ((30, 240, 24), 3.0)],
    "your_model.3": [((8, 4), 2.0), ((3, 1), 3.0), ((0, 2), 0.0)],
    "your_model.4": [((math.log(16), 2, 2), 1.0), ((math.log(8), 3, 1), 1.0), ((0, 5, 2), 0.0)],
    "whole_bill.1": [((100, 3, 7), 19), ((10, 4, 5), 1), ((10, 4, 4.5), 0)],
    "whole_bill.2": [((8, 0.5, 16, 2), 4 / 3), ((0, 2, 5, 3), 3)],
    "whole_bill.3": [((100, 50, 2), 4), ((10, 100, 1.25), 0.5)],
}

WRONG = [
    ("adapters.1", lambda n, m, r: r * (n + m), "divide them"),
    ("adapters.1", lambda n, m, r: n * m / r / (n + m), "turn it over"),
    ("adapters.1", lambda n, m, r: r / n, "one of the two strips"),
    ("adapters.1", lambda n, m, r: r / m, "one of the two strips"),
    ("adapters.1", lambda n, m, r: r, "do not multiply"),
    ("adapters.1", lambda n, m, r: 1 / n + 1 / m, "left out the rank"),
    ("adapters.2", lambda n, b, t: 16 * n, "full training"),
    ("adapters.2", lambda n, b, t: n * b / 8, "frozen weights alone"),
    ("adapters.2", lambda n, b, t: n * b + 16 * t, "eight to a byte"),
    ("adapters.2", lambda n, b, t: n * b / 8 + 8 * t, "counted the two means"),
    ("adapters.2", lambda n, b, t: n * b / 8 + 12 * t, "left out four bytes"),
    ("adapters.2", lambda n, b, t: n * (b / 8 + 16), "not for each weight"),
    ("adapters.3", lambda c, m, a: c // m, "copies fit"),
    ("adapters.3", lambda c, m, a: c // (m + a), "they share one"),
    ("adapters.3", lambda c, m, a: c // a, "left out the model"),
    ("adapters.3", lambda c, m, a: max(0, (c - m) / a), "Round down"),
    ("adapters.3", lambda c, m, a: (c - m) // a, "fewer than nobody"),
    ("adapters.3", lambda c, m, a: max(0, math.ceil((c - m) / a)), "rounded up"),
    ("adapters.4", lambda p, t: t / p, "are multiplied, too"),
    ("adapters.4", lambda p, t: 2 / 3, "on top of it"),
    ("adapters.4", lambda p, t: 1 + t / p, "not six"),
    ("adapters.4", lambda p, t: (2 * p + 6 * t) / 6 / p, "the layers before"),
    ("adapters.4", lambda p, t: (4 * p + 2 * t) / 6 / p, "all three products"),
    ("adapters.4", lambda p, t: (4 * p + 4 * t) / 6 / p, "gradients of their own"),
    ("advisor.1", lambda r, c, s: r / c / s, "whole or not at all"),
    ("advisor.1", lambda r, c, s: int(r / (c * s)), "rounded down"),
    ("advisor.1", lambda r, c, s: math.ceil(r / c), "middle of the range"),
    ("advisor.1", lambda r, c, s: math.ceil(r * s / c), "less, not more"),
    ("advisor.1", lambda r, c, s: r // (c * s) + 1, "divides evenly"),
    ("advisor.1", lambda r, c, s: round(r / (c * s)), "too few"),
    ("advisor.2", lambda k, w, c, r: (w - c) / r, "one gigabyte"),
    ("advisor.2", lambda k, w, c, r: k * w / r, "not free"),
    ("advisor.2", lambda k, w, c, r: k * (w - c) * r, "you multiplied"),
    ("advisor.2", lambda k, w, c, r: k * r / (w - c), "turn it over"),
    ("advisor.2", lambda k, w, c, r: k * (w + c) / r, "the difference"),
    ("advisor.3", lambda o, b, a: o / (b - a), "round up"),
    ("advisor.3", lambda o, b, a: int(o / (b - a)), "rounded down"),
    ("advisor.3", lambda o, b, a: math.ceil(o / b), "still pay"),
    ("advisor.3", lambda o, b, a: math.ceil(o / a), "difference of the two"),
    ("advisor.3", lambda o, b, a: o // (b - a) + 1, "comes out even"),
    ("advisor.3", lambda o, b, a: round(o / (b - a)), "too early"),
    ("bill.1", lambda n: n, "two operations"),
    ("bill.1", lambda n: 6 * n, "training"),
    ("bill.1", lambda n: 4 * n, "backward pass alone"),
    ("bill.2", lambda p, s: p / (s * 3600) * 1e3, "thousand"),
    ("bill.2", lambda p, s: p / s * 1e6, "per second"),
    ("bill.2", lambda p, s: p / (s * 3600), "one token"),
    ("bill.2", lambda p, s: p / (s * 60) * 1e6, "60 minutes"),
    ("bill.2", lambda p, s: p * s * 3600 / 1e6, "faster machine"),
    ("bill.3", lambda r, t, s, p: r * t / s * p * 720, "whole ones"),
    ("bill.3", lambda r, t, s, p: (r * t // s) * p * 720, "rounded down"),
    ("bill.3", lambda r, t, s, p: round(r * t / s) * p * 720, "nearest machine"),
    ("bill.3", lambda r, t, s, p: (r * t // s + 1) * p * 720, "fits exactly"),
    ("bill.3", lambda r, t, s, p: math.ceil(r * t / s) * p, "one hour"),
    ("bill.3", lambda r, t, s, p: math.ceil(r * t / s) * p * 24, "one day"),
    ("bill.3", lambda r, t, s, p: math.ceil(r * t / s) * p * 730, "730 hours"),
    ("bill.3", lambda r, t, s, p: p * 720, "one machine"),
    ("bill.3", lambda r, t, s, p: math.ceil(r / s) * p * 720, "tokens of each"),
    ("clipping.1", lambda t, d: math.erf(t / d), "square root of 2"),
    ("clipping.1", lambda t, d: math.erf(t / d / 2**0.5) / 2, "one side"),
    ("clipping.1", lambda t, d: math.erfc(t / d / 2**0.5), "kept"),
    ("clipping.1", lambda t, d: (1 + math.erf(t / d / 2**0.5)) / 2, "everything below"),
    ("clipping.2", lambda s, d: bell(s) * d, "left of zero"),
    ("clipping.2", lambda s, d: bell((1 + s) / 2), "deviation of 1"),
    ("clipping.2", lambda s, d: bell((1 + s) / 2) / d, "wider curve"),
    ("clipping.2", lambda s, d: s * d, "in proportion"),
    ("clipping.3", lambda v, i: v / (v + i), "may be kept"),
    ("clipping.3", lambda v, i: i / v, "takes both"),
    ("clipping.3", lambda v, i: 0.5, "one size only"),
    ("compute.1", lambda i, p, b: i * b, "faster than the peak"),
    ("compute.1", lambda i, p, b: p, "reached only where"),
    ("compute.1", lambda i, p, b: max(p, i * b), "lower of the two"),
    ("compute.1", lambda i, p, b: min(p, b / i), "divided by the intensity"),
    ("compute.2", lambda n, w, k, p, b: max(2 * n / p, n * w / b), "forgot the batch"),
    ("compute.2", lambda n, w, k, p, b: k * max(2 * n / p, n * w / b), "once for all"),
    ("compute.2", lambda n, w, k, p, b: 2 * n * k / p + n * w / b, "go on at once"),
    ("compute.2", lambda n, w, k, p, b: max(n * k / p, n * w / b), "two operations"),
    ("compute.3", lambda c, p, m: c / (p * 3600) * 1e18, "use `mfu` of them"),
    ("compute.3", lambda c, p, m: c / (p * m) * 1e18, "for an hour"),
    ("compute.3", lambda c, p, m: c * m / (p * 3600) * 1e18, "must cost more"),
    ("compute.3", lambda c, p, m: p * m * 3600 / c / 1e18, "turn it over"),
    ("data_parallel.1", lambda w, n: 4 * w, "chunks of the ring"),
    ("data_parallel.1", lambda w, n: 4 * (w - w / n), "once more"),
    ("data_parallel.1", lambda w, n: 2 * (n - 1) * w / n, "four to a number"),
    ("data_parallel.1", lambda w, n: 2 * (n - 1) * 4 * w, "an N-th of the gradients"),
    ("data_parallel.1", lambda w, n: 8 * w, "very many processes"),
    ("data_parallel.2", lambda p, n, a, b: 2 * a * (n - 1), "waiting alone"),
    ("data_parallel.2", lambda p, n, a, b: 2 * (n - 1) * p / (n * b), "without latency"),
    ("data_parallel.2", lambda p, n, a, b: 2 * (a + (n - 1) * p / n / b), "in every step"),
    ("data_parallel.2", lambda p, n, a, b: 2 * (n - 1) * (p / b + a), "not all of it"),
    ("data_parallel.2", lambda p, n, a, b: (n - 1) * (p / (n * b) + a), "handed out"),
    ("data_parallel.2", lambda p, n, a, b: 2 * n * (p / (n * b) + a), "not in N"),
    ("data_parallel.3", lambda b, c, s: s + s * c / b, "these are the steps"),
    ("data_parallel.3", lambda b, c, s: b * s, "very large batch"),
    ("data_parallel.3", lambda b, c, s: c * s, "tiny batch"),
    ("data_parallel.3", lambda b, c, s: b * s * (c + b) / c, "other way round"),
    ("data_parallel.3", lambda b, c, s: s * (b + c) / b**2, "do not divide"),
    ("distillation.1", lambda z, t: soft(z, 1), "left out the temperature"),
    ("distillation.1", lambda z, t: soft(z, 1 / t), "which sharpens"),
    ("distillation.1", lambda z, t: soft(z, 1) / t, "before the exponential"),
    ("distillation.1", lambda z, t: math.exp((z[0] - max(z)) / t), "add up to 1"),
    ("distillation.1", lambda z, t: math.log(soft(z, t)), "logarithm"),
    (
        "distillation.1",
        lambda z, t: math.exp(z[0] / t) / sum(math.exp(x / t) for x in [1e4, *z]),
        "OverflowError",
    ),
    ("distillation.2", lambda t, s: 2 * t / (2 * t + 2 * s), "only goes forward"),
    ("distillation.2", lambda t, s: 2 * t / (6 * s), "sum of both"),
    ("distillation.2", lambda t, s: 2 * t / (2 * t + 4 * s), "its forward pass"),
    ("distillation.2", lambda t, s: 6 * t / (6 * t + 2 * s), "exchanged"),
    ("distillation.2", lambda t, s: 6 * s / (2 * t + 6 * s), "the student's share"),
    ("distillation.3", lambda d, t, s: d / (t - s), "months are whole"),
    ("distillation.3", lambda d, t, s: d // (t - s), "rounded down"),
    ("distillation.3", lambda d, t, s: round(d / (t - s)), "nearest month"),
    ("distillation.3", lambda d, t, s: d // (t - s) + 1, "fit exactly"),
    ("distillation.3", lambda d, t, s: math.ceil(d / t), "has a bill, too"),
    ("distillation.3", lambda d, t, s: math.ceil(d / s), "no longer pay"),
    ("distillation.3", lambda d, t, s: math.ceil((d + s) / (t - s)), "every month"),
    ("distillation.4", lambda n, k, v: n * k * 2, "left out the indices"),
    ("distillation.4", lambda n, k, v: n * k * (2 + whole_bytes(v - 1)), "no index is needed"),
    ("distillation.4", lambda n, k, v: n * k * (2 if k == v else 4), "not right for every index"),
    ("distillation.4", lambda n, k, v: n * k * (2 if k == v else 6), "four bytes"),
    (
        "distillation.4",
        lambda n, k, v: n * k * (2 + (k < v) * math.log2(v) / 8),
        "takes whole bytes",
    ),
    ("distillation.4", lambda n, k, v: n * k * (2 + (k < v) * whole_bytes(v)), "up to 255"),
    ("distillation.4", lambda n, k, v: k * (2 + (k < v) * whole_bytes(v - 1)), "one token"),
    ("gradient_parallel.1", lambda p, n, s: 16 * p / n, "everything at every stage"),
    ("gradient_parallel.1", lambda p, n, s: cut(p, n, s, 2, 2, 12), "They go last"),
    ("gradient_parallel.1", lambda p, n, s: cut(p, n, s, 8, 2, 2), "left out the copy"),
    ("gradient_parallel.1", lambda p, n, s: cut(p, n, s, 8, 4, 4), "training in 32 bits"),
    (
        "gradient_parallel.1",
        lambda p, n, s: cut(p / n, 1 / n, s, 12, 2, 2),
        "what the stage leaves",
    ),
    ("gradient_parallel.2", lambda g, n, s, m: g * (2, m + 1, 3 * m)[s - 1], "that is its own"),
    ("gradient_parallel.2", lambda g, n, s, m: sent(g, n, (2, 2, 3)[s - 1]), "one backward pass"),
    (
        "gradient_parallel.2",
        lambda g, n, s, m: sent(g, n, (2, 2 * m, 3 * m)[s - 1]),
        "weights once",
    ),
    (
        "gradient_parallel.2",
        lambda g, n, s, m: sent(g, n, (m + 1, m + 1, 3 * m)[s - 1]),
        "keeps its",
    ),
    (
        "gradient_parallel.2",
        lambda g, n, s, m: sent(g, n, (2, m + 1, 2 * m + 1)[s - 1]),
        "frees what",
    ),
    ("gradient_parallel.3", lambda c, m, n: (2 * c * m) ** 0.5, "for one machine"),
    ("gradient_parallel.3", lambda c, m, n: (2 * c * m * n) ** 0.5, "fail more often"),
    ("gradient_parallel.3", lambda c, m, n: (c * m / n) ** 0.5, "half an interval"),
    ("gradient_parallel.3", lambda c, m, n: 2 * c * m / n, "square root"),
    ("gradient_parallel.3", lambda c, m, n: m / n, "loses most"),
    ("gradient_parallel.4", lambda n, v, i: v / (v + i), "those of all the others"),
    ("gradient_parallel.4", lambda n, v, i: 2 / n, "left out the indices"),
    ("gradient_parallel.4", lambda n, v, i: v / (v + i) / n, "go round twice"),
    ("gradient_parallel.4", lambda n, v, i: 2 * v / (v + i) / (n - 1), "ranks less one cancel"),
    ("gradient_parallel.4", lambda n, v, i: (v + i) / v * n / 2, "turn it over"),
    ("listing_compression.1", lambda w, t: 0 if abs(w) < t else w, "at the threshold goes"),
    ("listing_compression.1", lambda w, t: w * (w > t), "without its sign"),
    ("listing_compression.1", lambda w, t: abs(w) * (abs(w) > t), "keep its sign"),
    ("listing_compression.1", lambda w, t: min(max(w, -t), t), "clamping"),
    (
        "listing_compression.1",
        lambda w, t: float(torch.nn.functional.softshrink(torch.tensor(w, dtype=torch.float64), t)),
        "soft thresholding",
    ),
    ("listing_compression.1", lambda w, t: w * (abs(w) <= t), "other way round"),
    ("listing_compression.1", lambda w, t: w, "it freezes"),
    ("listing_compression.2", lambda r, c, t: t, "one weight"),
    ("listing_compression.2", lambda r, c, t: t / r / c, "adds squares"),
    ("listing_compression.2", lambda r, c, t: t * (r * c) ** 0.5, "turn it round"),
    ("listing_compression.2", lambda r, c, t: t / r**0.5, "one column alone"),
    ("listing_compression.2", lambda r, c, t: t / c**0.5, "one row alone"),
    ("listing_compression.2", lambda r, c, t: t * t / r / c, "take its root"),
    ("listing_compression.3", lambda g, r, m, n: 0, "do move"),
    ("listing_compression.3", lambda g, r, m, n: r * g * n, "without momentum"),
    ("listing_compression.3", lambda g, r, m, n: way(g, r, m, n, left=0)[0], "set to zero"),
    ("listing_compression.3", lambda g, r, m, n: way(0, r, m, n, left=g)[0], "began at rest"),
    ("listing_compression.3", lambda g, r, m, n: way(g, r, m, n, left=g)[1], "last step alone"),
    ("listing_compression.3", lambda g, r, m, n: way(g, r, m, n, left=g)[0] + r * g, "counted the"),
    ("listing_compression.3", lambda g, r, m, n: way(g, 1, m, n, left=g)[0], "the velocities"),
    ("listing_distributed.1", lambda n, p: n // p, "are lost"),
    ("listing_distributed.1", lambda n, p: n / p, "whole number"),
    ("listing_distributed.1", lambda n, p: n, "without a sampler"),
    ("listing_distributed.1", lambda n, p: round(n / p), "to the nearest"),
    ("listing_distributed.1", lambda n, p: 1 + n // p, "nothing is filled up"),
    ("listing_distributed.2", lambda n, b, p: -(-n // b), "one process"),
    ("listing_distributed.2", lambda n, b, p: n // b // p, "it is a step, too"),
    ("listing_distributed.2", lambda n, b, p: -(-n // p) // b, "it is a step, too"),
    ("listing_distributed.2", lambda n, b, p: p * -(-n // p // b), "step together"),
    ("listing_distributed.2", lambda n, b, p: n / b / p, "round up"),
    ("listing_distributed.3", lambda g, m, h, n: (h + g) / 2, "that the processes make"),
    ("listing_distributed.3", lambda g, m, h, n: (g * m + h * n) / (n + m), "the whole batch"),
    ("listing_distributed.3", lambda g, m, h, n: (m - n) * (g - h) / (m + n) / 2, "way round"),
    ("listing_distributed.3", lambda g, m, h, n: 0, "only there"),
    ("listing_distributed.3", lambda g, m, h, n: abs((n - m) * (g - h) / (m + n) / 2), "the sign"),
    ("listing_optimization.1", lambda n, a: round(n * a), "type of amount"),
    ("listing_optimization.1", lambda n, a: int(n * a) if type(a) is float else a, "share down"),
    ("listing_optimization.1", lambda n, a: -int(-n * a // 1) if type(a) is float else a, "up"),
    (
        "listing_optimization.1",
        lambda n, a: int(n * a + 0.5) if type(a) is float else a,
        "even neighbor",
    ),
    ("listing_optimization.1", lambda n, a: n * a if type(a) is float else a, "part of a weight"),
    ("listing_optimization.1", lambda n, a: round(n * a) if a < 1 else a, "1.0 is a share"),
    ("listing_optimization.1", lambda n, a: n - torch_takes(n, a), "that stay"),
    ("listing_optimization.2", lambda s, n: s / n, "of all weights"),
    ("listing_optimization.2", lambda s, n: s, "right for one call"),
    ("listing_optimization.2", lambda s, n: math.exp(math.log(1 - s) / n), "call leaves"),
    ("listing_optimization.2", lambda s, n: 1 - s ** (1 / n), "root of what goes"),
    ("listing_optimization.2", lambda s, n: s ** (1 / n), "does not multiply"),
    ("listing_optimization.2", lambda s, n: 1 - (1 - s) ** n, "turn it round"),
    ("listing_optimization.3", lambda d, k, b: int(b / 4 / (d + k)), "left out the biases: one"),
    ("listing_optimization.3", lambda d, k, b: int(b / 4 / (d + k + 1)), "biases of the outputs"),
    ("listing_optimization.3", lambda d, k, b: int((b / 4 - k) / (d + k)), "has a bias, too"),
    ("listing_optimization.3", lambda d, k, b: (b - k) // (d + k + 1), "four bytes"),
    ("listing_optimization.3", lambda d, k, b: int((b / 4 - k) / (d + 1)), "column of the second"),
    ("listing_optimization.3", lambda d, k, b: (b / 4 - k) / (d + k + 1), "no neuron"),
    ("listing_optimization.3", lambda d, k, b: -((k - b / 4) // (d + k + 1)), "rounded up"),
    (
        "listing_optimization.3",
        lambda d, k, b: round((b / 4 - k) / (d + k + 1)),
        "to the nearest",
    ),
    (
        "listing_optimization.3",
        lambda d, k, b: 8 * int((b / 4 - k) / (d + k + 1) / 8),
        "multiples of 8",
    ),
    ("model_parallel.1", lambda t, h, n, r: sent(8 * t * h * n, r, 1), "two sums a block"),
    ("model_parallel.1", lambda t, h, n, r: 8 * t * h * n, "what is summed"),
    ("model_parallel.1", lambda t, h, n, r: 16 * t * h * n, "nothing is sent"),
    ("model_parallel.1", lambda t, h, n, r: sent(32 * t * h * n, r, 1), "bytes of float32"),
    ("model_parallel.1", lambda t, h, n, r: sent(16 * t * h * n, r, 1 / r), "are not divided"),
    ("model_parallel.2", lambda p, s: math.ceil((p - 1) / s - p + 1 - 1e-9), "one of its own"),
    ("model_parallel.2", lambda p, s: (p - 1) / s - p + 1, "are whole"),
    ("model_parallel.2", lambda p, s: max(p, int((p - 1) * (1 - s) / s)), "rounded down"),
    ("model_parallel.2", lambda p, s: max(p, math.ceil((p - 1) / s - 1e-9)), "the belt fills"),
    ("model_parallel.3", lambda e, k, t, b: min(e, k * t) * b, "choose the same"),
    ("model_parallel.3", lambda e, k, t, b: k * t * b, "no more than all"),
    ("model_parallel.3", lambda e, k, t, b: e * b, "what memory holds"),
    ("model_parallel.3", lambda e, k, t, b: e * (k / e) ** t * b, "every token chooses"),
    ("model_parallel.3", lambda e, k, t, b: e * (1 - k / e) ** t * b, "nobody chooses"),
    ("pruning.1", lambda w, m, d: w * w * (m * m + d * d), "one half"),
    ("pruning.1", lambda w, m, d: abs(w) * (m * m + d * d) ** 0.5, "Wanda's score"),
    ("pruning.1", lambda w, m, d: w * w * m * m / 2, "squared the mean"),
    ("pruning.1", lambda w, m, d: w * w * d * d / 2, "left out the mean"),
    ("pruning.1", lambda w, m, d: w * w * (m + d) ** 2 / 2, "their squares do"),
    ("pruning.1", lambda w, m, d: w * w / 2, "magnitude's reading"),
    ("pruning.2", lambda s, n: s * n, "those that are left"),
    ("pruning.2", lambda s, n: (1 - s) ** n, "asks for the zeros"),
    ("pruning.2", lambda s, n: s**n, "those that stay"),
    ("pruning.2", lambda s, n: 1 - (1 - s) ** (n + 1), "too many"),
    ("pruning.3", lambda b, k, n: k * b / n, "left out the positions"),
    ("pruning.3", lambda b, k, n: 1 + k * b / n, "bitmask"),
    ("pruning.3", lambda b, k, n: b + math.ceil(math.log2(n)), "Average over all"),
    ("pruning.3", lambda b, k, n: k * (b + math.ceil(math.log2(n))), "a whole group"),
    ("pruning.3", lambda b, k, n: k * (b + math.log2(n)) / n, "round up"),
    ("pruning.4", lambda w, a, b, c: w * w * a / 2, "Let it move"),
    ("pruning.4", lambda w, a, b, c: w * w * (a - c * c / b), "one half"),
    ("pruning.4", lambda w, a, b, c: w * w * (b - c * c / a) / 2, "the other weight"),
    ("pruning.4", lambda w, a, b, c: w * w * (a + c * c / b) / 2, "sign is wrong"),
    ("pruning.4", lambda w, a, b, c: w * w * (a * b - c * c) / 2, "determinant"),
    ("quantization.1", lambda w, a, b: on_grid(w, a / (2**b - 0.5), 2**b), "the sign"),
    ("quantization.1", lambda w, a, b: on_grid(w, step(a, b), 2**20), "does not exist"),
    ("quantization.1", lambda w, a, b: on_grid(w, step(a, b), 2 ** (b - 1)) / step(a, b), "code"),
    (
        "quantization.1",
        lambda w, a, b: on_grid(w, a / (2 ** (b - 1) - 1), 2 ** (b - 1)),
        "last positive code",
    ),
    ("quantization.1", lambda w, a, b: math.trunc(w / step(a, b)) * step(a, b), "toward zero"),
    ("quantization.2", lambda n, b, g: n * b / 8, "left out the scales"),
    ("quantization.2", lambda n, b, g: n * b + n / g * 16, "asks for bytes"),
    ("quantization.2", lambda n, b, g: (n * b + n / g * 32) / 8, "here it has 16"),
    ("quantization.2", lambda n, b, g: (n * b + 16) / 8, "each group"),
    ("quantization.3", lambda d, b, k: b + math.floor((d - k) / 6.0206), "rounded down"),
    ("quantization.3", lambda d, b, k: b + round((d - k) / 6.0206), "rounding up"),
    ("quantization.3", lambda d, b, k: b + math.ceil((d - k) / 3.0103), "six, not three"),
    ("quantization.3", lambda d, b, k: math.ceil((d - k) / 6.0206), "started from"),
    ("quantization.4", lambda p, b, w: p * w / b, "two operations"),
    ("quantization.4", lambda p, b, w: p / b / 2, "one byte"),
    ("quantization.4", lambda p, b, w: 2 * b / (p * w), "turn it over"),
    ("quantization.4", lambda p, b, w: p / (2 * b * w), "multiply by it"),
    ("regularization.1", lambda w, g, s, lr: soft_threshold(w - lr * g, s), "strength alone"),
    ("regularization.1", lambda w, g, s, lr: w - lr * (g + s * ((w > 0) - (w < 0))), "jumps over"),
    (
        "regularization.1",
        lambda w, g, s, lr: w - lr * g + (lr * s if w < lr * g else -lr * s),
        "past zero",
    ),
    ("regularization.1", lambda w, g, s, lr: soft_threshold(w, lr * s) - lr * g, "the order"),
    ("regularization.1", lambda w, g, s, lr: max(w - lr * (g + s), 0), "keep their sign"),
    ("regularization.1", lambda w, g, s, lr: soft_threshold(w + lr * g, lr * s), "up the slope"),
    (
        "regularization.1",
        lambda w, g, s, lr: 0 if abs(w - lr * g) <= lr * s else w - lr * g,
        "clipping",
    ),
    ("regularization.2", lambda w, s, lr: abs(w) / lr / s, "steps are whole"),
    ("regularization.2", lambda w, s, lr: int(abs(w) / (lr * s)), "rounded down"),
    ("regularization.2", lambda w, s, lr: round(abs(w) / lr / s), "nearest step"),
    ("regularization.2", lambda w, s, lr: int(abs(w) / lr / s) + 1, "zero exactly"),
    ("regularization.2", lambda w, s, lr: math.ceil(abs(w) / s), "not by the strength"),
    ("regularization.2", lambda w, s, lr: math.ceil(w / s / lr), "take its size"),
    ("regularization.3", lambda w, s, lr: soft_threshold(w[0], lr * s), "for itself"),
    (
        "regularization.3",
        lambda w, s, lr: w[0] * max(1 - lr * s / sum(abs(x) for x in w), 0),
        "sum of its sizes",
    ),
    (
        "regularization.3",
        lambda w, s, lr: w[0] * max(1 - lr * s / sum(x**2 for x in w), 0),
        "forgot the root",
    ),
    ("regularization.3", lambda w, s, lr: w[0] * max(1 - s / math.hypot(*w), 0), "strength alone"),
    ("regularization.3", lambda w, s, lr: w[0] - w[0] * lr * s / math.hypot(*w), "turned round"),
    ("regularization.3", lambda w, s, lr: max(math.hypot(*w) - lr * s, 0), "whole group"),
    ("regularization.4", lambda g, n: max(abs(x) for x in g), "single weights"),
    ("regularization.4", lambda g, n: min(lengths(g, n)), "the first group goes"),
    (
        "regularization.4",
        lambda g, n: max(sum(abs(x) for x in g[i : i + n]) for i in range(0, len(g), n)),
        "root of its sum",
    ),
    ("regularization.4", lambda g, n: math.hypot(*g), "all slopes for one"),
    ("regularization.4", lambda g, n: sum(lengths(g, n)), "added the groups"),
    ("regularization.4", lambda g, n: max(lengths(g, n)) ** 2, "forgot the root"),
    ("serving.1", lambda n, h, d, b, t: t * n * h * d * b, "both are kept"),
    ("serving.1", lambda n, h, d, b, t: 2 * t * h * d * b, "every layer"),
    ("serving.1", lambda n, h, d, b, t: 2 * t * n * h * d, "asks for bytes"),
    ("serving.1", lambda n, h, d, b, t: 2 * n * h * d * b, "this is one token"),
    ("serving.1", lambda n, h, d, b, t: 2 * t * n * d * b, "each of the heads"),
    ("serving.2", lambda p, a: p / a, "an hour"),
    ("serving.2", lambda p, a: p / (60 * a), "a minute"),
    ("serving.2", lambda p, a: a / (p / 3600), "turn it over"),
    ("serving.2", lambda p, a: a * p / 3600, "instead of multiplying"),
    ("serving.3", lambda a, k: sum(a ** (i + 1) for i in range(k)), "one token of its own"),
    ("serving.3", lambda a, k: k * a, "one is added"),
    ("serving.3", lambda a, k: k * a + 1, "use powers"),
    ("serving.3", lambda a, k: a**k, "all guesses are kept"),
    ("serving.3", lambda a, k: (1 - a**k) / (1 - a) if a < 1 else k, "one power is missing"),
    ("serving.4", lambda t, n, c: t * n, "read again"),
    ("serving.4", lambda t, n, c: n * c * t * (t + 1) / 2, "paid in full"),
    ("serving.4", lambda t, n, c: sum(n + c * n * (i + 1) for i in range(t)), "twice"),
    ("serving.4", lambda t, n, c: t * n * (1 + c * (t - 1)), "halve it"),
    ("serving.4", lambda t, n, c: n * (t * t + t) / 2, "the discount"),
    ("serving.4", lambda t, n, c: n * (1 + c * (t - 1)), "add all of them"),
    ("shearing.1", lambda p, m: p, "lose more than p"),
    ("shearing.1", lambda p, m: 1 - (1 - p) ** 2, "keep one of their sides"),
    ("shearing.1", lambda p, m: (2 * p + m * p**2) / (2 + m), "all of both are gone"),
    ("shearing.1", lambda p, m: 2 * p * (1 + m) / (2 + m), "counts those weights twice"),
    ("shearing.1", lambda p, m: (2 * (1 - p) + m * (1 - p) ** 2) / (2 + m), "that stays"),
    ("shearing.1", lambda p, m: (p + m * (2 - p) * p) / (1 + m), "two ends"),
    ("shearing.1", lambda p, m: 2 * p + m * (2 - p) * p, "counted in matrices"),
    ("shearing.2", lambda n, f, m: n - f * n, "no multiple"),
    ("shearing.2", lambda n, f, m: math.ceil(n - f * n), "not a multiple"),
    ("shearing.2", lambda n, f, m: int((n - f * n) // m) * m, "rounded down"),
    ("shearing.2", lambda n, f, m: round((n - f * n) / m) * m, "nearest multiple"),
    ("shearing.2", lambda n, f, m: int((n - f * n) // m) * m + m, "you add a block"),
    ("shearing.2", lambda n, f, m: math.ceil(f * n / m) * m, "How many stay"),
    ("shearing.2", lambda n, f, m: math.ceil((n - f * n) / m), "counts blocks"),
    ("shearing.3", lambda a, k: k, "only a part"),
    ("shearing.3", lambda a, k: 1 + a * (k - 1), "averaged the speeds"),
    ("shearing.3", lambda a, k: 1 - a + a / k, "turn it over"),
    ("shearing.3", lambda a, k: 1 / (1 + a * (k - 1)), "divide its share"),
    ("shearing.3", lambda a, k: k / max(a, 1e-9) if a else 1, "is missing"),
    ("shearing.3", lambda a, k: k / (k - a) if k > a else 0, "no longer takes"),
    ("shearing.4", lambda p, n, s: p / (n - s), "children are whole"),
    ("shearing.4", lambda p, n, s: p // (n - s), "rounded down"),
    ("shearing.4", lambda p, n, s: round(p / (n - s)), "nearest child"),
    ("shearing.4", lambda p, n, s: p // (n - s) + 1, "fit exactly"),
    ("shearing.4", lambda p, n, s: math.ceil(p / n), "not free"),
    ("shearing.4", lambda p, n, s: math.ceil(p / s), "What does a child save"),
    ("shearing.4", lambda p, n, s: math.ceil((p + s) / (n - s)), "in the difference"),
    ("storage.1", lambda n, z, b: (1 - z) * n * b / 8, "left out the mask"),
    ("storage.1", lambda n, z, b: (n + z * n * b) / 8, "stored the zeros"),
    ("storage.1", lambda n, z, b: n + (1 - z) * n * b, "asks for bytes"),
    ("storage.1", lambda n, z, b: n + (1 - z) * n * b / 8, "a bit is enough"),
    ("storage.1", lambda n, z, b: (1 - z) * n * (1 + b) / 8, "every weight"),
    ("storage.2", lambda a, b, t: a / t, "only the bytes saved"),
    ("storage.2", lambda a, b, t: b / t, "what you save"),
    ("storage.2", lambda a, b, t: t / (a - b), "turn it over"),
    ("storage.2", lambda a, b, t: (a - b) * t, "you multiplied"),
    ("storage.2", lambda a, b, t: (a + b) / t, "take the difference"),
    ("storage.3", lambda n, s, e, p: s // e * n * 2e-9 * p, "weights alone"),
    ("storage.3", lambda n, s, e, p: s // e * n * 12e-9 * p, "left out two bytes"),
    ("storage.3", lambda n, s, e, p: s // e * n * 10e-9 * p, "keeps two"),
    ("storage.3", lambda n, s, e, p: n * 14e-9 * p, "one checkpoint"),
    ("storage.3", lambda n, s, e, p: s / e * n * 14e-9 * p, "whole or not at all"),
    ("storage.3", lambda n, s, e, p: s // e * n * 14 / 2**30 * p, "binary gigabytes"),
    ("trends.1", lambda f, t: t / f, "growth multiplies"),
    ("trends.1", lambda f, t: (t - 1) / (f - 1), "compounds"),
    ("trends.1", lambda f, t: math.log(t) * math.log(f), "do not multiply"),
    ("trends.1", lambda f, t: math.log(f) / math.log(t) if t != 1 else 0, "turn it over"),
    ("trends.1", lambda f, t: math.log2(t), "doubling every year"),
    ("trends.2", lambda p, f, n: 8760 * p * n, "does not stay"),
    ("trends.2", lambda p, f, n: 8760 * p * sum(f ** (i + 1) for i in range(n)), "today's price"),
    ("trends.2", lambda p, f, n: p * (1 - f**n) / (1 - f), "not a year"),
    ("trends.2", lambda p, f, n: 8760 * p * n * f ** (n - 1), "last year's price"),
    ("trends.2", lambda p, f, n: 8760 * p * f**n, "add up the years"),
    ("trends.3", lambda c, f, d, m: c * f ** math.log2(m / d), "dearer: divide"),
    ("trends.3", lambda c, f, d, m: c / f ** (m / d - 1), "count doublings, not devices"),
    ("trends.3", lambda c, f, d, m: c * m / d / f ** math.log2(m / d), "shorter time"),
    ("trends.3", lambda c, f, d, m: c / f ** math.log2(m), "not from one"),
    ("trends.3", lambda c, f, d, m: c, "a little slower"),
    ("your_model.1", lambda n, h, k: n / h, "twenty-four"),
    ("your_model.1", lambda n, h, k: 24 * n / h, "keeps a share"),
    ("your_model.1", lambda n, h, k: 24 * n * k / h, "turn the share over"),
    ("your_model.1", lambda n, h, k: n * h / 24 / k, "a longer log"),
    ("your_model.1", lambda n, h, k: n / k, "not a day"),
    ("your_model.2", lambda b, n, h: b / n, "share of all"),
    ("your_model.2", lambda b, n, h: n / h / b, "turn it over"),
    ("your_model.2", lambda b, n, h: 24 * b / n, "need not be a day"),
    ("your_model.2", lambda b, n, h: b - n / h, "not a difference"),
    ("your_model.3", lambda d, b: b * d, "longer tokens"),
    ("your_model.3", lambda d, b: d, "not one byte"),
    ("your_model.3", lambda d, b: d / b / 1e6, "for a million tokens"),
    ("your_model.3", lambda d, b: b / d if d else 0, "turn it over"),
    ("your_model.4", lambda n, t, b: n / t / b, "in nats"),
    ("your_model.4", lambda n, t, b: n / t / math.log(2), "for a token"),
    ("your_model.4", lambda n, t, b: n / t * b / math.log(2), "share their bits"),
    ("your_model.4", lambda n, t, b: n / t / b * math.log(2), "more bits than nats"),
    ("your_model.4", lambda n, t, b: n / math.log(2), "the whole text"),
    ("whole_bill.1", lambda p, b, a: (1 / b - 1 / a) * p, "round both numbers up"),
    ("whole_bill.1", lambda p, b, a: math.ceil(p * (a - b) / (a * b)), "the difference"),
    ("whole_bill.1", lambda p, b, a: p // b - p // a, "find no machine"),
    ("whole_bill.1", lambda p, b, a: math.ceil(p / a), "How many fewer"),
    ("whole_bill.1", lambda p, b, a: math.ceil(p / (a - b)), "not rates"),
    ("whole_bill.2", lambda f, e, n, k: k, "the fixed part stayed"),
    ("whole_bill.2", lambda f, e, n, k: k * (f + e) / (k * f + e), "a lone request"),
    ("whole_bill.2", lambda f, e, n, k: (k * f + n * e) / k / (f + n * e), "turn it over"),
    ("whole_bill.2", lambda f, e, n, k: k * (f + n * e) / (f + k * n * e), "the fixed part; it"),
    ("whole_bill.3", lambda t, m, f: t * f / m, "still paid"),
    ("whole_bill.3", lambda t, m, f: t / m, "not free afterwards"),
    ("whole_bill.3", lambda t, m, f: t / m / f, "not dearer"),
    ("whole_bill.3", lambda t, m, f: t / (m * f - m), "saves the rest"),
    ("whole_bill.3", lambda t, m, f: m * (1 - 1 / f) / t, "turn it over"),
]


def cut(parameters, ranks, stage, *parts):
    """Bytes, where stage s divides the first s parts by the ranks."""
    return parameters * (sum(parts[:stage]) / ranks + sum(parts[stage:]))


def sent(size, ranks, collectives):
    return size * (ranks - 1) / ranks * collectives


def soft_threshold(value, amount):
    return math.copysign(max(abs(value) - amount, 0), value)


def lengths(slopes, size):
    return [math.hypot(*slopes[i : i + size]) for i in range(0, len(slopes), size)]


def bell(share):
    """The value below which this share of a bell curve lies."""
    return NormalDist().inv_cdf(share)


def step(largest, bits):
    """The scale of exercise quantization.1."""
    return largest / (2 ** (bits - 1) - 0.5)


def on_grid(weight, scale, most):
    """The value on a symmetric grid with codes from -most to most - 1."""
    return max(-most, min(most - 1, round(weight / scale))) * scale


def soft(logits, temperature):
    """The first class's probability, by torch."""
    return torch.tensor(logits).double().div(temperature).softmax(0)[0].item()


def torch_takes(weights, amount):
    """How many of these weights torch prunes."""
    layer = torch.nn.Linear(weights, 1)
    prune.l1_unstructured(layer, "weight", amount=amount)
    return int((layer.weight == 0).sum())


def whole_bytes(number):
    """Bytes that hold a whole number."""
    return max(1, len(f"{number:x}") + 1 >> 1)


def way(first, rate, momentum, steps, *, left):
    """How far torch moves a weight after its first step, and how far in the last step."""
    weight = torch.zeros(1, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.SGD([weight], lr=rate, momentum=momentum)
    places = []
    for gradient in [first] + [left] * steps:
        weight.grad = torch.full_like(weight, gradient)
        optimizer.step()
        places.append(weight.item())
    return places[0] - places[-1], places[-2] - places[-1]


class Hostile:
    """Raises whatever is asked of it."""

    def __float__(self):
        raise RuntimeError("no")

    def __repr__(self):
        raise RuntimeError("no")

    __str__ = __repr__


class Mute(Exception):
    def __str__(self):
        raise RuntimeError("no")


def raises(error):
    def function(*arguments):
        raise error

    return function


@pytest.mark.parametrize("name", names())
def test_solution_is_accepted(name, capsys):
    assert check(name, load_solution(name).answer) is True
    assert capsys.readouterr().out.startswith(f"{name}: right. ")


def test_every_exercise_is_worked_by_hand():
    assert set(BY_HAND) == set(names())


@pytest.mark.parametrize("name", names())
def test_solution_against_hand_worked_numbers(name):
    for arguments, expected in BY_HAND[name]:
        assert load_solution(name).answer(*arguments) == pytest.approx(expected)


@pytest.mark.parametrize("name", names())
def test_three_typical_mistakes_or_more_are_known(name):
    assert sum(entry[0] == name for entry in WRONG) >= 3


@pytest.mark.parametrize(("name", "answer", "help"), WRONG)
def test_typical_wrong_answer_is_told_why(name, answer, help, capsys):
    assert check(name, answer) is False
    assert help in capsys.readouterr().out


def test_numbers_of_other_libraries_are_accepted():
    assert check("bill.1", lambda n: np.float64(2 * n))
    assert check("bill.1", lambda n: torch.tensor(2.0 * n, dtype=torch.float64))


@pytest.mark.parametrize("answer", [None, ..., lambda *a: ..., lambda *a: None])
def test_unanswered_is_said_kindly(answer, capsys):
    assert check("bill.2", answer) is False
    assert "not answered yet" in capsys.readouterr().out


@pytest.mark.parametrize("name", names())
@pytest.mark.parametrize(
    ("answer", "help"),
    [
        (13e6, "without calling it; got float"),
        ([1, 2], "got list"),
        (Hostile(), "got Hostile"),
        ("2 * parameters", "text is never run"),
        (lambda: 1, "TypeError"),
        (lambda *a: "14", "gives str; return one number"),
        (lambda *a: True, "gives bool"),
        (lambda *a: (1, 2), "gives tuple"),
        (lambda *a: 1j, "gives complex"),
        (lambda *a: Hostile(), "gives Hostile"),
        (lambda *a: float("nan"), "finite"),
        (lambda *a: 10**400, "return one number"),
        (lambda *a: 1 / 0, "ZeroDivisionError: division by zero"),
        (raises(KeyError("x")), "KeyError: 'x'"),
        (raises(SystemExit(3)), "SystemExit: 3"),
        (raises(Mute()), "Mute: (no message)"),
        (lambda *a: -1.0, "check the sign"),
        (lambda *a: 1e300, "times too large"),
    ],
)
def test_odd_answers_get_one_sentence(name, answer, help, capsys):
    assert check(name, answer) is False
    printed = capsys.readouterr().out
    assert help in printed
    assert printed.count("\n") == 1


def test_text_is_never_run(tmp_path):
    target = tmp_path / "touched"
    assert check("bill.1", f"open({str(target)!r}, 'w')") is False
    assert not target.exists()


def test_a_slip_on_an_edge_case_is_caught(capsys):
    assert check("bill.1", lambda n: 2 * n if n else 1) is False
    assert "flops_per_token(0)" in capsys.readouterr().out


def test_an_unknown_slip_says_how_far_off_it_is(capsys):
    assert check("bill.1", lambda n: 5 * n) is False
    assert "2.5 times too large" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["bil.1", "bill.9", "bill1", 3, None])
def test_unknown_names_offer_the_nearest(name):
    with pytest.raises(ValueError, match=r"name must be an exercise, got .*(bill|adapters)\.1"):
        check(name, None)
    with pytest.raises(ValueError, match="nearest"):
        hint(name)


@pytest.mark.parametrize("name", names())
def test_hints_come_in_steps(name, capsys):
    for step in (1, 2, 3):
        hint(name, step)
    printed = capsys.readouterr().out.splitlines()
    assert len(set(printed)) == 3
    assert printed[1].startswith(f"{name}, hint 2 of 3: ")
    hint(name, 99)
    assert "folded solution" in capsys.readouterr().out


@pytest.mark.parametrize("step", [0, -1, 1.5, "1", True])
def test_a_bad_step_is_named(step):
    with pytest.raises(ValueError, match="step must be a whole number"):
        hint("bill.1", step)


@pytest.mark.parametrize("name", names())
def test_folded_solution_shows_the_code_that_is_tested(name):
    text = solution_markdown(name)
    code = text.split("```python\n")[1].split("\n```")[0]
    scope: dict = {}
    exec(code, scope)
    function = scope[load_solution(name).answer.__name__]
    assert check(name, function) is True
    assert "answer =" not in text
    assert text.startswith("<details>\n<summary>Solution</summary>\n\n")
    assert text.endswith("\n\n</details>")
    assert "Why:" not in question(name)


DRAWN = ["clipping.1", "compute.1", "quantization.1", "regularization.1", "serving.3"]


@pytest.mark.parametrize("name", DRAWN)
def test_a_wrong_curve_is_drawn_beside_the_expected_one(name):
    exercise, solution = exercises._find(name), load_solution(name).answer
    axes = exercise.drawn(lambda *arguments: 2 * solution(*arguments), solution)
    expected, yours = (line.get_ydata() for line in axes.get_lines())
    assert len(set(expected)) > 3
    np.testing.assert_allclose(yours, 2 * np.asarray(expected))
    assert {text.get_text() for text in axes.texts} == {"expected", "yours"}
    assert axes.get_xlabel() == exercise.signature.partition("(")[2].split(",")[0]
    plt.close(axes.figure)


def test_nothing_is_drawn_of_what_is_no_curve_or_no_answer():
    exercise, solution = exercises._find("clipping.1"), load_solution("clipping.1").answer
    for answer in (None, "text", lambda t, d: ..., lambda t, d: 1 / 0, lambda t, d: float("nan")):
        assert exercise.drawn(answer, solution) is None
    assert exercises._find("bill.1").drawn(lambda n: n, load_solution("bill.1").answer) is None


def test_a_picture_is_shown_in_a_notebook_and_of_wrong_answers_alone(monkeypatch, capsys):
    shown = []
    monkeypatch.setattr(plt, "show", lambda: shown.append(plt.gcf()))
    wrong, right = (lambda t, d: 1.0), load_solution("clipping.1").answer
    assert check("clipping.1", wrong) is False
    assert not shown  # outside of a notebook
    monkeypatch.setattr(exercises, "_in_notebook", lambda: True)
    check("clipping.1", ...)
    check("clipping.1", right)
    assert not shown
    assert check("clipping.1", wrong) is False
    assert len(shown) == 1
    plt.close("all")
