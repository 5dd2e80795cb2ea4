"""What each way of rounding loses at two to eight bits, on the book's model.

Writes `costlab/results/quantization.json`. Run it alone on the machine: `make experiments`, or
`python experiments/quantization.py` (about five minutes; `--quick` tries one bit width).
"""

import argparse
import json
import time
from statistics import mean, stdev

import torch
from tqdm import tqdm

import costlab
from costlab.lm import corpus
from costlab.lm.model import LanguageModel
from costlab.lm.trainer import bits_per_byte

GROUPED = {"granularity": "group", "group_size": 32}
WAYS = {
    "nearest, one scale": {"granularity": "tensor"},
    "nearest, per row": {},
    "nearest, groups": GROUPED,
    "GPTQ, per row": {"method": "gptq"},
    "GPTQ, groups": {"method": "gptq"} | GROUPED,
}
BYTES, SEEDS = 32_768, 3  # of validation text; calibrations of GPTQ


def calibration(seed: int) -> list[torch.Tensor]:
    """Windows of the training text, other ones for each seed: (8, 256) int64 a batch."""
    text = corpus.as_tensor(corpus.training_text())
    drawn = corpus.batch(text, batch=64, context=256, seed=100 + seed, step=0)
    return list(drawn[:, :-1].split(8))


def lost(model: LanguageModel, batches: list, base: float, **options: object) -> float:
    """Bits per byte that quantizing with these options adds."""
    return bits_per_byte(costlab.quantize(model, **options), batches) - base


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--quick", action="store_true", help="one bit width, little text, no file")
    quick = options.parse_args().quick
    start = time.perf_counter()
    model, seen = costlab.load_model(), calibration(0)
    batches = corpus.validation_batches(limit=2_048 if quick else BYTES)
    base, found = bits_per_byte(model, batches), {name: {} for name in WAYS}
    every = [(name, bits) for bits in ((4,) if quick else range(8, 1, -1)) for name in WAYS]
    for name, bits in tqdm(every, unit="model"):
        made = lost(model, batches, base, bits=bits, calibration=seen, **WAYS[name])
        found[name][bits] = made
    spread = {}
    for bits in () if quick else (3, 4):
        losses = [
            lost(model, batches, base, bits=bits, method="gptq", calibration=calibration(seed))
            for seed in range(SEEDS)
        ]
        spread[bits] = {"mean": mean(losses), "standard deviation": stdev(losses)}
    values = {
        "validation_bytes": sum(b.numel() for b in batches),
        "bits_per_byte": base,
        "lost_bits_per_byte": {name: dict(sorted(by.items())) for name, by in found.items()},
        "gptq_over_calibrations": {"calibrations": SEEDS, "by_bits": spread},
        "asymmetric_per_row": {
            bits: lost(model, batches, base, bits=bits, symmetric=False)
            for bits in ((4,) if quick else (2, 3, 4))
        },
    }
    print(json.dumps(values, indent=1))
    if not quick:
        seconds = time.perf_counter() - start
        print(f"written to {costlab.results.record('quantization', values, seconds=seconds).name}")


if __name__ == "__main__":
    main()
