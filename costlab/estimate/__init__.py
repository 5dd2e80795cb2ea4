"""What it would cost: size, time, memory, dollars and certainty, for any model on any machine.

The closed forms are physics with few fitted constants; `notebooks/23_validation` shows them beside
every published measurement. Nothing here imports torch.
"""

from costlab.estimate.cheapest import SearchResult, search
from costlab.estimate.devices import Accelerator, resolve_accelerator
from costlab.estimate.fleet import Fleet, fleet
from costlab.estimate.rounding import QuantizedEstimate, quantized
from costlab.estimate.serve_cost import serving
from costlab.estimate.serve_record import ServingEstimate
from costlab.estimate.shapes import Transformer, resolve_model
from costlab.estimate.storing import StorageEstimate, storage
from costlab.estimate.train_cost import training
from costlab.estimate.train_record import TrainingEstimate

__all__ = [
    "Accelerator",
    "Fleet",
    "QuantizedEstimate",
    "SearchResult",
    "ServingEstimate",
    "StorageEstimate",
    "TrainingEstimate",
    "Transformer",
    "fleet",
    "quantized",
    "resolve_accelerator",
    "resolve_model",
    "search",
    "serving",
    "storage",
    "training",
]
