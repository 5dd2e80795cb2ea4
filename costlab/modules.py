"""Find layers and put others in their place: what the techniques share. Taught in notebook 04."""

from __future__ import annotations

import copy

from torch import Tensor, nn
from torch.nn.modules.linear import NonDynamicallyQuantizableLinear

from costlab.bill.counting import matrices


def layers(model: nn.Module, *, ignore: tuple[str, ...] = ()) -> dict[str, nn.Module]:
    """Name -> layer with a float matrix (nn.Linear, GPT-2's Conv1D), in the order of the model.

    ignore: full names, or last parts of names, such as "lm_head".
    """
    if not isinstance(model, nn.Module):
        raise TypeError(f"model must be a torch.nn.Module, got {type(model).__name__}")
    if not isinstance(ignore, tuple | list | set) or not all(isinstance(n, str) for n in ignore):
        raise TypeError(f"ignore must be a tuple of names of layers, got {ignore!r}")
    found = {}
    for name, module, _, _ in matrices(model):
        left_out = any(name == given or name.endswith("." + given) for given in ignore)
        weight = getattr(module, "weight", None)
        if isinstance(module, NonDynamicallyQuantizableLinear):
            continue  # nn.MultiheadAttention reads the weight of its out_proj, and never calls it
        if not left_out and isinstance(weight, nn.Parameter) and weight.ndim == 2:
            found[name] = module
    return found


def require_layers(model: nn.Module, *, ignore: tuple[str, ...] = ()) -> dict[str, nn.Module]:
    """`layers`, which must be there and hold numbers only; raises ValueError."""
    found = layers(model, ignore=ignore)
    if not found:
        raise ValueError(
            f"model must have layers of nn.Linear or Conv1D with float weights, besides those in "
            f"ignore {tuple(ignore)}; {type(model).__name__} has none"
        )
    for name, layer in found.items():
        if layer.weight.is_meta or not layer.weight.numel():
            given = f"{tuple(layer.weight.shape)} on {layer.weight.device}"
            raise ValueError(f"model must hold weights with values, got {given} in {name!r}")
        if not layer.weight.isfinite().all():
            raise ValueError(f"model must hold finite weights, got NaN or infinity in {name!r}")
    return found


def is_transposed(layer: nn.Module) -> bool:
    """Whether the layer stores its matrix as (inputs, outputs), as GPT-2's Conv1D does."""
    return not isinstance(layer, nn.Linear)


def weight_of(layer: nn.Module) -> Tensor:
    """The matrix as (outputs, inputs), detached; it shares the layer's memory."""
    weight = layer.weight.detach()
    return weight.t() if is_transposed(layer) else weight


def with_weight(layer: nn.Module, weight: Tensor) -> nn.Module:
    """A copy of `layer` whose matrix (outputs, inputs) is `weight`; the bias is copied."""
    new = copy.deepcopy(layer, {id(layer.weight): None})
    stored = weight.t() if is_transposed(layer) else weight
    new.weight = nn.Parameter(
        stored.to(layer.weight.dtype).contiguous(), layer.weight.requires_grad
    )
    return new


def copy_sharing(model: nn.Module, shared: dict[str, nn.Module]) -> nn.Module:
    """A copy of `model` that still shares the matrices of the layers in `shared`.

    They are about to be replaced, so that copying them would only take memory. A matrix that
    another module uses too, as a tied embedding does, stays in the copy and is therefore copied.
    """
    replaced = set(shared.values())
    others = [module for module in model.modules() if module not in replaced]
    kept = {id(p) for module in others for p in module.parameters(recurse=False)}
    matrices = [layer.weight for layer in replaced if id(layer.weight) not in kept]
    return copy.deepcopy(model, {id(weight): weight for weight in matrices})


def replace_(model: nn.Module, new: dict[str, nn.Module]) -> nn.Module:
    """Put each module of `new` in the place of that name, and wherever else the old one stood."""
    call_layers_(model)
    by_old = {id(model.get_submodule(name)): module for name, module in new.items()}
    if id(model) in by_old:
        return by_old[id(model)]
    for parent in list(model.modules()):
        for name, child in list(parent._modules.items()):
            if id(child) in by_old:
                setattr(parent, name, by_old[id(child)])
    return model


def call_layers_(model: nn.Module) -> None:
    """Have torch's own encoders call their layers, so that others can stand there.

    Where nothing needs a gradient they would multiply with the weights themselves.
    """
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer):
            module.activation_relu_or_gelu = 0  # as for an activation that torch's kernel lacks
        elif isinstance(module, nn.TransformerEncoder):
            module.use_nested_tensor = False
