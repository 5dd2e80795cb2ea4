"""Estimates from the shell."""

import inspect
import json
import re
import subprocess
import sys

import pytest

from costlab import cli, estimate
from costlab.estimate.formulas import export

SERVING = ["estimate", "serving", "llama-3.1-8b", "l4", "--prompt", "500", "--generate", "200"]


def test_serving_prints_a_slip_and_json(capsys):
    assert cli.main([*SERVING, "--weight-bits", "8", "--devices", "2"]) == 0
    assert "llama-3.1-8b on 2 x l4" in capsys.readouterr().out
    assert cli.main([*SERVING, "--weight_bits", "8", "--devices", "2", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    same = estimate.serving(
        "llama-3.1-8b", "l4", devices=2, weight_bits=8, prompt=500, generate=200
    )
    assert said["tokens_per_s"] == same.tokens_per_s
    assert said["tokens_per_s_high"] == same.tokens_per_s_high


def test_an_arrival_rate_draws_the_curve_and_an_interface_is_compared(capsys):
    asked = [*SERVING, "--weight_bits", "8", "--requests_per_s", "0.5", "--api", "gpt-4o-mini"]
    assert cli.main(asked) == 0
    out = capsys.readouterr().out
    assert "$/MB" in out
    assert "renting is cheaper above" in out
    assert cli.main([*asked, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["requests_per_s"] == 0.5
    assert said["break_even"]["api"] == "gpt-4o-mini"
    assert len(said["cost_curve"]) > 4


def test_storage_prints_a_slip_and_json(capsys):
    assert cli.main(["estimate", "storage", "gpt2", "--checkpoints-per-day", "2"]) == 0
    assert "checkpoints" in capsys.readouterr().out
    assert cli.main(["estimate", "storage", "--data_gb", "10", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["gb"] == 10


def test_options_are_the_keywords(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["estimate", "serving", "--help"])
    assert end.value.code == 0
    out = capsys.readouterr().out
    for name in list(inspect.signature(estimate.serving).parameters)[2:]:
        assert f"--{name}" in out
    assert "devices that share a layer" in " ".join(out.split())


def test_formulas_are_printed_for_pages(capsys):
    assert cli.main(["estimate", "formulas"]) == 0
    assert json.loads(capsys.readouterr().out) == export()


def test_the_catalog_as_json(capsys):
    assert cli.main(["catalog", "accelerators", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["id"] == "t4"


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["estimate", "cooking"], "estimate must be one of training, serving, storage, .*"),
        ([*SERVING, "--batch", "0"], "batch must be a whole number from 1 .*"),
        ([*SERVING, "--price", "cheap"], "price must be a number, got 'cheap'."),
        ([*SERVING[:3], "h100", *SERVING[4:]], "unknown accelerator 'h100': did you mean .*"),
        ([*SERVING, "--api", "gpt-9"], "unknown item 'gpt-9'.*"),
    ],
)
def test_bad_input_is_one_sentence_and_status_2(argv, sentence, capsys):
    assert cli.main(argv) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert re.fullmatch(f"costlab: {sentence}\n", captured.err)


def test_an_estimate_from_the_shell_is_quick():
    """Processor time, the least of several: a third of a second here, three times that allowed."""
    code = "import sys, time, costlab.cli as c; c.main(sys.argv[1:]); print(time.process_time())"
    command = [sys.executable, "-c", code, *SERVING]
    runs = [subprocess.run(command, capture_output=True, text=True, check=True) for _ in range(3)]
    assert min(float(run.stdout.split()[-1]) for run in runs) < 1
