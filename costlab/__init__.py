"""The Cost Lab: what every technique does to the bill of a large model offered as a service.

Names are loaded when they are first used, so that `import costlab` is instant and needs no torch.
"""

from __future__ import annotations

from importlib import import_module

__version__ = "0.1.0"

_HOME = {
    "load_model": "costlab.lm.pretrained",
    "save_model": "costlab.lm.pretrained",
    "measure": "costlab.bill.measure",
    "compare": "costlab.bill.measure",
    "Bill": "costlab.bill.records",
    "Ledger": "costlab.bill.records",
    "claim": "costlab.bill.claims",
    "source": "costlab.bill.claims",
    "generate": "costlab.serve.generation",
    "clip_weights": "costlab.compress.clipping",
    "quantize": "costlab.compress.quantization",
    "save": "costlab.compress.storage",
    "load": "costlab.compress.storage",
    "masks": "costlab.sparsity",
    "apply_masks_": "costlab.sparsity",
    "distillation_loss": "costlab.compress.distillation",
    "distill": "costlab.compress.distillation",
    "prune": "costlab.optimize.pruning",
    "l1_penalty": "costlab.optimize.regularization",
    "group_lasso_penalty": "costlab.optimize.regularization",
    "prox_l1_": "costlab.optimize.regularization",
    "prox_group_lasso_": "costlab.optimize.regularization",
    "shear": "costlab.optimize.shearing",
    "heal": "costlab.optimize.healing",
    "recommend": "costlab.advisor",
    "add_adapters": "costlab.optimize.adapters",
    "merge_adapters": "costlab.optimize.adapters",
    "write_report": "costlab.report",
}
_PACKAGES = (
    "advisor",
    "bill",
    "catalog",
    "compress",
    "estimate",
    "exercises",
    "figures",
    "lm",
    "notebook",
    "parallel",
    "results",
    "serve",
    "workload",
)

__all__ = [*_HOME, *_PACKAGES]


def __getattr__(name: str):
    """Import a public name on first use (PEP 562)."""
    if name in _HOME:
        value = getattr(import_module(_HOME[name]), name)
    elif name in _PACKAGES:
        value = import_module(f"costlab.{name}")
    else:
        raise AttributeError(f"module 'costlab' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(set(globals()) | set(__all__))
