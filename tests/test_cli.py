"""The `costlab` command."""

import json
import re
import subprocess
import sys
import warnings
from dataclasses import fields

import pytest
import torch

from costlab import Bill, cli
from costlab.bill import memory
from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.pretrained import export, load_model, save_model

SHAPE = {"width": 32, "layers": 2, "heads": 4, "kv_heads": 2, "head_dim": 8, "ffn": 48}
PLAN = "--steps 3 --batch-size 2 --context 32 --decay 1 --warmup 1 --model-context 64 --device cpu"


@pytest.fixture
def weights(tmp_path):
    torch.manual_seed(0)
    save_model(LanguageModel(Config(**SHAPE, context=64)), tmp_path / "model.safetensors")
    return str(tmp_path / "model.safetensors")


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(memory, "peak_in_new_process", lambda *args: None)


def test_measure_prints_json(weights, quick, capsys):
    argv = ["measure", weights, "--prompt", "8", "--generate", "4", "--price", "1.5", "--json"]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert set(json.loads(out)) == {f.name for f in fields(Bill)}
    bill = Bill.from_json(out)
    assert bill.machine.price_per_hour == 1.5
    assert (bill.workload.batch, bill.workload.prompt, bill.workload.generate) == (1, 8, 4)
    assert bill.parameters == sum(p.numel() for p in load_model(weights).parameters())


def test_measure_prints_a_receipt(weights, quick, capsys):
    assert cli.main(["measure", weights, "--batch", "2", "--prompt", "8", "--generate", "4"]) == 0
    out = capsys.readouterr().out
    assert "THE COST LAB" in out
    assert "batch 2, prompt 8, generate 4, with cache" in out
    assert re.search(r"^\[measured\] PER MILLION WRITTEN", out, re.M)


def test_measure_takes_a_folder_of_transformers(tmp_path, quick, capsys):
    exported = export(LanguageModel(Config(**SHAPE, context=64)), tmp_path / "mine")
    argv = ["measure", str(exported), "--prompt", "8", "--generate", "4", "--json"]
    assert cli.main(argv) == 0
    bill = Bill.from_json(capsys.readouterr().out)
    assert bill.name == "LlamaForCausalLM"
    assert bill.bits_per_byte == pytest.approx(8, abs=0.5)


def test_catalog_lists_its_tables_and_their_rows(capsys):
    assert cli.main(["catalog"]) == 0
    tables = capsys.readouterr().out.split()
    assert "accelerators" in tables
    for table in tables:
        assert cli.main(["catalog", table]) == 0
        rows = capsys.readouterr().out.splitlines()
        assert rows
        assert all(": " in row for row in rows)


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["catalog", "chips"], "table must be one of accelerators, .*, got 'chips'"),
        (["measure", "no/such/file"], "no weight file at no/such/file"),
        (["train", "--steps", "0"], "steps must be positive, got 0"),
        (["train", "--threads", "0"], "threads must be at least 1, got 0"),
        (["train", "--checkpoint-every", "0"], "checkpoint_every must be at least 1, got 0"),
        (["train", "--device", "abacus"], "device must be one that torch has here, .*'abacus': .*"),
        (["train", "--heads", "5"], "heads must be a multiple of kv_heads, got 5 and 2"),
        (["train", "--context", "1024"], r"context \(1024\) must not exceed model-context \(512\)"),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence_and_status_2(argv, sentence, capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f"costlab: {sentence}\n", captured.err)
    assert not list(tmp_path.iterdir())


def test_bad_figures_of_a_measurement(weights, quick, capsys):
    for option, value in (("--batch", "0"), ("--price", "-1"), ("--generate", "90")):
        assert cli.main(["measure", weights, option, value]) == 2
        assert re.fullmatch(r"costlab: [^\n]+\n", capsys.readouterr().err)


@pytest.mark.parametrize("argv", [[], ["unknown"], ["measure", "--colour"], ["train", "--lr", "x"]])
def test_bad_usage_is_status_2(argv, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 2
    assert "usage: costlab" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "word"), [(["--help"], "catalog"), (["train", "--help"], "--checkpoint-every")]
)
def test_help(argv, word, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(argv)
    assert end.value.code == 0
    assert word in capsys.readouterr().out


def test_help_needs_no_torch():
    code = "import sys, costlab.cli as c\ntry: c.main(['--help'])\nexcept SystemExit: pass\n"
    code += "print([m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.endswith("[]\n")


def test_train_from_nothing_to_a_model_that_loads(tmp_path, monkeypatch, capsys):
    whole = corpus.validation_batches
    monkeypatch.setattr(corpus, "training_text", lambda root=None: b"x = x + 1  # train\n" * 30)
    monkeypatch.setattr(
        corpus, "validation_batches", lambda context: whole(context=context, limit=128)
    )
    shape = [w for k, v in SHAPE.items() for w in ("--" + k.replace("_", "-"), str(v))]
    out = tmp_path / "run"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cli.main(["train", *PLAN.split(), *shape, "--out", str(out)]) == 0
    assert sorted(p.name for p in out.iterdir()) == [
        "checkpoint.safetensors", "weights.safetensors",
    ]  # fmt: skip
    assert load_model(out / "weights.safetensors").config == Config(**SHAPE, context=64)
    assert "bits per byte on validation text" in capsys.readouterr().out


@pytest.mark.skipif(sys.platform == "win32", reason="a closed pipe is another error there")
def test_a_reader_that_has_seen_enough_gets_no_error():
    code = "import costlab.cli as c; raise SystemExit(c.main(['catalog', 'prices']))"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        process.stdout.close()
        assert process.stderr.read() == b""


def test_the_status_reaches_the_shell(tmp_path):
    code = "import costlab.cli as c; raise SystemExit(c.main())"
    done = subprocess.run(
        [sys.executable, "-c", code, "catalog", "x"],
        capture_output=True, text=True, check=False, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 2
    assert done.stderr.startswith("costlab: table must be one of ")
