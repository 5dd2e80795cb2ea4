"""Compression: clipping, quantization, distillation, storage. Taught in notebooks 03 to 06."""
