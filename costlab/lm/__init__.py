"""The running example: corpus, model, trainer, weights."""
