"""Masks: where the zeros are, and that a training step does not bring them back."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune

from costlab import apply_masks_, clip_weights, masks


def mlp() -> nn.Sequential:
    return nn.Sequential(nn.Linear(8, 12), nn.ReLU(), nn.Linear(12, 3))


def test_a_mask_is_true_where_a_weight_is_kept(peers):
    model = clip_weights(mlp(), threshold=0.2)
    found = masks(model)
    assert list(found) == ["0", "2"]
    for name, mask in found.items():
        weight = model.get_submodule(name).weight
        assert mask.dtype == torch.bool
        assert torch.equal(mask, weight != 0)
        assert not mask.all()
    stored = masks(peers["gpt2"])["transformer.h.0.attn.c_attn"]  # Conv1D: (inputs, outputs)
    assert stored.shape == peers["gpt2"].transformer.h[0].attn.c_attn.weight.shape == (32, 96)
    assert "lm_head" not in masks(peers["llama"])
    assert "lm_head" in masks(peers["llama"], ignore=())


@given(st.integers(0, 50), st.floats(0, 0.5))
def test_masks_make_a_clipped_model_of_the_dense_one(seed, threshold):
    torch.manual_seed(seed)
    dense = mlp()
    clipped = clip_weights(dense, threshold=threshold)
    identities = [id(p) for p in dense.parameters()]
    apply_masks_(dense, masks(clipped))
    assert [id(p) for p in dense.parameters()] == identities  # the optimizer's are still these
    for one, other in zip(dense.parameters(), clipped.parameters(), strict=True):
        assert torch.equal(one, other)


def trained(*, put_back: bool) -> tuple[nn.Module, dict]:
    """A clipped model after steps with momentum and weight decay, and its masks from before."""
    torch.manual_seed(0)
    model = clip_weights(mlp(), threshold=0.15)
    kept = masks(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    for _ in range(5):
        optimizer.zero_grad()
        model(torch.randn(16, 8)).square().mean().backward()
        optimizer.step()
        if put_back:
            apply_masks_(model, kept)
    return model, kept


def test_zeros_stay_only_if_they_are_put_back():
    model, kept = trained(put_back=True)
    assert all(torch.equal(mask, kept[name]) for name, mask in masks(model).items())
    model, kept = trained(put_back=False)
    assert all(mask.sum() > kept[name].sum() for name, mask in masks(model).items())


def test_the_kept_weights_train_as_under_torch_prune():
    """torch.nn.utils.prune multiplies by a mask in each forward pass; plain SGD then agrees."""
    torch.manual_seed(0)
    ours = clip_weights(mlp(), threshold=0.15)
    theirs, kept = mlp(), masks(ours)
    theirs.load_state_dict(ours.state_dict())
    for name, mask in kept.items():
        prune.custom_from_mask(theirs.get_submodule(name), "weight", mask)
    pairs = [(m, torch.optim.SGD(m.parameters(), lr=0.1)) for m in (ours, theirs)]
    for _ in range(5):
        x = torch.randn(16, 8)
        for model, optimizer in pairs:
            optimizer.zero_grad()
            model(x).square().mean().backward()
            optimizer.step()
        apply_masks_(ours, kept)
    for name in kept:
        theirs_weight = theirs.get_submodule(name).weight_orig * kept[name]
        torch.testing.assert_close(ours.get_submodule(name).weight, theirs_weight)


TRUE = torch.ones(3, 12, dtype=torch.bool)
WRONG = [
    ([TRUE], TypeError, r"^masks must be a dict of layer: mask, got list$"),
    ({"9": TRUE}, ValueError, r"^masks must name layers of the model, got '9'$"),
    ({"1": TRUE}, ValueError, r"^masks must name layers of the model, got '1'$"),
    ({"2": TRUE.float()}, TypeError, r"^masks must be bool .*, got torch.float32 for '2'$"),
    ({"2": True}, TypeError, r"^masks must be bool tensors, got bool for '2'$"),
    ({"2": TRUE.t()}, ValueError, r"^masks must have .*, got \(12, 3\) for \(3, 12\) of '2'$"),
]


@pytest.mark.parametrize(("wrong", "error", "sentence"), WRONG)
def test_wrong_masks_change_nothing(wrong, error, sentence):
    model = mlp()
    before = [p.clone() for p in model.parameters()]
    good = {"0": torch.zeros(12, 8, dtype=torch.bool)}
    with pytest.raises(error, match=sentence):
        apply_masks_(model, good | wrong if isinstance(wrong, dict) else wrong)
    assert all(torch.equal(a, b) for a, b in zip(before, model.parameters(), strict=True))


def test_what_is_not_trained_and_what_is_nan():
    model = mlp().requires_grad_(False)
    apply_masks_(model, {"0": torch.zeros(12, 8, dtype=torch.bool)})
    assert not model[0].weight.any()
    model[2].weight[0, 0] = float("nan")
    with pytest.raises(ValueError, match=r"^model must hold finite weights"):
        masks(model)
    with pytest.raises(TypeError, match=r"^model must be a torch.nn.Module"):
        apply_masks_({}, {})
