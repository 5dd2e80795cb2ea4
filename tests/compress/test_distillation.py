"""Distillation: the loss against torch's own, and training against a loop written by hand."""

import copy
import json
import runpy
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import costlab
from costlab import distill, distillation_loss
from costlab.compress.distillation import (
    distillation_flops,
    feature_loss,
    hidden_states,
)
from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.trainer import Recipe, train

TEXT = b"def add(a, b):\n    return a + b\n\n\ndef twice(x):\n    return add(x, x)\n\n\n" * 40
SHORT = {"batch_size": 2, "context": 32}


def tiny(seed: int = 0, **changes) -> LanguageModel:
    torch.manual_seed(seed)
    shape = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
    return LanguageModel(Config(**shape | {"context": 64} | changes)).eval()


def classifier(seed: int, width: int, classes: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, classes)).eval()


class Unwilling(LanguageModel):
    """A teacher that must not be asked."""

    def forward(self, *batch, **named):
        raise AssertionError("the teacher was called")


@pytest.fixture(autouse=True)
def text(monkeypatch):
    """A short text in place of the corpus."""
    monkeypatch.setattr(corpus, "training_text", lambda root=None: TEXT)


def same(a: nn.Module, b: nn.Module) -> bool:
    first, second = a.state_dict(), b.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[n], second[n]) for n in first)


def oracle(student, teacher, temperature):
    """The soft term as torch computes it."""
    q, p = (x.flatten(0, -2) / temperature for x in (student, teacher))
    soft = F.kl_div(q.log_softmax(-1), p.softmax(-1), reduction="batchmean")
    return soft * temperature**2


def logits(*shape, seed=0, scale=3.0, dtype=torch.float32):
    generator = torch.Generator().manual_seed(seed)
    return (scale * torch.randn(shape, generator=generator)).to(dtype)


@given(
    shape=st.lists(st.integers(1, 4), min_size=1, max_size=3),
    classes=st.integers(1, 9),
    temperature=st.floats(0.3, 20),
    alpha=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_loss_is_torchs(shape, classes, temperature, alpha, seed):
    student, teacher = (logits(*shape, classes, seed=seed + i, dtype=torch.float64) for i in (0, 1))
    labels = torch.randint(classes, shape, generator=torch.Generator().manual_seed(seed))
    knobs = {"temperature": temperature, "alpha": alpha}
    soft = oracle(student, teacher, temperature)
    hard = F.cross_entropy(student.flatten(0, -2), labels.flatten())
    close = {"rtol": 1e-9, "atol": 1e-12}
    torch.testing.assert_close(distillation_loss(student, teacher, **knobs), soft, **close)
    torch.testing.assert_close(
        distillation_loss(student, teacher, labels, **knobs),
        alpha * soft + (1 - alpha) * hard,
        **close,
    )


def test_batchmean_without_flattening_is_too_large_by_the_positions():
    student, teacher = logits(2, 7, 11, seed=0), logits(2, 7, 11, seed=1)
    wrong = 4 * F.kl_div(
        (student / 2).log_softmax(-1), (teacher / 2).softmax(-1), reduction="batchmean"
    )
    ours = distillation_loss(student, teacher)
    torch.testing.assert_close(wrong, 7 * ours)
    torch.testing.assert_close(ours, oracle(student, teacher, 2.0))


def test_in_the_limit_of_large_temperatures_the_gradient_is_the_difference_of_logits():
    teacher = logits(1, 6, seed=1, dtype=torch.float64)
    errors = []
    for temperature in (1, 10, 100, 1000):
        student = logits(1, 6, seed=0, dtype=torch.float64).requires_grad_()
        distillation_loss(student, teacher, temperature=temperature).backward()
        centred = (student - student.mean()) - (teacher - teacher.mean())
        errors.append(((student.grad - centred / 6).norm() / (centred / 6).norm()).item())
    assert errors[0] > 0.2
    falls = [errors[2] / errors[1], errors[3] / errors[2]]
    assert falls == pytest.approx([0.1, 0.1], rel=0.15)  # as 1 / T
    assert errors[3] < 2e-2


def test_without_t_squared_the_gradient_fades():
    """Why the factor is there: the size of the gradient hardly changes with T."""

    def size(temperature):
        student = logits(4, 6).requires_grad_()
        distillation_loss(student, logits(4, 6, seed=1), temperature=temperature).backward()
        return student.grad.norm().item()

    assert 0.5 < size(100.0) / size(10.0) < 2
    assert size(100.0) / 100**2 < 0.05 * size(10.0) / 10**2


@pytest.mark.parametrize("far", [60.0, float("inf")])
def test_a_one_hot_teacher_at_temperature_one_is_cross_entropy(far):
    student, labels = logits(3, 4, 6), torch.arange(12).reshape(3, 4) % 6
    teacher = torch.full((3, 4, 6), -far).scatter(-1, labels[..., None], 0.0)
    student.requires_grad_()
    ours = distillation_loss(student, teacher, temperature=1.0)
    torch.testing.assert_close(ours, F.cross_entropy(student.flatten(0, 1), labels.flatten()))
    ours.backward()
    assert student.grad.isfinite().all()


@given(temperature=st.floats(0.1, 50), shift=st.floats(-20, 20))
def test_an_equal_teacher_teaches_nothing(temperature, shift):
    student = logits(2, 3, 7, dtype=torch.float64).requires_grad_()
    loss = distillation_loss(student, student.detach() + shift, temperature=temperature)
    loss.backward()
    assert abs(loss.item()) < 1e-10
    assert student.grad.abs().max() < 1e-12
    other = distillation_loss(student, logits(2, 3, 7, seed=5).double(), temperature=temperature)
    assert other > 1e-3  # and another one does


def test_gradients_reach_the_student_only():
    student, teacher = logits(2, 5).requires_grad_(), logits(2, 5, seed=1).requires_grad_()
    distillation_loss(student, teacher, torch.tensor([1, 2])).backward()
    assert teacher.grad is None
    assert student.grad.abs().sum() > 0
    double = logits(2, 3, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda x: distillation_loss(x, logits(2, 3, seed=1).double(), torch.tensor([1, 0])), double
    )


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_float32(dtype):
    student, teacher = (logits(4, 9, seed=i, dtype=dtype) for i in (0, 1))
    labels = torch.arange(4)
    half = distillation_loss(student, teacher, labels)
    assert half.dtype == torch.float32
    assert torch.equal(half, distillation_loss(student.float(), teacher.float(), labels))
    assert half.item() != oracle(student, teacher, 2.0).item()


def test_ignored_labels_are_left_out_of_the_cross_entropy():
    student, teacher = logits(4, 5), logits(4, 5, seed=1)
    labels = torch.tensor([1, -100, 3, -100])
    expected = 0.5 * oracle(student, teacher, 2.0) + 0.5 * F.cross_entropy(
        student[::2], labels[::2]
    )
    torch.testing.assert_close(distillation_loss(student, teacher, labels), expected)


GOOD = logits(2, 3)


@pytest.mark.parametrize(
    ("args", "knobs", "sentence"),
    [
        ((GOOD, logits(2, 4)), {}, r"one shape \(..., classes\).*got \(2, 3\) and \(2, 4\)"),
        ((GOOD, logits(3, 3)), {}, r"got \(2, 3\) and \(3, 3\)"),
        ((logits(0, 3), logits(0, 3)), {}, r"not empty, got \(0, 3\)"),
        ((GOOD, "teacher"), {}, "must be tensors.*str"),
        ((GOOD, GOOD), {"temperature": 0}, "temperature must be a positive.*got 0"),
        ((GOOD, GOOD), {"temperature": -1.0}, "temperature must be .*got -1.0"),
        ((GOOD, GOOD), {"temperature": float("nan")}, "temperature must be .*got nan"),
        ((GOOD, GOOD), {"temperature": "2"}, "temperature must be .*got '2'"),
        ((GOOD, GOOD), {"alpha": 1.5}, "alpha must be a number from 0 to 1, got 1.5"),
        ((GOOD, GOOD), {"alpha": float("nan")}, "alpha must be .*got nan"),
        ((GOOD, GOOD, torch.zeros(3).long()), {}, r"labels must be int64 \(2,\), got .*\(3,\)"),
        ((GOOD, GOOD, torch.zeros(2)), {}, r"labels must be int64 \(2,\), got torch.float32"),
        ((GOOD, GOOD, [0, 1]), {}, r"labels must be int64 \(2,\), got list"),
        ((GOOD, GOOD, torch.tensor([0, 3])), {}, "labels must be from 0 to 2 or -100, got 3"),
    ],
)
def test_bad_input_to_the_loss(args, knobs, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        distillation_loss(*args, **knobs)
    assert "\n" not in str(caught.value)


def test_feature_loss_is_mean_squared_error_after_the_projection():
    student, teacher = logits(2, 3, 4).requires_grad_(), logits(2, 3, 6, seed=1).requires_grad_()
    projection = nn.Linear(4, 6, bias=False)
    ours = feature_loss(student, teacher, projection)
    torch.testing.assert_close(ours, (student @ projection.weight.t() - teacher).square().mean())
    ours.backward()
    assert [x.grad is None for x in (student, projection.weight, teacher)] == [False, False, True]
    assert feature_loss(student, student) == 0
    with pytest.raises(ValueError, match="features must have one shape"):
        feature_loss(student, teacher)


def test_hidden_states_are_what_the_modules_gave(peers):
    model, tokens = peers["gpt2"], torch.arange(12).reshape(2, 6)
    with hidden_states(model, ["transformer.h.0", "transformer.ln_f"]) as found:
        out = model(tokens, output_hidden_states=True)
    assert torch.equal(found["transformer.h.0"], out.hidden_states[1])
    assert torch.equal(found["transformer.ln_f"], out.hidden_states[-1])
    before = dict(found)
    model(tokens + 1)  # the hooks are gone
    assert all(found[name] is before[name] for name in before)


def test_operations_are_those_that_torch_counts():
    """Matrices alone: attention's are the difference, and it is left out."""
    teacher, student = classifier(0, 32), classifier(1, 4)
    x = logits(10, 8).requires_grad_()
    with FlopCounterMode(display=False) as counter:
        student(x).sum().backward()
        with torch.no_grad():
            teacher(x)
    assert distillation_flops(teacher, student, 10) == counter.get_total_flops()
    alone = distillation_flops(None, student, 10)
    assert alone == 3 * 2 * 10 * (8 * 4 + 4 * 5)
    with pytest.raises(ValueError, match="must have layers"):
        distillation_flops(nn.ReLU(), student, 10)


def by_hand(teacher, student, batches, *, alpha, steps, temperature=2.0, lr=2e-3):
    """Plain training with torch's pieces; batches of tokens."""
    student = copy.deepcopy(student).train()
    groups = [
        {"params": [p for p in student.parameters() if p.ndim >= 2], "weight_decay": 0.1},
        {"params": [p for p in student.parameters() if p.ndim < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=lr, betas=(0.9, 0.95), fused=True)
    for step in range(steps):
        tokens = batches[step % len(batches)]
        out = student(tokens[:, :-1]).flatten(0, 1)
        loss = F.cross_entropy(out, tokens[:, 1:].flatten())
        if alpha:
            with torch.no_grad():
                target = teacher(tokens[:, :-1]).flatten(0, 1)
            loss = alpha * oracle(out, target, temperature) + (1 - alpha) * loss
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(student.parameters(), 1.0)
        warm, left = (step + 1) / max(1, steps // 10), (steps - step) / max(1, steps // 2)
        for group in optimizer.param_groups:
            group["lr"] = lr * min(1.0, warm, left)
        optimizer.step()
    return student


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_alpha_zero_is_the_trainer_and_never_asks_the_teacher(precision):
    plan = Recipe(**SHORT, steps=12, decay=6, warmup=1, precision=precision, seed=3)
    plain = train(tiny(), plan)
    student = tiny()
    ours = distill(Unwilling(), student, **SHORT, alpha=0, steps=12, seed=3, precision=precision)
    assert same(ours, plain)
    assert not same(ours, student)
    with pytest.raises(AssertionError, match="the teacher was called"):
        distill(Unwilling(), student, **SHORT, alpha=0.1, steps=1)


def test_alpha_zero_is_a_loop_written_by_hand():
    batches = [torch.arange(16).reshape(2, 8), torch.arange(16, 32).reshape(2, 8)]
    ours = distill(Unwilling(), tiny(), iter(batches), alpha=0, steps=10)
    assert same(ours, by_hand(None, tiny(), batches, alpha=0, steps=10))
    assert not same(ours, by_hand(None, tiny(), batches[::-1], alpha=0, steps=10))


def test_with_a_teacher_it_is_a_loop_written_by_hand():
    teacher, student = tiny(1, width=48), tiny()
    batches = [torch.arange(16).reshape(2, 8)]
    ours = distill(teacher, student, batches[0], alpha=0.7, temperature=3.0, steps=6)
    hand = by_hand(teacher, student, batches, alpha=0.7, temperature=3.0, steps=6)
    plain = by_hand(teacher, student, batches, alpha=0, steps=6)
    worst = [
        max((a - b).abs().max().item() for a, b in zip(ours.parameters(), other.parameters()))
        for other in (hand, plain)
    ]
    assert worst[0] < 2e-4 < 5e-3 < worst[1]


def test_inputs_stay_as_they_were():
    teacher, student = tiny(1).train(), tiny()
    teacher.model.norm.eval()
    student.train()
    twins = copy.deepcopy(teacher), copy.deepcopy(student)
    new = distill(teacher, student, **SHORT, steps=3, features={"model.norm": "model.norm"})
    assert same(teacher, twins[0])
    assert same(student, twins[1])
    modes = teacher.training, teacher.model.norm.training, student.training, new.training
    assert modes == (True, False, True, False)
    assert all(p.grad is None for m in (teacher, student) for p in m.parameters())
    assert new.state_dict().keys() == student.state_dict().keys()
    assert not any(m._forward_hooks for model in (teacher, new) for m in model.modules())


def test_the_seed_and_nothing_else_chooses_the_windows():
    runs = []
    for seed in (0, 0, 1):
        torch.manual_seed(len(runs))
        start = tiny()
        torch.manual_seed(len(runs))
        runs.append(distill(tiny(1), start, **SHORT, steps=2, seed=seed))
    assert same(runs[0], runs[1])
    assert not same(runs[0], runs[2])


def divergence(teacher, student, tokens):
    with torch.no_grad():
        return distillation_loss(logits_of(student, tokens), logits_of(teacher, tokens)).item()


def logits_of(model, tokens):
    out = model(tokens)
    return getattr(out, "logits", out)


@pytest.mark.parametrize("name", ["llama", "gpt2"])
def test_transformers_learn_from_each_other(peers, name):
    student = peers[name]
    teacher = copy.deepcopy(peers["llama"])
    with torch.no_grad():
        teacher.lm_head.weight.mul_(20)  # a teacher that is sure of itself
    tokens = torch.randint(99, (4, 16))
    new = distill(teacher, student, tokens, alpha=1.0, steps=30, lr=5e-3)
    assert type(new) is type(student)
    assert divergence(teacher, new, tokens) < 0.7 * divergence(teacher, student, tokens)


def test_padding_counts_nowhere(peers):
    """A padded batch teaches exactly what the unpadded one does."""
    teacher, student = copy.deepcopy(peers["llama"]), peers["llama"]
    with torch.no_grad():
        teacher.lm_head.weight.mul_(20)
    tokens = torch.randint(99, (2, 12))
    padded = F.pad(tokens, (0, 4), value=7)
    mask = (torch.arange(16) < 12).long().expand(2, -1)
    plain = distill(teacher, student, tokens, steps=3)
    batch = {"input_ids": padded, "attention_mask": mask}
    ours = distill(teacher, student, batch, steps=3)
    labels = padded.masked_fill(mask == 0, -100)
    labelled = distill(teacher, student, {"input_ids": padded, "labels": labels}, steps=3)
    unmasked = distill(teacher, student, padded, steps=3)
    for new, close in ((ours, True), (labelled, True), (unmasked, False)):
        gap = (new.lm_head.weight - plain.lm_head.weight).abs().max().item()
        assert (gap < 1e-4) == close


def test_a_classifier_learns_from_a_teacher_without_labels():
    teacher, student, x = classifier(0, 64), classifier(1, 16), logits(64, 8, scale=1.0)
    start = distillation_loss(student(x), teacher(x)).item()
    for data in (x, (x,), {"input": x}):
        new = distill(teacher, student, data, steps=60, lr=1e-2)
        assert distillation_loss(new(x), teacher(x)).item() < 0.3 * start


def test_labels_of_a_classifier_come_last_or_by_name():
    teacher, student, x = classifier(0, 64), classifier(1, 16), logits(64, 8, scale=1.0)
    labels = torch.randint(5, (64,))
    by_place, by_name = (
        distill(teacher, student, data, steps=5)
        for data in ((x, labels), {"input": x, "labels": labels})
    )
    assert same(by_place, by_name)
    assert not same(by_place, distill(teacher, student, x, steps=5))
    hard = distill(nn.Identity(), student, (x, labels), alpha=0, steps=60, lr=1e-2)
    assert F.cross_entropy(hard(x), labels) < 0.9 * F.cross_entropy(student(x), labels)


def test_matching_features_brings_hidden_states_together():
    teacher, student = tiny(1), tiny(width=16)
    names = {"model.norm": "model.norm", "model.layers.0": "model.layers.1"}
    plain, matched = (
        distill(teacher, student, **SHORT, alpha=0, steps=40, lr=1e-2, features=features)
        for features in (None, names)
    )

    def misfit(model):
        """What the best linear map leaves of the teacher's last hidden state."""
        tokens = corpus.batch(corpus.as_tensor(TEXT), batch=8, context=32, seed=9, step=0)
        with torch.no_grad(), hidden_states(model, ["model.norm"]) as mine:
            model(tokens)
        with torch.no_grad(), hidden_states(teacher, ["model.norm"]) as theirs:
            teacher(tokens)
        x, y = (found["model.norm"].flatten(0, 1).double() for found in (mine, theirs))
        return (x @ torch.linalg.lstsq(x, y).solution - y).square().mean().item()

    assert misfit(matched) < misfit(plain)
    again = distill(teacher, student, **SHORT, alpha=0, steps=40, lr=1e-2, features=names)
    assert same(again, matched)


def frozen() -> nn.Module:
    return tiny().requires_grad_(False)


def broken() -> nn.Module:
    model = tiny()
    nn.init.constant_(model.lm_head.weight, float("nan"))
    return model


TOKENS = torch.arange(16).reshape(2, 8)


@pytest.mark.parametrize(
    ("args", "knobs", "sentence"),
    [
        ((tiny(vocab=99), tiny()), {}, "share one vocabulary, got .*256.*99"),
        ((classifier(0, 8, 6), classifier(1, 8), logits(2, 8)), {}, r"got \(2, 5\) and \(2, 6\)"),
        ((classifier(0, 8), classifier(1, 8)), {}, "data is needed"),
        ((tiny(), tiny(), torch.tensor([[1, 300]])), {}, "data holds tokens from 1 to 300"),
        ((tiny(), tiny(), []), {}, "data must hold at least one batch"),
        ((classifier(0, 8), classifier(1, 8), logits(2, 8)), {"alpha": 0}, "data must hold labels"),
        ((tiny(), tiny(), {"input_ids": TOKENS, "labels": TOKENS[:, :3]}), {}, "labels must have"),
        ((None, tiny()), {}, "teacher must be a torch.nn.Module, got NoneType"),
        ((tiny(), "student"), {}, "student must be a torch.nn.Module, got str"),
        ((tiny(), frozen()), {}, "student must have parameters that require gradients"),
        ((broken(), tiny()), {}, "data must be finite, lr small, got a loss: nan"),
        ((tiny(), tiny()), {"temperature": 0}, "temperature must be"),
        ((tiny(), tiny()), {"alpha": 2}, "alpha must be"),
        ((tiny(), tiny()), {"steps": 0}, "steps must be positive, got 0"),
        ((tiny(), tiny()), {"steps": "5"}, "steps must be a whole number, got '5'"),
        ((tiny(), tiny()), {"lr": 0}, "lr must be positive"),
        ((tiny(), tiny()), {"precision": "fp8"}, "precision must be 'bf16' or 'fp32'"),
        ((tiny(), tiny()), {"features": {"model.norm": "x"}}, r"features must name .*'x'"),
    ],
)
def test_bad_input_is_refused_before_anything_is_learned(args, knobs, sentence):
    before = copy.deepcopy(args[1])
    with pytest.raises((TypeError, ValueError), match=sentence) as caught:
        distill(*args, **SHORT | {"steps": 1} | knobs)
    assert "\n" not in str(caught.value)
    assert not isinstance(before, nn.Module) or same(before, args[1])


EXPERIMENT = Path(__file__).parents[2] / "experiments" / "distillation.py"


def test_the_experiment_runs_and_goes_on_where_it_stopped(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(costlab, "load_model", lambda: tiny(1), raising=False)
    recorded = costlab.results.names()
    main, path = runpy.run_path(str(EXPERIMENT))["main"], tmp_path / "runs.json"
    found = main(["--quick", "--keep", str(path)])
    runs = found["runs"]
    assert [run["temperature"] for run in runs if run["kind"] == "teacher"] == [1, 2, 4, 8]
    plain = runs[0]
    equal = next(run for run in runs if run["kind"].endswith("equal operations"))
    assert plain["alpha"] == equal["alpha"] == 0
    assert plain["steps"] == 2 < equal["steps"]
    half_a_step = plain["operations"] / 4
    assert equal["operations"] == pytest.approx(runs[1]["operations"], abs=half_a_step)
    assert all(0 < run["bits_per_byte"] < 9 for run in runs)
    assert "0 of 10 runs are there" in capsys.readouterr().out
    kept = json.loads(path.read_text())
    path.write_text(json.dumps(kept | {"runs": kept["runs"][:5]}))
    again = main(["--quick", "--keep", str(path)])
    assert "5 of 10 runs are there" in capsys.readouterr().out
    assert again["runs"][:5] == runs[:5]
    figures = [[run["bits_per_byte"] for run in done["runs"][:9]] for done in (found, again)]
    assert figures[0] == figures[1]
    path.write_text(json.dumps(kept | {"setup": {}}))
    main(["--quick", "--keep", str(path), "--steps", "1"])
    assert "0 of 10 runs are there" in capsys.readouterr().out
    assert costlab.results.names() == recorded
