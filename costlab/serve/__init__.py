"""Serving: generate text, alone or with a draft, and replay a day of traffic."""

from costlab.serve.generation import generate
from costlab.serve.speculation import NGram

__all__ = ["NGram", "generate"]
