"""Optimization: pruning, regularization, shearing, adapters. Taught in notebooks 10 to 13."""
