"""Compression: clipping, quantization, distillation, storage. Taught in notebooks 03 to 06."""

from costlab.compress import storage  # noqa: F401  bills can then tell the memory of these models
