"""The published rows behind the model: valid, sourced, predicted; and the figures reached."""

import json
import math
from importlib.resources import files
from statistics import median

import pytest

from costlab import catalog, results
from costlab.estimate import validation
from costlab.estimate.memory import training_memory
from costlab.estimate.train_time import constants, residuals


@pytest.mark.parametrize("row", catalog.training_steps(), ids=lambda r: f"{r.group}-{r.devices}")
def test_rows_are_resolvable_and_within_the_peak(row):
    model = validation.shape_of(row)
    layout = validation.layout_of(row, model)
    assert row.trust in {"read", "derived", "assumed"}
    done = row.tokens_per_s * 3 * model.forward_flops()
    assert done < catalog.accelerator(row.accelerator).peak_flops(row.precision)
    assert layout.data * layout.tensor * layout.pipeline * layout.context == row.devices


# mosaicml/llm-foundry, scripts/train/benchmarking/README.md: width, devices, length, printed MFU.
MOSAIC = {(8192, 64, 2048): 0.5333, (4096, 8, 2048): 0.6423, (4096, 8, 65536): 0.4697}


def test_mfu_of_the_paces_is_the_one_printed_beside_them():
    rows = [m for m in validation.measured() if m.row.group == "mosaic-a100-80gb"]
    found = {(m.row.hidden, m.row.devices, m.row.sequence): m for m in rows}
    for key, printed in MOSAIC.items():
        m = found[key]
        mfu = m.row.tokens_per_s * m.work / m.chip.peak_flops("bf16")
        assert mfu == pytest.approx(printed, abs=0.01 if key[2] < 10_000 else 0.02)


def test_coefficients_are_physical_and_few():
    fitted = results.read("cost_model")["fitted"]
    assert len(fitted) <= 6
    for name, value in constants().items():
        if name.endswith("_share"):
            assert 0.2 < value <= 1, name
    for low, high in residuals().values():
        assert 0.6 < low < 1 < high < 1.5
    text = files("costlab.estimate").joinpath("training_constants.json").read_text()
    assert {n: json.loads(text)["constants"][n] for n in fitted} == fitted


def test_recorded_errors_reach_the_goal_and_beat_simpler_rules():
    record = results.read("cost_model")
    goal = {"dense": (0.10, 0.26), "low": (0.15, 0.35)}
    for key in ("source", "chip"):
        for kind, (most, most_p90) in goal.items():
            ours = record["errors"][f"{key} {kind} model"]
            assert ours["median"] <= most
            assert ours["p90"] <= most_p90
            for rule in ("constant", "nearest"):
                theirs = record["errors"][f"{key} {kind} {rule}"]
                assert ours["median"] < theirs["median"]
                assert ours["p90"] < theirs["p90"]
            assert 0.7 <= record["coverage"][f"{key} {kind}"] <= 0.9


def test_the_package_predicts_what_was_recorded():
    """Without anything left out, errors are those of the fit: near, and mostly smaller."""
    errors = [m.error() for m in validation.measured() if m.kept]
    recorded = [
        r["source"]["model"] for r in results.read("cost_model")["rows"] if not r["left_out"]
    ]
    assert len(errors) == len(recorded)
    assert median(map(abs, errors)) <= median(map(abs, recorded)) + 0.005
    assert median(validation.relative(errors)) < 0.10


def test_scores_in_memory_slow_a_run_by_their_bytes():
    """Thirteen bytes a score forward, as many again, nineteen back, at the speed of the memory."""
    m = next(m for m in validation.measured() if m.row.group == "narayanan-2021-table-1")
    row, lay = m.row, m.layout
    seconds = lay.step_tokens / m.pace() / lay.devices
    scores = row.heads * row.layers * lay.sequence**2 * lay.global_batch / lay.devices
    more = scores * (2 * 13 + 19) / (2039e9 * constants()["bandwidth_share"])
    assert row.recompute == "full"
    assert validation.with_scores(m) == pytest.approx(m.error() - math.log(1 + more / seconds))


def test_published_peaks_of_memory():
    low = []
    errors = []
    for row in catalog.memory_peaks():
        model = validation.shape_of(row)
        held = sum(training_memory(model, validation.layout_of(row, model)).values())
        ratio = held * 2**30 / 1e9 / row.peak_gb
        errors.append(abs(ratio - 1))
        low += [row] if ratio < 0.9 else []
    assert median(errors) < 0.10
    assert len(low) <= len(errors) / 20, low


def test_percentiles_lie_between_neighbors():
    assert validation.percentile([3, 1, 2], 0.5) == 2
    assert validation.percentile([0, 1], 0.9) == pytest.approx(0.9)
    assert validation.relative([0.0, math.log(1.1)]) == pytest.approx([0.0, 0.1])
