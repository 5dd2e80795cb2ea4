"""The bill: measure a model, compare several, and state claims that fail when they are false."""

from costlab.bill.claims import ClaimError, claim, source
from costlab.bill.machine import Machine, this_machine
from costlab.bill.measure import compare, measure
from costlab.bill.records import Bill, Ledger

__all__ = [
    "Bill", "ClaimError", "Ledger", "Machine",
    "claim", "compare", "measure", "source", "this_machine",
]  # fmt: skip
