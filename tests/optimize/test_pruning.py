"""Pruning beside torch's own pruning, dense inverses, exhaustive search, and what it refuses."""

import copy
import itertools
import warnings

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn.utils import prune as peer

import costlab
from costlab.calibration import call
from costlab.compress.clipping import clip_weights
from costlab.modules import layers, weight_of
from costlab.optimize.pruning import (
    Rule,
    brain_surgeon,
    keep_largest,
    magnitude,
    prune,
    sparsegpt,
    sparsity_at,
    wanda,
)
from costlab.optimize.shearing import shear

IDS = torch.arange(36).view(3, 12) * 7 % 99
KINDS = ["book", "llama", "gpt2", "mlp", "linear"]
METHODS = ["magnitude", "wanda", "sparsegpt"]


def stack(*widths):
    parts = [part for a, b in itertools.pairwise(widths) for part in (nn.Linear(a, b), nn.GELU())]
    return nn.Sequential(*parts[:-1]).eval()


@pytest.fixture
def subject(request, tiny, peers):
    """A model of the kind asked for, and a batch for it."""
    return {
        "book": lambda: (tiny(), IDS),
        "llama": lambda: (peers["llama"], {"input_ids": IDS}),
        "gpt2": lambda: (peers["gpt2"], (IDS,)),
        "mlp": lambda: (stack(16, 48, 24, 8), torch.randn(40, 16)),
        "linear": lambda: (nn.Linear(16, 8), torch.randn(40, 16)),
    }[getattr(request, "param", "book")]()


every_kind = pytest.mark.parametrize("subject", KINDS, indirect=True)


def state(model):
    return {name: value.clone() for name, value in model.state_dict().items()}


def same(one, other):
    return one.keys() == other.keys() and all(torch.equal(one[n], other[n]) for n in one)


def pruned(model):
    return layers(model, ignore=("lm_head",))


def zeros(model):
    return {name: int((layer.weight == 0).sum()) for name, layer in pruned(model).items()}


def output(model, batch):
    with torch.no_grad():
        out = call(model, batch)
    return out if isinstance(out, torch.Tensor) else out.logits


def problem(rows=6, columns=40, seed=0, samples=300):
    """Weights and the Hessian of inputs that depend on each other, in float64."""
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(columns, columns, generator=generator) / columns**0.5
    x = torch.randn(samples, columns, generator=generator) @ (mix + 0.5 * torch.eye(columns))
    weight = torch.randn(rows, columns, generator=generator)
    return weight.double(), (x.t() @ x / samples).double()


def loss(weight, new, hessian):
    change = new - weight
    return float(((change @ hessian) * change).sum()) / 2


# Scores and the mask builder


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30), st.floats(0, 1))
def test_exact_counts_and_of_equal_scores_the_first_go(scores, share):
    drop = round(share * len(scores))
    order = sorted(range(len(scores)), key=lambda i: (scores[i], i))
    kept = Rule(sparsity=share).keep(torch.tensor(scores).float())
    assert (~kept).nonzero().flatten().tolist() == sorted(order[:drop])


@given(st.integers(1, 9), st.integers(1, 60), st.floats(0, 1))
def test_parts_lose_together_what_the_whole_would(rows, width, share):
    gone, rule = 0, Rule(sparsity=share)
    for first in range(0, width, 7):
        part = torch.rand(rows * min(7, width - first))
        gone += int((~rule.keep(part, before=first * rows)).sum())
    assert gone == round(share * rows * width)


def test_rows_are_ranked_one_by_one():
    scores = torch.tensor([[1.0, 2, 3, 4], [9, 8, 7, 6]])
    expected = torch.tensor([[False, False, True, True], [True, True, False, False]])
    assert torch.equal(keep_largest(scores, drop=2), expected)


def test_scores_read_the_hessian_as_identity_diagonal_or_whole():
    weight, hessian = problem(rows=1)
    eye, diagonal = torch.eye(40).double(), hessian.diagonal().diag()
    torch.testing.assert_close(wanda(weight, eye), magnitude(weight))
    for q in (0, 7, 39):  # w_q goes alone
        _, rise = brain_surgeon(weight[0], diagonal, q)
        torch.testing.assert_close(wanda(weight, diagonal)[0, q] ** 2 / 2, rise)
        assert brain_surgeon(weight[0], hessian, q)[1] < wanda(weight, hessian)[0, q] ** 2 / 2


# Beside torch.nn.utils.prune and torch.ao.pruning


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_magnitude_in_each_layer_is_torchs(sparsity):
    model = stack(16, 24, 8)
    new, reference = prune(model, sparsity=sparsity), copy.deepcopy(model)
    for layer in layers(reference).values():
        peer.l1_unstructured(layer, "weight", amount=sparsity)
        peer.remove(layer, "weight")
    assert same(state(new), state(reference))


@pytest.mark.parametrize("sparsity", [0.0, 0.1, 0.5, 0.77, 1.0])
def test_magnitude_over_all_layers_is_torchs(sparsity):
    model = stack(16, 24, 8)
    model[0].weight.data *= 2
    new, reference = prune(model, sparsity=sparsity, scope="global"), copy.deepcopy(model)
    held = [(layer, "weight") for layer in layers(reference).values()]
    peer.global_unstructured(held, pruning_method=peer.L1Unstructured, amount=sparsity)
    for layer, name in held:
        peer.remove(layer, name)
    assert same(state(new), state(reference))
    if sparsity == 0.5:
        assert zeros(new) != zeros(prune(model, sparsity=sparsity))


def peers_rows(weight, scores, sparsity):
    """Each row pruned by torch with scores of its own."""
    rows = []
    for row, score in zip(weight, scores):
        holder = nn.Module()
        holder.weight = nn.Parameter(row.clone())
        peer.l1_unstructured(holder, "weight", amount=sparsity, importance_scores=score)
        rows.append(holder.weight.detach())
    return torch.stack(rows)


@pytest.mark.parametrize("sparsity", [0.25, 0.5, 0.9])
def test_wanda_is_torchs_with_its_scores_row_by_row(sparsity):
    """|w| times the norm of its input, each layer fed by the pruned ones before it."""
    model, x = stack(16, 24, 8), torch.randn(50, 16) * torch.arange(1, 17)
    new = prune(model, sparsity=sparsity, method="wanda", calibration=x)
    first = peers_rows(model[0].weight, model[0].weight.abs() * x.norm(dim=0), sparsity)
    assert torch.equal(new[0].weight, first)
    hidden = torch.nn.functional.gelu(x @ first.t() + model[0].bias)
    scores = model[2].weight.abs() * hidden.norm(dim=0)
    assert torch.equal(new[2].weight, peers_rows(model[2].weight, scores, sparsity))
    assert zeros(new) == {"0": 24 * round(sparsity * 16), "2": 8 * round(sparsity * 24)}


def test_two_of_four_is_torchs():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from torch.ao.pruning import WeightNormSparsifier

        model = stack(16, 24, 8)
        reference = copy.deepcopy(model)
        peers_ = WeightNormSparsifier(
            sparsity_level=1.0, sparse_block_shape=(1, 4), zeros_per_block=2
        )
        peers_.prepare(reference, [{"tensor_fqn": f"{name}.weight"} for name in layers(model)])
        peers_.step()
        peers_.squash_mask()
    for options in ({}, {"sparsity": 0.5}, {"scope": "global"}):
        new = prune(model, pattern="2:4", **options)
        for name in layers(model):
            want = reference.get_submodule(name).weight
            assert torch.equal(new.get_submodule(name).weight, want + 0.0)


def test_a_threshold_clips():
    model = stack(16, 24, 8)
    for scope in ("layer", "global"):
        new = prune(model, threshold=0.1, scope=scope)
        assert same(state(new), state(clip_weights(model, threshold=0.1)))


# Neurons


@pytest.mark.parametrize("kind", ["book", "llama", "gpt2"])
def test_neurons_are_torchs_over_all_their_weights(kind, tiny, peers):
    model = tiny() if kind == "book" else peers[kind]
    new = prune(model, sparsity=0.3, pattern="neuron")
    stem = "transformer.h.1.mlp." if kind == "gpt2" else "model.layers.1.mlp."
    into = ["c_fc"] if kind == "gpt2" else ["gate_proj", "up_proj"]
    out = "c_proj" if kind == "gpt2" else "down_proj"

    def joined(model):
        parts = [weight_of(model.get_submodule(stem + name)) for name in into]
        return torch.cat([*parts, weight_of(model.get_submodule(stem + out)).t()], dim=1)

    reference = nn.Linear(*reversed(joined(model).shape))
    reference.weight = nn.Parameter(joined(model).clone())
    peer.ln_structured(reference, "weight", amount=0.3, n=2, dim=0)
    assert torch.equal(joined(new), reference.weight.detach() + 0.0)
    if kind == "gpt2":
        gone = (joined(new) == 0).all(1)
        assert not new.get_submodule(stem + "c_fc").bias[gone].any()
    untouched = [n for n in layers(model) if ".mlp." not in n]
    for name in untouched:
        assert torch.equal(new.get_submodule(name).weight, model.get_submodule(name).weight)


@pytest.mark.parametrize("subject", ["book", "llama", "gpt2", "mlp"], indirect=True)
def test_zeroed_neurons_are_those_that_shearing_removes(subject):
    model, batch = subject
    masked = prune(model, sparsity=0.5, pattern="neuron")
    cut = shear(model, fraction=0.5, score="weight", round_to=1)
    removed = shear(masked, threshold=0, score="weight", round_to=1)
    torch.testing.assert_close(output(masked, batch), output(cut, batch), rtol=0, atol=1e-4)
    assert {n: p.shape for n, p in removed.named_parameters()} == {
        n: p.shape for n, p in cut.named_parameters()
    }
    torch.testing.assert_close(output(masked, batch), output(removed, batch), rtol=0, atol=1e-4)
    assert not torch.allclose(output(masked, batch), output(model, batch), atol=1e-4)


def test_neurons_by_threshold_and_over_all_layers():
    model = stack(16, 48, 24, 8)
    model[0].weight.data *= 0.01
    model[0].weight.data[:5] *= 1e-4
    model[2].weight.data[:, :5] *= 1e-4
    new = prune(model, threshold=1e-3, pattern="neuron")
    gone = (new[0].weight == 0).all(1)
    assert gone.nonzero().flatten().tolist() == list(range(5))
    assert not new[0].bias[:5].any()
    assert new[0].bias[5:].all()
    everywhere = prune(model, sparsity=0.25, pattern="neuron", scope="global")
    dead = [int((everywhere[i].weight == 0).all(1).sum()) for i in (0, 2)]
    assert sum(dead) == round(0.25 * (48 + 24))
    assert dead != [12, 6]


# SparseGPT and the surgeon


def by_surgeon(weight, hessian, kept):
    """The rows with the masked columns removed from left to right, each by a dense inverse."""
    rows = weight.clone()
    for row, stays in zip(rows, kept):
        for j in (~stays).nonzero().flatten().tolist():
            row[j:] = brain_surgeon(row[j:], hessian[j:, j:], 0)[0]
    return rows


@pytest.mark.parametrize("columns", [40, 136], ids=["one block", "two blocks"])
@pytest.mark.parametrize("rule", [Rule(sparsity=0.3), Rule(pattern="2:4"), Rule(threshold=0.5)])
def test_the_factor_does_what_the_dense_inverse_does(rule, columns):
    weight, hessian = problem(rows=3, columns=columns)
    new = sparsegpt(weight, hessian, rule, damping=0)
    assert new.dtype == torch.float64
    assert (new == 0).any()
    torch.testing.assert_close(new, by_surgeon(weight, hessian, new != 0), rtol=0, atol=1e-9)


def test_the_surgeon_leaves_the_least_error():
    weight, hessian = problem(rows=1, columns=12)
    for q in (0, 5, 11):
        new, rise = brain_surgeon(weight[0], hessian, q)
        rest = [i for i in range(12) if i != q]
        best = torch.linalg.solve(hessian[rest][:, rest], hessian[rest] @ weight[0])
        assert new[q] == 0
        torch.testing.assert_close(new[rest], best, rtol=0, atol=1e-9)
        assert loss(weight, new[None], hessian) == pytest.approx(float(rise), abs=1e-9)


@pytest.mark.parametrize("rule", [Rule(sparsity=0.4), Rule(pattern="2:4")])
def test_inputs_that_do_not_depend_on_each_other_leave_wanda_and_magnitude(rule):
    weight, hessian = problem()
    diagonal = hessian.diagonal().diag()
    for h, scores in (
        (diagonal, wanda(weight, hessian)),
        (torch.eye(40).double(), magnitude(weight)),
    ):
        keep = rule.keep(scores.flatten()).view_as(weight)
        assert torch.equal(sparsegpt(weight, h, rule, damping=0), weight.where(keep, 0))


def test_tiny_rows_lie_between_the_best_mask_and_magnitude():
    totals = dict.fromkeys(("best", "sparsegpt", "magnitude"), 0.0)
    for seed in range(20):
        weight, hessian = problem(rows=1, columns=6, seed=seed)
        found = {
            "sparsegpt": sparsegpt(weight, hessian, Rule(sparsity=0.5), damping=0),
            "magnitude": weight.where(keep_largest(weight.abs(), drop=3), 0),
        }
        losses = {name: loss(weight, new, hessian) for name, new in found.items()}
        losses["best"] = float("inf")
        for stay in itertools.combinations(range(6), 3):
            new, stay = torch.zeros_like(weight), list(stay)
            new[0, stay] = torch.linalg.solve(hessian[stay][:, stay], hessian[stay] @ weight[0])
            losses["best"] = min(losses["best"], loss(weight, new, hessian))
        assert losses["best"] <= losses["sparsegpt"] + 1e-12
        totals = {name: totals[name] + losses[name] for name in totals}
    assert totals["best"] < totals["sparsegpt"] < 0.8 * totals["magnitude"]


@pytest.mark.parametrize("sparsity", [0, 0.123, 0.5, 1])
def test_blocks_together_lose_the_exact_count(sparsity):
    weight, hessian = problem(rows=3, columns=300, samples=20)
    new = sparsegpt(weight.float(), hessian.float(), Rule(sparsity=sparsity))
    assert int((new == 0).sum()) == round(sparsity * 900)
    assert new.isfinite().all()


def test_weights_of_inputs_that_never_come_go_first():
    weight, hessian = problem()
    dead = [3, 17, 18]
    hessian[dead], hessian[:, dead] = 0, 0
    for new in (
        sparsegpt(weight, hessian, Rule(sparsity=3 / 40)),
        weight.where(Rule(sparsity=3 / 40).keep(wanda(weight, hessian)), 0),
    ):
        assert torch.equal((new == 0).nonzero()[:, 1].unique(), torch.tensor(dead))


@pytest.mark.parametrize("options", [{"sparsity": 0.5}, {"pattern": "2:4"}], ids=str)
def test_making_up_for_what_goes_keeps_the_output_closer(options):
    layer = nn.Linear(64, 32).requires_grad_(False)
    x = torch.randn(400, 64) @ (torch.randn(64, 64) / 8 + 0.3 * torch.eye(64))
    made = {m: prune(layer, method=m, calibration=x, **options) for m in METHODS}
    made["zeroed alone"] = copy.deepcopy(layer)
    made["zeroed alone"].weight *= made["sparsegpt"].weight != 0
    error = {name: float((new(x) - layer(x)).norm()) for name, new in made.items()}
    assert error["sparsegpt"] < 0.9 * error["zeroed alone"]
    assert error["sparsegpt"] < min(error["wanda"], error["magnitude"])


# On models


@every_kind
@pytest.mark.parametrize("pattern", ["connection", "2:4"])
@pytest.mark.parametrize("method", METHODS)
def test_every_method_on_every_kind_of_model(subject, method, pattern):
    model, batch = subject
    before, hooks = state(model), [m._forward_pre_hooks for m in model.modules()]
    new = prune(model, sparsity=0.5, method=method, pattern=pattern, calibration=batch)
    assert same(state(model), before)
    assert not any(hooks)
    assert type(new) is type(model)
    assert state(new).keys() == before.keys()
    changed = {n for n, value in state(new).items() if not torch.equal(value, before[n])}
    names = {f"{name}.weight".lstrip(".") for name in pruned(model)}
    assert changed == names, "only the linear layers, and not the head"
    for name, layer in pruned(new).items():
        weight = weight_of(layer)
        assert int((weight == 0).sum()) == weight.numel() // 2
        assert layer.weight.is_contiguous()
        assert layer.weight.requires_grad
        assert layer.weight.dtype == torch.float32
        if pattern == "2:4":
            groups = weight.reshape(-1, 4) != 0
            assert (groups.sum(1) == 2).all(), name
    assert sum(int(m.sum()) for m in costlab.masks(new).values()) * 2 == sum(
        layer.weight.numel() for layer in pruned(model).values()
    )
    mine, theirs = ({p.data_ptr() for p in m.parameters()} for m in (new, model))
    assert not mine & theirs, "nothing is shared"
    assert not torch.equal(output(new, batch), output(model, batch))


@pytest.mark.parametrize("method", METHODS)
def test_nothing_and_everything(method):
    model, x = stack(16, 24, 8), torch.randn(30, 16)
    unchanged = prune(model, sparsity=0, method=method, calibration=x)
    assert same(state(unchanged), state(model))
    empty = prune(model, sparsity=1, method=method, calibration=x)
    assert not any(layer.weight.any() for layer in layers(empty).values())
    assert torch.equal(empty(x), empty[2].bias.expand(30, 8))


def test_no_neuron_and_every_neuron():
    model = stack(16, 24, 8)
    assert same(state(prune(model, sparsity=0, pattern="neuron")), state(model))
    x = torch.randn(30, 16)
    empty = prune(model, sparsity=1, pattern="neuron")
    assert torch.equal(empty(x), model[2].bias.expand(30, 8))


def test_pruning_further_keeps_the_zeros_of_before():
    model = stack(16, 24, 8)
    half = prune(model, sparsity=0.5)
    more = prune(half, sparsity=0.75)
    assert same(state(more), state(prune(model, sparsity=0.75)))


def test_what_is_ignored_stays(tiny):
    model = tiny()
    new = prune(model, sparsity=0.5, ignore=("down_proj", "lm_head"))
    down = [name for name in layers(model) if name.endswith("down_proj")]
    assert all(not (new.get_submodule(name).weight == 0).any() for name in down)
    with pytest.raises(ValueError, match=r"^ignore must leave a feed-forward part to prune"):
        prune(model, sparsity=0.5, pattern="neuron", ignore=("down_proj",))


def test_tied_weights():
    model = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8), nn.Linear(8, 8))
    model[1].weight = model[0].weight
    new = prune(model, sparsity=0.5, scope="global")
    assert new[0].weight is new[1].weight
    assert int((new[0].weight == 0).sum() + (new[2].weight == 0).sum()) == 64


def test_a_tied_head_that_is_asked_for_leaves_the_embedding(peers):
    model = peers["gpt2"]
    new = prune(model, sparsity=1, ignore=())
    assert not new.lm_head.weight.any()
    assert torch.equal(new.transformer.wte.weight, model.transformer.wte.weight)


@pytest.mark.parametrize("method", METHODS)
def test_half_precision_and_weights_that_are_not_contiguous(method):
    layer = nn.Linear(16, 8, bias=False, dtype=torch.bfloat16)
    layer.weight = nn.Parameter(torch.randn(16, 8, dtype=torch.bfloat16).t(), requires_grad=False)
    x = torch.randn(30, 16, dtype=torch.bfloat16)
    new = prune(layer, sparsity=0.5, method=method, calibration=x)
    assert new.weight.dtype == torch.bfloat16
    assert not new.weight.requires_grad
    assert int((new.weight == 0).sum()) == 64


def test_the_books_text_calibrates_the_books_model(tiny):
    model = tiny()
    new = prune(model, sparsity=0.5, method="sparsegpt")
    assert all(2 * n == pruned(model)[name].weight.numel() for name, n in zeros(new).items())


def test_progress_is_shown(capsys):
    model, x = stack(16, 24, 8), torch.randn(30, 16)
    for method, shown in (("magnitude", "pruning"), ("wanda", "wanda"), ("sparsegpt", "sparsegpt")):
        prune(model, sparsity=0.5, method=method, calibration=x)
        assert f"{shown}:" in capsys.readouterr().err


# The schedule

NAN = float("nan")


def test_the_schedule_goes_from_first_to_last_ever_more_slowly():
    found = [sparsity_at(s, steps=10, final=0.8, initial=0.2, start=5) for s in range(30)]
    assert found[:6] == [pytest.approx(0.2)] * 6
    assert found[15:] == [0.8] * 15
    steps = [b - a for a, b in itertools.pairwise(found[5:16])]
    assert all(a > b > 0 for a, b in itertools.pairwise(steps))
    assert sparsity_at(5, steps=10, final=0.8) == pytest.approx(0.8 * (1 - 0.5**3))


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"steps": 0, "final": 0.5}, "steps must be a whole number of at least 1, got 0"),
        ({"steps": 5, "final": 1.5}, "final must be a number from 0 to 1, got 1.5"),
        ({"steps": 5, "final": 1, "initial": -1}, "initial must be a number from 0 to 1, got -1"),
        ({"steps": 5, "final": 1, "step": "2"}, "step must be a finite number .*, got '2'"),
        ({"steps": 5, "final": 1, "start": NAN}, "start must be a finite number .*, got nan"),
    ],
)
def test_a_schedule_that_is_none(options, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}$"):
        sparsity_at(**({"step": 0} | options))


# What is refused


REFUSED = [
    ({}, "one of threshold and sparsity must be given, got threshold None and sparsity None"),
    ({"threshold": 0.1, "sparsity": 0.5}, "one of threshold and sparsity must be given, got thre"),
    ({"sparsity": 1.01}, "sparsity must be a number from 0 to 1, got 1.01"),
    ({"sparsity": -0.1}, "sparsity must be a number from 0 to 1, got -0.1"),
    ({"sparsity": NAN}, "sparsity must be a number from 0 to 1, got nan"),
    ({"sparsity": True}, "sparsity must be a number from 0 to 1, got True"),
    ({"sparsity": "0.5"}, "sparsity must be a number from 0 to 1, got '0.5'"),
    ({"threshold": -1}, "threshold must be a finite number of at least 0, got -1"),
    ({"threshold": NAN}, "threshold must be a finite number of at least 0, got nan"),
    ({"sparsity": 0.5, "method": "taylor"}, "method must be one of ('magnitude', 'wanda', 'spar"),
    ({"sparsity": 0.5, "method": None}, "method must be one of ('magnitude', 'wanda', 'sparsegpt"),
    ({"sparsity": 0.5, "pattern": "4:8"}, "pattern must be one of ('connection', 'neuron', '2:4'"),
    ({"sparsity": 0.5, "scope": "model"}, "scope must be one of ('layer', 'global'), got 'model'"),
    ({"sparsity": 0.6, "pattern": "2:4"}, "sparsity must be 0.5 or left out with pattern '2:4'"),
    ({"threshold": 0.1, "pattern": "2:4"}, "sparsity must be 0.5 or left out with pattern '2:4'"),
    (
        {"sparsity": 0.5, "pattern": "neuron", "method": "wanda"},
        "method must be 'magnitude' with pattern 'neuron', got 'wanda'",
    ),
    (
        {"sparsity": 0.5, "scope": "global", "method": "sparsegpt"},
        "method must be 'magnitude' with scope 'global', got 'sparsegpt'",
    ),
    ({"sparsity": 0.5, "method": "wanda"}, "calibration is needed: the model does not read bytes"),
    ({"sparsity": 0.5, "method": "sparsegpt"}, "calibration is needed: the model does not read by"),
    (
        {"sparsity": 0.5, "method": "wanda", "calibration": []},
        "calibration must hold at least one batch, got none",
    ),
    (
        {"sparsity": 0.5, "method": "wanda", "calibration": torch.full((4, 16), NAN)},
        "calibration must lead to finite activations, got NaN or infinity",
    ),
]


@pytest.mark.parametrize(("options", "sentence"), REFUSED, ids=str)
def test_what_cannot_be_done_is_said_in_one_sentence(options, sentence):
    model = stack(16, 24, 8)
    before = state(model)
    with pytest.raises(ValueError) as refused:
        prune(model, **options)
    assert str(refused.value).startswith(sentence)
    assert "\n" not in str(refused.value)
    assert same(state(model), before)


def test_models_that_cannot_be_pruned():
    with pytest.raises(ValueError, match=r"^pattern '2:4' needs layers .* 4, got 18 of '2'$"):
        prune(stack(16, 18, 8), pattern="2:4")
    with pytest.raises(ValueError, match=r"^model must have a feed-forward part or"):
        prune(nn.Linear(4, 4), sparsity=0.5, pattern="neuron")
    with pytest.raises(ValueError, match=r"^model must have layers of nn.Linear or Conv1D"):
        prune(nn.Conv2d(1, 1, 3), sparsity=0.5)
    with pytest.raises(TypeError, match=r"^model must be a torch.nn.Module, got dict"):
        prune({}, sparsity=0.5)
    model = stack(16, 24, 8)
    model[2].weight.data[0, 0] = NAN
    for options in ({"sparsity": 0.5}, {"sparsity": 0.5, "pattern": "neuron"}):
        with pytest.raises(ValueError, match=r"^model must hold finite weights, got NaN .* '2'$"):
            prune(model, **options)


def test_the_name_is_public():
    assert costlab.prune is prune
