"""Serving: generate text, and (in later chapters) replay a day of traffic."""

from costlab.serve.generation import generate

__all__ = ["generate"]
