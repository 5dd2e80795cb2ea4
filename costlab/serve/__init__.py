"""Serving: generate text, alone or with a draft, and replay a day of traffic.

Taught in notebook 17.
"""

from costlab.serve.engine import Policy
from costlab.serve.generation import generate
from costlab.serve.ledger import Replay, Served
from costlab.serve.pace import Pace, pace_of, paces_of
from costlab.serve.replay import at_rate, replay
from costlab.serve.speculation import NGram
from costlab.serve.split import Split, split

__all__ = [
    "NGram",
    "Pace",
    "Policy",
    "Replay",
    "Served",
    "Split",
    "at_rate",
    "generate",
    "pace_of",
    "paces_of",
    "replay",
    "split",
]
