"""The trainer: it learns, and an interrupted run ends with the weights of an unbroken one."""

import json
import os
import subprocess
import sys
from dataclasses import asdict

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from costlab.lm import corpus, pretrained, trainer
from costlab.lm.trainer import (
    Recipe,
    bits_per_byte,
    descend,
    load_checkpoint,
    make_optimizer,
    train,
)

SHORT = {"batch_size": 2, "context": 32, "warmup": 2, "decay": 4, "precision": "fp32"}
SHAPE = "--width 32 --layers 2 --heads 4 --kv-heads 2 --head-dim 8 --ffn 48 --model-context 64"


def recipe(**changes) -> Recipe:
    return Recipe(**SHORT | {"steps": 12} | changes)


def content(path) -> dict[str, torch.Tensor]:
    """Every tensor of a checkpoint: weights and optimizer state."""
    with safe_open(str(path), "pt") as file:
        names = file.keys()
        return {name: file.get_tensor(name) for name in names}


def same(a: dict, b: dict) -> bool:
    return set(a) == set(b) and all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_loss_falls(tiny, text, precision):
    losses = []
    plan = recipe(steps=60, lr=1e-2, precision=precision, decay=20)
    model = train(tiny(), plan, report=lambda step, nats: losses.append((step, nats)))
    assert [step for step, _ in losses] == list(range(60))
    assert losses[0][1] == pytest.approx(torch.log(torch.tensor(256.0)).item(), rel=0.02)
    assert losses[-1][1] < 0.5 * losses[0][1]
    assert not model.training


def test_train_is_descend_on_its_own_windows(tiny, text):
    plan, model = recipe(), tiny().train()
    words = corpus.as_tensor(text)

    def loss(step):
        windows = corpus.batch(words, batch=2, context=32, seed=0, step=step)
        return trainer.loss_on(model, windows)

    descend(model, loss, plan, label="learning")
    assert model.training
    assert same(model.state_dict(), train(tiny(), plan).state_dict())


def test_descend_learns_what_the_first_loss_adds_and_calls_after_each_update(capsys):
    parts, seen = torch.nn.ModuleList(), []

    def loss(step):
        if not parts:
            parts.append(torch.nn.Linear(3, 1))
        seen.append(parts[0].weight.detach().clone())
        return (parts[0](torch.ones(1, 3)) - 5).square().sum()

    def after():
        seen.append(parts[0].weight.detach().clone())
        with torch.no_grad():
            parts[0].weight[0, 0] = 0

    descend(parts, loss, recipe(steps=4, lr=0.1), label="mending", after=after)
    assert "mending" in capsys.readouterr().err
    before, updated = seen[::2], seen[1::2]
    assert len(before) == len(updated) == 4
    assert all((b[0, 1:] < u[0, 1:]).all() for b, u in zip(before, updated))
    assert all(b[0, 0] == 0 != u[0, 0] for b, u in zip(before[1:], updated))


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_is_refused_before_the_weights_see_it(
    tiny, text, tmp_path, monkeypatch, bad
):
    plan, right = recipe(), trainer.loss_on
    monkeypatch.setattr(trainer, "loss_on", lambda *args: right(*args) * losses.pop())
    losses, model = [bad, 1, 1, 1], tiny()
    with pytest.raises(ValueError, match=f"must be finite, lr small, got a loss: {bad}$"):
        train(model, plan, out=tmp_path, checkpoint_every=2)
    assert load_checkpoint(
        tmp_path / "checkpoint.safetensors", tiny(), make_optimizer(tiny(), plan),
        asdict(model.config) | asdict(plan),
    ) == 2  # fmt: skip
    losses = [1, 1, 1]
    assert same(model.state_dict(), train(tiny(), plan, until=3).state_dict())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_resumed_run_equals_an_unbroken_one_bit_for_bit(tiny, text, tmp_path, precision):
    plan = recipe(precision=precision)
    whole = train(tiny(), plan, out=tmp_path / "whole", checkpoint_every=5)
    train(tiny(), plan, out=tmp_path / "parts", checkpoint_every=5, until=7)
    torch.manual_seed(123)  # another process would not have the same dice
    train(tiny(), plan, out=tmp_path / "parts", checkpoint_every=5, until=9)
    resumed = train(tiny(), plan, out=tmp_path / "parts", checkpoint_every=5)
    assert same(whole.state_dict(), resumed.state_dict())
    states = [content(tmp_path / run / "checkpoint.safetensors") for run in ("whole", "parts")]
    assert same(*states)
    assert sum(name.startswith("optimizer.") for name in states[0]) == 3 * len(
        list(whole.parameters())
    )
    assert not same(whole.state_dict(), tiny().state_dict())


def test_a_run_killed_between_checkpoints_repeats_the_lost_steps(tiny, text, tmp_path):
    def stop(step, nats):
        if step == 8:
            raise KeyboardInterrupt

    plan = recipe()
    with pytest.raises(KeyboardInterrupt):
        train(tiny(), plan, out=tmp_path, checkpoint_every=5, report=stop)
    steps = []
    resumed = train(tiny(), plan, out=tmp_path, report=lambda step, nats: steps.append(step))
    assert steps == list(range(5, 12))
    assert same(resumed.state_dict(), train(tiny(), plan).state_dict())


def test_a_finished_run_is_not_trained_again(tiny, text, tmp_path):
    done = train(tiny(), recipe(), out=tmp_path)
    steps = []
    again = train(tiny(), recipe(), out=tmp_path, report=lambda *found: steps.append(found))
    assert steps == []
    assert same(done.state_dict(), again.state_dict())


def test_more_steps_change_nothing_before_the_decay(tiny, text, tmp_path):
    short = train(tiny(), recipe(steps=12), until=8)
    long = train(tiny(), recipe(steps=200, decay=100), until=8)
    assert same(short.state_dict(), long.state_dict())
    train(tiny(), recipe(steps=12), out=tmp_path, until=8)  # and so a run may be made longer
    longer = train(tiny(), recipe(steps=14), out=tmp_path)
    assert same(longer.state_dict(), train(tiny(), recipe(steps=14)).state_dict())


def test_more_steps_after_the_decay_began_are_another_run(tiny, text, tmp_path):
    train(tiny(), recipe(steps=12), out=tmp_path, until=11)
    with pytest.raises(ValueError, match=r"is of another run: there \{'steps': 12\}"):
        train(tiny(), recipe(steps=14), out=tmp_path)


def test_the_learning_rate_rises_stays_and_falls_to_zero():
    rates = [recipe(steps=20, warmup=4, decay=5).rate(step) for step in range(21)]
    assert rates[:4] == [0.25, 0.5, 0.75, 1.0]
    assert rates[4:16] == [1.0] * 12
    assert rates[16:] == pytest.approx([0.8, 0.6, 0.4, 0.2, 0.0])
    assert recipe(warmup=0, decay=0).rate(0) == 1.0


def test_norms_are_not_decayed(tiny):
    model = tiny()
    decayed, kept = make_optimizer(model, recipe()).param_groups
    assert (decayed["weight_decay"], kept["weight_decay"]) == (0.1, 0.0)
    assert {p.ndim for p in decayed["params"]} == {2}
    assert len(decayed["params"]) + len(kept["params"]) == len(list(model.parameters()))


@pytest.mark.parametrize(
    "change", [{"lr": 1e-3}, {"seed": 1}, {"batch_size": 3}, {"weight_decay": 0.0}], ids=str
)
def test_a_checkpoint_of_another_run_is_refused(tiny, text, tmp_path, change):
    train(tiny(), recipe(), out=tmp_path, until=3)
    before = (tmp_path / "checkpoint.safetensors").read_bytes()
    field = next(iter(change))
    with pytest.raises(ValueError, match=f"^checkpoint .* is of another run: there {{'{field}'"):
        train(tiny(), recipe(**change), out=tmp_path)
    with pytest.raises(ValueError, match=r"is of another run: there \{'ffn': 48\}"):
        train(tiny(ffn=64), recipe(), out=tmp_path)
    assert (tmp_path / "checkpoint.safetensors").read_bytes() == before


def test_a_damaged_checkpoint_gets_a_sentence(tiny, text, tmp_path):
    path = tmp_path / "checkpoint.safetensors"
    train(tiny(), recipe(), out=tmp_path, until=3)
    good = path.read_bytes()
    flipped = good[:-100] + bytes([good[-100] ^ 1]) + good[-99:]
    for bad in (good[:-1], good[: len(good) // 2], b"", b"not a weight file", flipped):
        path.write_bytes(bad)
        with pytest.raises(ValueError, match=r"^weight file .* is damaged") as error:
            train(tiny(), recipe(), out=tmp_path)
        assert "\n" not in str(error.value)
    save_file({"x": torch.ones(2)}, path)
    with pytest.raises(ValueError, match=r"is not a checkpoint of this trainer"):
        train(tiny(), recipe(), out=tmp_path)


@pytest.mark.parametrize("failing", ["save_file", "replace"])
@pytest.mark.parametrize("error", [OSError(28, "No space left on device"), KeyboardInterrupt()])
def test_a_save_that_fails_leaves_the_old_checkpoint_whole(
    tiny, text, tmp_path, monkeypatch, failing, error
):
    train(tiny(), recipe(), out=tmp_path, until=3)
    path = tmp_path / "checkpoint.safetensors"
    before = path.read_bytes()

    def fail(*args, **options):
        if failing == "save_file":
            args[1].write_bytes(b"half of it")
        raise error

    home = pretrained if failing == "save_file" else pretrained.os
    with monkeypatch.context() as patch:
        patch.setattr(home, failing, fail)
        with pytest.raises(type(error)) as raised:
            train(tiny(), recipe(), out=tmp_path, until=6)
    if isinstance(error, OSError):
        assert str(raised.value).startswith(f"could not write {path}: ")
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
    resumed = train(tiny(), recipe(), out=tmp_path)
    assert same(resumed.state_dict(), train(tiny(), recipe()).state_dict())


@pytest.mark.skipif(os.name != "posix", reason="a limit on the size of files is POSIX")
def test_a_full_disk_leaves_the_old_checkpoint_whole(tiny, text, tmp_path):
    train(tiny(), recipe(), out=tmp_path, until=3)
    path = tmp_path / "checkpoint.safetensors"
    before = path.read_bytes()
    code = f"""
import resource, sys
import torch
from costlab.lm.pretrained import write_whole
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
try:
    write_whole({{"x": torch.ones(100_000)}}, {str(path)!r}, {{}})
except OSError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(f"could not write {path}: ")
    assert done.stdout.count("\n") == 1
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"steps": 0}, "steps must be positive, got 0"),
        ({"steps": 1.5}, "steps must be a whole number, got 1.5"),
        ({"batch_size": -4}, "batch_size must be at least 0, got -4"),
        ({"context": 0}, "context must be positive, got 0"),
        ({"lr": 0}, "lr must be positive, got 0"),
        ({"lr": float("nan")}, "lr must be at least 0, got nan"),
        ({"lr": "fast"}, "lr must be a number, got 'fast'"),
        ({"warmup": -1}, "warmup must be at least 0, got -1"),
        ({"decay": -1}, "decay must be at least 0, got -1"),
        ({"weight_decay": float("inf")}, "weight_decay must be at least 0, got inf"),
        ({"precision": "int4"}, "precision must be 'bf16' or 'fp32', got 'int4'"),
    ],
)
def test_a_bad_recipe_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        recipe(**changes)


def test_bits_per_byte_of_a_model_that_knows_nothing(tiny):
    model = tiny()
    torch.nn.init.zeros_(model.lm_head.weight)
    windows = [torch.randint(256, (3, 20)), torch.randint(256, (1, 5))]
    assert bits_per_byte(model, windows) == pytest.approx(8)


def test_bits_per_byte_weighs_every_byte_alike(tiny):
    model = tiny().eval()
    torch.nn.init.normal_(model.lm_head.weight, std=2)
    windows = [torch.randint(256, (3, 20)), torch.randint(256, (1, 5))]
    nats, count = 0.0, 0
    with torch.inference_mode():
        for row in [row for batch in windows for row in batch]:
            log = model(row[None])[0].log_softmax(-1)
            nats -= sum(log[i, row[i + 1]].item() for i in range(len(row) - 1))
            count += len(row) - 1
    bits = nats / count / torch.log(torch.tensor(2.0)).item()
    assert bits_per_byte(model, windows) == pytest.approx(bits, rel=1e-5)


def command(tmp_path, extra: str = "") -> list[str]:
    plan = "--steps 6 --batch-size 2 --context 32 --decay 2 --warmup 1 --checkpoint-every 2"
    return f"{SHAPE} {plan} --device cpu --out {tmp_path}/run {extra}".split()


@pytest.fixture
def few(monkeypatch, text):
    """Validation on four windows, so that a run of the whole command takes a second."""
    whole = corpus.validation_batches

    def few_windows(context: int) -> list:
        return whole(context=min(64, context), limit=256)

    monkeypatch.setattr(corpus, "validation_batches", few_windows)


def test_an_interrupted_command_returns_130_and_goes_on(few, tmp_path, monkeypatch, capsys):
    step, calls = trainer.loss_on, []

    def interrupted(*args):
        calls.append(1)
        if len(calls) == 2 + 4:  # two steps are timed before the run, three are done
            raise KeyboardInterrupt
        return step(*args)

    with monkeypatch.context() as patch:
        patch.setattr(trainer, "loss_on", interrupted)
        assert trainer.main(command(tmp_path)) == 130
    assert "repeat the command to go on" in capsys.readouterr().out
    assert [p.name for p in (tmp_path / "run").iterdir()] == ["checkpoint.safetensors"]
    assert trainer.main(command(tmp_path)) == 0
    assert trainer.main([*command(tmp_path / "whole")]) == 0
    files = [p / "run/weights.safetensors" for p in (tmp_path, tmp_path / "whole")]
    assert same(*(content(f) for f in files))
    assert "bits per byte on validation text" in capsys.readouterr().out
    with safe_open(str(files[0]), "pt") as file:
        assert json.loads(file.metadata()["recipe"])["steps"] == 6


def test_the_command_checks_before_it_works(few, tmp_path):
    with pytest.raises(ValueError, match=r"^context \(96\) must not exceed model-context \(64\)$"):
        trainer.main(command(tmp_path, "--context 96"))
    with pytest.raises(ValueError, match=r"^lr must be at least 0"):
        trainer.main(command(tmp_path, "--lr -1"))
    assert not (tmp_path / "run").exists()


def test_validation_text_that_changed_stops_the_run_before_its_first_step(
    few, tmp_path, monkeypatch
):
    def changed(root=None):
        raise ValueError("validation file pyclbr.py of this Python is changed")

    monkeypatch.setattr(corpus, "validation_text", changed)
    monkeypatch.setattr(trainer, "loss_on", lambda *args: pytest.fail("a step was made"))
    with pytest.raises(ValueError, match=r"^validation file pyclbr.py"):
        trainer.main(command(tmp_path))
    assert not (tmp_path / "run").exists()


def test_the_module_as_a_command_says_one_sentence(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "costlab.lm.trainer", "--lr", "0"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (1, "costlab train: lr must be positive, got 0.0\n")


def test_an_interruption_before_the_first_checkpoint_says_so(few, tmp_path, monkeypatch, capsys):
    def interrupted(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr(trainer, "train", interrupted)
    assert trainer.main(command(tmp_path)) == 130
    assert capsys.readouterr().out.endswith("stopped; repeat the command to begin anew\n")


def test_help_names_every_option(capsys):
    with pytest.raises(SystemExit) as end:
        trainer.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for option in ("--out", "--width", "--steps", "--lr", "--model-context", "--batch-size"):
        assert option in text


@pytest.mark.parametrize("disabled", ["", "1"])
def test_progress_can_be_disabled(tmp_path, disabled):
    code = f"""
from costlab.lm import corpus, trainer
corpus.training_text = lambda root=None: b"some text to train on; " * 20
whole = corpus.validation_batches
corpus.validation_batches = lambda context: whole(context=context, limit=64)
trainer.main({command(tmp_path)!r})
"""
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env=os.environ | {"TQDM_DISABLE": disabled},
    )  # fmt: skip
    assert ("training" in done.stderr) == (not disabled)


def test_load_checkpoint_restores_the_optimizer_where_its_parameters_are(tiny, text, tmp_path):
    train(tiny(), recipe(), out=tmp_path, until=3)
    model = tiny()
    optimizer = make_optimizer(model, recipe())
    with safe_open(str(tmp_path / "checkpoint.safetensors"), "pt") as file:
        run = json.loads(file.metadata()["run"])
    assert load_checkpoint(tmp_path / "checkpoint.safetensors", model, optimizer, run) == 3
    for parameter in model.parameters():
        state = optimizer.state[parameter]
        assert state["step"] == 3
        assert state["exp_avg"].shape == state["exp_avg_sq"].shape == parameter.shape


def test_the_rate_warms_up_stays_and_falls_to_zero():
    recipe = Recipe(steps=16, decay=5, warmup=2)
    rates = [recipe.rate(step) for step in (0, 1, 10, 12, 15, 16)]
    assert rates == pytest.approx([0.5, 1, 1, 0.8, 0.2, 0])


def test_the_command_repeats_the_shipped_weights():
    defaults = vars(trainer.parser().parse_args([]))
    shipped = asdict(trainer.SHIPPED)
    assert {name: defaults[name] for name in shipped} == shipped
    _, metadata = pretrained.read_whole(pretrained.WEIGHTS)
    assert Recipe(**json.loads(metadata["recipe"])) == trainer.SHIPPED
