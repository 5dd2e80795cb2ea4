"""Memory of one device in training: weights, gradients, optimizer, activations, logits, workspace.

Model states follow ZeRO (arXiv:1910.02054), activations Korthikanti et al. (arXiv:2205.05198) for
today's blocks: attention fused, no dropout. Large runs also split along the sequence what the
devices of a layer would each keep whole; a single node without stages rarely does. The expressions
are in `formulas.json` (`training_memory`): a logit takes 12 bytes (in 16 bits, in 32 for the loss,
and its gradient), a trained parameter 12 more than itself and its gradient (a copy in 32 bits and
two moments of Adam), and 0.6 GiB go to the runtime, to buffers and to what the allocator loses.
Taught in: notebooks/02_compute.ipynb.
"""

from costlab.estimate.devices import BITS
from costlab.estimate.formulas import formula
from costlab.estimate.layout import Layout
from costlab.estimate.train_time import layout_inputs, shape_inputs
from costlab.estimate.transformer import Transformer

GIB = 2**30
FROZEN = {8: 1.0, 4: 0.75}  # bytes of a frozen weight in 8 and 4 bits, scales and copies included
UNPACKING = 1.25  # activations over frozen 4-bit weights: their inputs are kept twice
PARTS = ("weights", "gradients", "optimizer", "activations", "logits", "workspace")


def memory_inputs(lay: Layout) -> dict[str, float]:
    """Bytes of a weight, and how activations grow, by precision and adapters."""
    bits = BITS[lay.precision]
    wide = 4 if bits == 32 else 2
    if lay.adapters is None:
        return {"wide": wide, "frozen_bytes": wide, "unpacking": 1.0}
    return {
        "wide": wide,
        "frozen_bytes": FROZEN.get(bits, wide),
        "unpacking": UNPACKING if bits == 4 else 1.0,
    }


def training_memory(model: Transformer, lay: Layout) -> dict[str, float]:
    """GiB on the fullest device, by what they hold.

    The first stage holds the most micro-batches, the last one the logits: the fuller one counts.

    Args:
        model, lay: resolved and checked.
    """
    held = formula("training_memory")(
        **shape_inputs(model), **layout_inputs(model, lay), **memory_inputs(lay)
    )
    return {name: held[name] / GIB for name in PARTS}
