"""Facts with a source and a date: accelerators, machines, prices, published runs, model shapes.

The tables are the csv files of this folder. Nothing here imports torch.

    >>> from costlab import catalog
    >>> catalog.accelerator("h100-sxm").memory_gb
    80.0
    >>> catalog.price("h100-sxm").low > 0
    True
"""

from costlab.catalog.lookup import (
    PriceRange,
    accelerator,
    accelerators,
    as_rows,
    identify_machine,
    machine,
    machines,
    memory_peaks,
    model,
    models,
    price,
    prices,
    published_runs,
    quality_results,
    reference_price,
    serving_ledgers,
    serving_results,
    training_results,
    training_steps,
)
from costlab.catalog.records import (
    Accelerator,
    Machine,
    MemoryPeak,
    ModelShape,
    Price,
    PublishedRun,
    QualityResult,
    ServingLedger,
    ServingResult,
    TrainingResult,
    TrainingStep,
    age_days,
    aged,
)

__all__ = [
    "Accelerator",
    "Machine",
    "MemoryPeak",
    "ModelShape",
    "Price",
    "PriceRange",
    "PublishedRun",
    "QualityResult",
    "ServingLedger",
    "ServingResult",
    "TrainingResult",
    "TrainingStep",
    "accelerator",
    "accelerators",
    "age_days",
    "aged",
    "as_rows",
    "identify_machine",
    "machine",
    "machines",
    "memory_peaks",
    "model",
    "models",
    "price",
    "prices",
    "published_runs",
    "quality_results",
    "reference_price",
    "serving_ledgers",
    "serving_results",
    "training_results",
    "training_steps",
]
