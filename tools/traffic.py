"""Draw the seeded day of traffic that `costlab.workload.day()` reads, and write its file anew.

    .venv/bin/python tools/traffic.py

No real traffic is shipped: the day is drawn from a few distributions whose shapes follow
published traces of real services.

* **Hours of the day.** `HOURLY_PERCENT` is read off the plot of requests per minute of the
  "Coding" service in the analysis notebook of the Azure LLM inference trace 2024
  (github.com/Azure/AzurePublicDataset, `analysis/AzureLLMInferenceDataset2024.ipynb`; the trace
  of DynamoLLM, arXiv:2408.00741, HPCA 2025): the average of Monday 13 to Wednesday 15 May 2024,
  shifted from UTC to US Eastern time. The notebook does not say where the users are; we assume
  it from the shape. All our days are working days; Azure's weekends are much quieter.
* **Bursts.** BurstGPT (arXiv:2401.17644, 2024) models arrivals by gamma distributions, whose
  shape says how bursty they are, and so do we: gaps between requests have shape 1/2 (variance
  twice that of a Poisson process), and the rate of every five minutes is multiplied by a gamma
  level of shape 8 and mean 1. This lies between two published services: Azure's code trace of
  November 2023 (one hour, 8,819 requests, Splitwise, arXiv:2311.18677, ISCA 2024) has four
  times its mean in its busiest minute; the much larger service of 2024 is far smoother.
* **Lengths.** In the code trace of 2023 (counted in its published file) prompts have a median of
  1,469 tokens and 5 % of them sit at the longest length served (about 7,430); outputs have a
  median of 13 tokens, a p95 of 90 and a standard deviation of 0.85 in the logarithm; the two are
  uncorrelated. Our model reads bytes and holds 512, so **the shapes are kept and the scales
  shortened**. Prompts: lognormal with a median of 200 bytes, and a spread (0.5) at which again
  about 5 % reach the longest length, 448 bytes; Azure's spread (1.36) would not fit. Outputs:
  lognormal with a median of 32 bytes and the spread of 0.85, cut where the context is full. So a
  median prompt here is a few lines of code, not a few files, and 6 times as long as its output,
  where Azure's is about 110 times: a real code service spends more of its bill on reading.
* **Tenants** follow Zipf's law (exponent 1.1), as the popularity of many things does; published
  traces do not tell tenants apart, so this is an assumption.
* **Shared prefixes.** Each tenant has eight file headers (license, docstring, imports), used
  unequally (Zipf, exponent 1), of 128 bytes in the median. A prompt that is long enough begins
  with one. The sizes are chosen, not measured, so that a good third of all prompt tokens is
  shared; Mooncake (arXiv:2407.00079, 2024; README of its traces) reports a cache hit ratio of
  up to 50 % for chats.

Every number comes from uniform draws of one PCG64 stream by elementary functions, so that any
recent numpy generates the same day. The day with seed 0 is nevertheless shipped as `day.csv.gz`,
so that it is the same everywhere.
"""

import gzip
import io
import os
from pathlib import Path

import numpy as np

from costlab.workload.trace import (
    COLUMNS,
    CONTEXT_TOKENS,
    DAY_FILE,
    NO_PREFIX,
    SECONDS_PER_DAY,
    Trace,
    from_table,
)

ROWS = 10_000

HOURLY_PERCENT = (
    *(1.7, 1.3, 1.1, 1.0, 0.9, 0.9, 1.0, 1.6, 2.8, 5.0, 7.0, 7.5),
    *(7.1, 8.2, 9.2, 9.3, 8.7, 6.4, 4.6, 3.5, 3.1, 3.0, 2.8, 2.2),
)
LEVEL_MINUTES, LEVEL_SHAPE = 5, 8
PROMPT_MEDIAN, PROMPT_SPREAD, PROMPT_MIN, PROMPT_MAX = 200, 0.5, 16, 448
OUTPUT_MEDIAN, OUTPUT_SPREAD, OUTPUT_MIN = 32, 0.85, 4
TENANTS, TENANT_EXPONENT = 200, 1.1
HEADERS, HEADER_EXPONENT = 8, 1.0
HEADER_MEDIAN, HEADER_SPREAD, HEADER_MIN, HEADER_MAX = 128, 0.4, 32, 256
BODY_MIN = 16  # bytes that a prompt has beyond its header, at least


def generate(seed: int, rows: int = ROWS) -> Trace:
    """Draw a day of `rows` requests; the module says from which distributions.

    The trace's `sample_of` is the service's requests per day over `rows`. Raises `ValueError`
    unless `seed` is an integer of at least 0 and `rows` one of at least 1.
    """
    for name, value, least in (("seed", seed, 0), ("rows", rows, 1)):
        if isinstance(value, bool) or not isinstance(value, int | np.integer) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}; got {value!r}")
    random = np.random.default_rng(seed)
    arrival = _arrivals(random, rows)
    prompt = _lognormal(random, rows, PROMPT_MEDIAN, PROMPT_SPREAD, PROMPT_MIN, PROMPT_MAX)
    output = _lognormal(random, rows, OUTPUT_MEDIAN, OUTPUT_SPREAD, OUTPUT_MIN, CONTEXT_TOKENS)
    tenant = _zipf(random, rows, TENANTS, TENANT_EXPONENT)
    prefix_id, prefix = _prefixes(random, tenant, prompt)
    output = np.minimum(output, CONTEXT_TOKENS - prompt)
    return from_table(np.stack([arrival, prompt, output, prefix_id, prefix, tenant]))


def write(trace: Trace, path: str | os.PathLike) -> int:
    """Write a trace of a whole day as gzipped CSV, arrivals in milliseconds, whole or not at
    all; return the file's size in bytes."""
    table = np.stack([getattr(trace, name) for name in COLUMNS], axis=1)
    table[:, 0] = np.rint(table[:, 0] * 1000)
    text = io.StringIO()
    header = ",".join(("arrival_milliseconds", *COLUMNS[1:]))
    np.savetxt(text, table.astype(np.int64), fmt="%d", delimiter=",", header=header, comments="")
    # No time stamp inside: the same rows give the same file.
    data = gzip.compress(text.getvalue().encode("ascii"), compresslevel=9, mtime=0)
    half_written = Path(f"{path}.part")
    half_written.write_bytes(data)
    os.replace(half_written, path)
    return len(data)


def _arrivals(random: np.random.Generator, rows: int) -> np.ndarray:
    """Draw arrival times in milliseconds: gamma gaps on a clock that runs with the rate."""
    minutes = SECONDS_PER_DAY // 60
    hour = (np.arange(minutes) + 0.5) / 60
    rate = np.interp(hour, np.arange(24) + 0.5, HOURLY_PERCENT, period=24)
    # A gamma variable of whole shape k is a sum of k exponential ones.
    levels = -np.log1p(-random.random((minutes // LEVEL_MINUTES, LEVEL_SHAPE)))
    rate = rate * np.repeat(levels.cumsum(axis=1)[:, -1], LEVEL_MINUTES)
    expected = np.concatenate([[0.0], np.cumsum(rate)])
    # A gamma variable of shape 1/2 is the square of a normal one (up to scale).
    gaps = np.cumsum(_normal(random, rows + 1) ** 2)
    due = gaps[:-1] / gaps[-1] * expected[-1]
    milliseconds = np.interp(due, expected, np.arange(minutes + 1) * 60_000.0)
    return np.minimum(milliseconds.astype(np.int64), SECONDS_PER_DAY * 1000 - 1)


def _prefixes(random: np.random.Generator, tenant: np.ndarray, prompt: np.ndarray):
    """Give each request a header of its tenant, and the header's length in bytes."""
    sizes = _lognormal(
        random, TENANTS * HEADERS, HEADER_MEDIAN, HEADER_SPREAD, HEADER_MIN, HEADER_MAX
    )
    header = tenant * HEADERS + _zipf(random, len(tenant), HEADERS, HEADER_EXPONENT)
    fits = sizes[header] + BODY_MIN <= prompt
    return np.where(fits, header, NO_PREFIX), np.where(fits, sizes[header], 0)


def _normal(random: np.random.Generator, size: int) -> np.ndarray:
    """Draw standard normal numbers (Box and Muller, 1958)."""
    radius = np.sqrt(-2 * np.log1p(-random.random(size)))
    return radius * np.cos(2 * np.pi * random.random(size))


def _lognormal(random, size: int, median: int, spread: float, least: int, most: int) -> np.ndarray:
    """Draw whole lognormal numbers, clipped to [`least`, `most`]."""
    values = np.rint(median * np.exp(spread * _normal(random, size)))
    return np.clip(values, least, most).astype(np.int64)


def _zipf(random, size: int, kinds: int, exponent: float) -> np.ndarray:
    """Draw numbers below `kinds`; the one of rank r comes with probability ~ 1 / r**exponent."""
    cumulative = np.cumsum(np.arange(1, kinds + 1) ** -exponent)
    return np.searchsorted(cumulative, random.random(size) * cumulative[-1], side="right")


if __name__ == "__main__":
    drawn = generate(seed=0)
    print(f"wrote {DAY_FILE.name}: {len(drawn):,} rows, {write(drawn, DAY_FILE):,} bytes")
    print(drawn)
