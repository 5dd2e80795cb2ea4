"""Healing: plain training, written out here with torch alone, and zeros that stay."""

import copy

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from costlab import apply_masks_, clip_weights, heal, masks, shear
from costlab.lm.model import Config, LanguageModel

CONFIG = Config(width=16, layers=2, heads=2, kv_heads=1, head_dim=8, ffn=32, context=32)


@pytest.fixture
def model() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(CONFIG).eval()


def batches(count: int = 3) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(1)
    return [torch.randint(0, 256, (4, 17), generator=generator) for _ in range(count)]


def state(model: nn.Module) -> dict[str, torch.Tensor]:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return all(torch.equal(one[name], other[name]) for name in one)


def by_hand(model: nn.Module, data: list[torch.Tensor], lrs: list[float], keep: dict) -> nn.Module:
    """Training with masks in the plainest code."""
    new = copy.deepcopy(model)
    grouped = [[p for p in new.parameters() if (p.ndim > 1) == wide] for wide in (True, False)]
    optimizer = torch.optim.AdamW(
        [{"params": p, "weight_decay": d} for p, d in zip(grouped, (0.1, 0.0))], betas=(0.9, 0.95)
    )
    for step, lr in enumerate(lrs):
        windows = data[step % len(data)]
        logits = new(windows[:, :-1])
        F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()).backward()
        nn.utils.clip_grad_norm_(new.parameters(), 1.0)
        for group in optimizer.param_groups:
            group["lr"] = lr
        optimizer.step()
        optimizer.zero_grad()
        for name, mask in keep.items():
            new.get_submodule(name).weight.data *= mask
    return new


@pytest.mark.parametrize("masked", [True, False])
def test_is_plain_training_with_the_zeros_put_back(model, masked):
    model = clip_weights(model, threshold=0.01)
    keep = masks(model) if masked else {}
    new = heal(model, batches(), steps=4, lr=1e-2, masks=keep or None)
    lrs = [1e-2, 1e-2, 1e-2, 0.5e-2]  # falls over the last half: 2 steps are left of 2, then 1
    want = by_hand(model, batches(), lrs, keep)
    for name, tensor in new.state_dict().items():
        assert torch.allclose(tensor, want.state_dict()[name], atol=1e-5), name


def test_zeros_stay_zeros_after_every_step(model):
    model = clip_weights(model, threshold=0.01)
    keep, seen = masks(model), []
    last = "model.layers.1.mlp.down_proj"

    def look(layer: nn.Module, inputs: tuple) -> None:
        seen.append(int((layer.weight[~keep[last]] != 0).sum()))

    model.get_submodule(last).register_forward_pre_hook(look)
    healed = heal(model, batches(), steps=5, masks=keep)
    assert seen == [0] * 5
    assert all((masks(healed)[name] <= keep[name]).all() for name in keep)
    assert not same(state(model), state(healed))
    free = heal(model, batches(), steps=5)  # without masks they fill up
    assert any((masks(free)[name] > keep[name]).any() for name in keep)


def test_masks_hold_from_the_first_step_on(model):
    keep = masks(clip_weights(model, threshold=0.01))
    twin = copy.deepcopy(model)
    apply_masks_(twin, keep)
    new, want = (heal(m, batches(), steps=3, masks=keep) for m in (model, twin))
    assert same(state(new), state(want))


def test_the_input_stays_as_it_is(model):
    before = state(model)
    new = heal(model.train(), batches(1), steps=2)
    assert same(before, state(model))
    assert model.training
    assert not new.training


def loss_of(model: nn.Module, windows: torch.Tensor) -> float:
    with torch.no_grad():
        logits = model(windows[:, :-1])
    return float(F.cross_entropy(logits.flatten(0, 1), windows[:, 1:].flatten()))


def test_a_sheared_model_learns_again(model):
    data = batches(1)
    model = heal(model, data, steps=60, lr=1e-2)
    small = shear(model, fraction=0.5, calibration=data)
    healed = heal(small, data, steps=40, lr=1e-2)
    assert healed.config == small.config
    assert loss_of(healed, data[0]) < loss_of(small, data[0]) - 0.1


def test_the_books_text_is_drawn_by_seed(model):
    knobs = {"steps": 2, "batch_size": 2, "context": 16}
    one, again, other = (heal(model, seed=seed, **knobs) for seed in (0, 0, 1))
    assert same(state(one), state(again))
    assert not same(state(one), state(other))


def test_works_on_models_of_transformers_and_on_plain_ones(peers):
    tokens = torch.randint(0, 99, (2, 12))
    for peer in peers.values():
        keep = masks(clip_weights(peer, threshold=0.01))
        batch = {"input_ids": tokens, "attention_mask": torch.ones_like(tokens)}
        healed = heal(peer, batch, steps=2, masks=keep)
        assert all((masks(healed)[name] <= keep[name]).all() for name in keep)
    mlp = nn.Sequential(nn.Linear(4, 16), nn.ReLU(), nn.Linear(16, 3))
    x, labels = torch.randn(32, 4), torch.randint(0, 3, (32,))
    healed = heal(mlp, (x, labels), steps=50, lr=1e-2)
    assert F.cross_entropy(healed(x), labels) < F.cross_entropy(mlp(x), labels)


REFUSED = {
    "no bytes": (lambda: nn.Linear(4, 2), None, {}, "data is needed: the model does not read"),
    "no labels": (lambda: nn.Linear(4, 2), torch.ones(2, 4), {}, "data must hold labels"),
    "no steps": (lambda: LanguageModel(CONFIG), None, {"steps": 0}, "steps must be positive"),
    "a rate of nothing": (lambda: LanguageModel(CONFIG), None, {"lr": 0.0}, "lr must be positive"),
    "a mask too many": (
        lambda: LanguageModel(CONFIG), None, {"masks": {"here": torch.ones(2) > 0}},
        "masks must name layers",
    ),
    "a mask too small": (
        lambda: LanguageModel(CONFIG), None, {"masks": {"lm_head": torch.ones(2) > 0}},
        "masks must have the shapes",
    ),
    "frozen": (
        lambda: LanguageModel(CONFIG).requires_grad_(False), None, {}, "parameters that require",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_bad_input_gets_one_sentence(case):
    make, data, knobs, message = REFUSED[case]
    with pytest.raises(ValueError, match=message) as error:
        heal(make(), data, **({"steps": 1} | knobs))
    assert "\n" not in str(error.value)


def test_no_module_is_refused():
    with pytest.raises(TypeError, match=r"model must be a torch.nn.Module, got str"):
        heal("model", steps=1)
