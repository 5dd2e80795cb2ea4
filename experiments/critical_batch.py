"""How large a batch may be before it stops paying, on the book's model, untrained and trained.

Writes `costlab/results/critical_batch.json`. Run it alone on the machine: `make experiments`, or
`python experiments/critical_batch.py` (about two minutes; `--quick` takes a few windows).
"""

import argparse
import json
import time

import torch
from tqdm import tqdm

import costlab
from costlab.lm import corpus
from costlab.lm.model import LanguageModel
from costlab.parallel.lessons import gradient_sums, noise_scale

CONTEXT, WINDOWS, SEEDS = 256, 48, 3


def measured(model: LanguageModel, text: torch.Tensor, windows: int) -> dict[str, object]:
    """Noise scale in bytes: from all windows together, and from each seed's alone."""
    sums = []
    for seed in tqdm(range(SEEDS), unit="seed"):
        drawn = corpus.batch(text, batch=windows, context=CONTEXT, seed=200 + seed, step=0)
        sums.append(gradient_sums(model, drawn))
    total = sum(each for each, _ in sums)
    square = sum(each for _, each in sums) / SEEDS
    true, noise = noise_scale(total, square, SEEDS * windows)
    alone = [noise_scale(*each, windows) for each in sums]
    return {
        "critical_batch_bytes": CONTEXT * noise / true,
        "by_seed": [CONTEXT * n / t for t, n in alone],
        "true_share_of_a_window": true / (true + noise),
    }


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("--quick", action="store_true", help="a few windows, no file")
    quick = options.parse_args().quick
    start = time.perf_counter()
    text = corpus.as_tensor(corpus.training_text())
    torch.manual_seed(0)
    models = {"untrained": LanguageModel(), "trained": costlab.load_model()}
    windows = 8 if quick else WINDOWS
    values = {"context": CONTEXT, "windows": SEEDS * windows}
    values |= {name: measured(model, text, windows) for name, model in models.items()}
    print(json.dumps(values, indent=1))
    if not quick:
        seconds = time.perf_counter() - start
        path = costlab.results.record("critical_batch", values, seconds=seconds)
        print(f"written to {path.name}")


if __name__ == "__main__":
    main()
