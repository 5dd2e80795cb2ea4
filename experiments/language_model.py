"""How good the book's model is, beside lzma and an n-gram, and what training it costs.

Writes `costlab/results/language_model.json`. Run it alone on the machine: `make experiments`, or
`python experiments/language_model.py` (about three minutes).
"""

import json
import time
from statistics import median

import torch
from safetensors import safe_open

import costlab
from costlab.bill.quality import PROMPT, WRITTEN, function_of, parses, prompts, share_that_parses
from costlab.lm import corpus
from costlab.lm.baselines import lzma_bits_per_byte, ngram_bits_per_byte
from costlab.lm.model import LanguageModel
from costlab.lm.pretrained import WEIGHTS
from costlab.lm.trainer import Recipe, bits_per_byte, loss_on, make_optimizer

ALL = 1000  # more prompts than there are functions in the validation text


def parses_of_the_original() -> float:
    """The share that parses when the real continuation is cut off in the same way: the ceiling."""
    text, judged = corpus.validation_text(), []
    for prompt in prompts(ALL).tolist():
        end = text.find(bytes(prompt)) + PROMPT
        judged.append(parses(function_of(bytes(prompt), text[end : end + WRITTEN])))
    return sum(judged) / len(judged)


def seconds_per_step(model: LanguageModel, recipe: Recipe, steps: int = 12) -> float:
    """Median time of a training step, after two that do not count."""
    text, optimizer, times = (
        corpus.as_tensor(corpus.training_text()),
        make_optimizer(model, recipe),
        [],
    )
    for step in range(steps):
        start = time.perf_counter()
        windows = corpus.batch(
            text, batch=recipe.batch_size, context=recipe.context, seed=1, step=step
        )
        loss_on(model, windows, recipe.precision).backward()
        optimizer.step()
        optimizer.zero_grad()
        times.append(time.perf_counter() - start)
    return median(times[2:])


def main() -> None:
    start = time.perf_counter()
    torch.manual_seed(0)
    model = costlab.load_model()
    with safe_open(WEIGHTS, "pt") as file:
        recipe = Recipe(**json.loads(file.metadata()["recipe"]))
    text, training = corpus.validation_text(), corpus.training_text()
    ngrams = {order: ngram_bits_per_byte(text, training, order=order) for order in (3, 4, 5, 6, 7)}
    found = {
        "parameters": sum(p.numel() for p in model.parameters()),
        "validation_bytes": len(text),
        "training_bytes": len(training),
        "bits_per_byte": {
            "the book's model": bits_per_byte(model, corpus.validation_batches()),
            "best n-gram": min(ngrams.values()),
            "lzma after the training text": lzma_bits_per_byte(text, primer=training),
            "lzma alone": lzma_bits_per_byte(text),
        },
        "ngram_bits_per_byte_by_order": ngrams,
        "parses": {
            "prompts": len(prompts(ALL)),
            "model": share_that_parses(model, limit=ALL),
            "original code": parses_of_the_original(),
            "model before training": share_that_parses(LanguageModel().eval(), limit=ALL),
        },
    }
    step = seconds_per_step(LanguageModel(), recipe)
    hours = step * recipe.steps / 3600
    found["training"] = {
        "steps": recipe.steps,
        "bytes_seen": recipe.steps * recipe.batch_size * recipe.context,
        "seconds_per_step": step,
        "hours": hours,
        "dollars": hours * costlab.bill.this_machine().price_per_hour,
    }
    path = costlab.results.record("language_model", found, seconds=time.perf_counter() - start)
    print(json.dumps(found, indent=1))
    print(f"written to {path.name}")


if __name__ == "__main__":
    main()
