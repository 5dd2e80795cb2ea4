"""Tensor parallel and pipeline against the single process, torch's own, and the counts of theory.

Two launches do everything: processes take seconds to start.
"""

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from costlab.parallel import launch
from costlab.parallel.pipelining import pipeline
from costlab.parallel.schedules import actions, most_held
from costlab.parallel.tensor import tensor_parallel

sys.path.insert(0, str(Path(__file__).parent))  # started processes inherit it
import model_work as work

STATE = work.BATCH * work.POSITIONS * work.SHAPE["width"] * 8  # bytes of what a block hands on
LAYERS = work.SHAPE["layers"]


@pytest.fixture(scope="module")
def two():
    return launch(work.two, world_size=2, timeout=300)


@pytest.fixture(scope="module")
def four():
    return launch(work.four, world_size=4, timeout=300)


def apart(ranks, name, dtype, clip=False):
    """Farthest that a weight of any process is from the single one's."""
    _, expected = work.single(dtype, clip)
    found = [rank[name][1] for rank in ranks]
    assert all(weights.keys() == expected.keys() for weights in found)
    return max(float((w[n] - expected[n]).abs().max()) for w in found for n in expected)


@pytest.mark.parametrize("name", ["tensor", "gathered", "gpipe", "1f1b"])
def test_two_processes_end_where_one_does(two, name):
    assert apart(two, name, torch.float64) < 1e-10
    losses, _ = work.single(torch.float64)
    assert two[1][name][0] == pytest.approx(losses, abs=1e-10)


@pytest.mark.parametrize("name", ["tensor", "pipeline"])
def test_four_processes_end_where_one_does(four, name):
    assert apart(four, name, torch.float64) < 1e-10


@pytest.mark.parametrize("name", ["tensor32", "time"])
def test_in_float32_with_the_norm_clipped_over_all_processes(two, name):
    assert apart(two, name, torch.float32, clip=True) < 1e-5


@pytest.mark.parametrize("name", ["tensor clipped", "data+tensor", "data+pipeline"])
def test_shared_heads_and_copies_beside_with_the_norm_clipped(four, name):
    assert apart(four, name, torch.float32, clip=True) < 1e-5
    assert apart(four, name, torch.float32) > 1e-3  # clipping mattered


def test_collectives_of_a_step_are_those_of_the_formula(two, four):
    assert two[0]["tensor"][2] == [("all_reduce", STATE, 2)] * 4 * LAYERS
    shared = [call for call in four[0]["tensor"][2] if call[2] == 2]
    kv = 8 * work.SHAPE["width"] * work.SHAPE["head_dim"]  # one head's keys or values
    assert shared == [("all_reduce", kv, 2)] * 2 * LAYERS
    assert [c for c in four[0]["tensor"][2] if c[2] == 4] == [("all_reduce", STATE, 4)] * 4 * LAYERS


def test_columns_alone_send_more(two):
    kinds = [kind for kind, _, _ in two[0]["gathered"][2]]
    assert kinds.count("all_gather") == kinds.count("all_reduce") == 7 * LAYERS


def test_torch_counts_as_many_collectives(two, four):
    """Its CommDebugMode, over its own plan and over ours, against the formula."""
    assert two[0]["torch's tensor"][2] == {"allreduce": 4 * LAYERS}
    assert two[0]["tensor"][3] == {"allreduce": 4 * LAYERS}
    assert two[0]["gathered"][3] == {"allreduce": 7 * LAYERS, "allgather": 7 * LAYERS}
    assert four[0]["tensor"][3] == {"allreduce": 4 * LAYERS + 2 * LAYERS}  # of shared heads


def test_torch_s_plan_gives_the_same_with_the_same_collectives(two):
    losses, calls, _ = two[0]["torch's tensor"]
    assert losses == pytest.approx(work.single(torch.float64)[0], abs=1e-10)
    assert calls == two[0]["tensor"][2]


def test_torch_s_pipeline_gives_the_same_gradients(two):
    assert max(rank["torch's pipeline"] for rank in two) < 1e-12


@pytest.mark.parametrize("schedule", ["gpipe", "1f1b"])
def test_stages_work_in_the_order_of_the_schedule(two, schedule):
    assert [rank[schedule][2] for rank in two] == actions(schedule, 2, 8)


def test_activation_memory_follows_the_micro_batches_that_are_open(two):
    """Each micro-batch that is open costs the same, and there is little else."""
    peaks = {kind: two[0][kind][3] for kind in ("gpipe", "1f1b")}
    held = {kind: most_held(actions(kind, 2, 8)[0]) for kind in peaks}
    each = (peaks["gpipe"] - peaks["1f1b"]) / (held["gpipe"] - held["1f1b"])
    assert held == {"gpipe": 8, "1f1b": 2}
    assert peaks["gpipe"] == pytest.approx(8 * each, rel=0.1)


def test_experts_on_their_own_processes_give_what_the_layer_gives(four):
    for rank in four:
        farthest, count = rank["experts"]
        assert farthest < 1e-12
        assert count == {"all_to_all": 4}


def test_bad_input_gets_one_sentence(two):
    told = two[0]["refused"]
    for name, words in {
        "heads": "must divide the 3 heads of model.layers.0.self_attn.q_proj, got 2",
        "neurons": "must divide the 41 columns or rows of model.layers.0.mlp.gate_proj, got 2",
        "kind": "partition['q_proj'] must be one of column, row, gathered, got 'diagonal'",
        "nothing": "model must have linear layers named as in partition",
        "no module": "TypeError: model must be a torch.nn.Module, got str",
        "replicas": "replicas must divide the 2 processes, got 3",
        "layers": "stages must be at most the number of layers, 1, got 2",
        "microbatches": "microbatches must be at least the 2 stages",
        "schedule": "schedule must be one of 1f1b, gpipe, got 'zigzag'",
        "partition": "partition must be one of flops, parameters, time, got 'layers'",
        "sample": "partition 'time' needs a sample",
        "book": "TypeError: model must be the book's LanguageModel, got Linear",
        "experts": "experts (3) must be a multiple of the 2 processes",
        "rows": "windows must divide into 3 micro-batches, got 8 rows",
    }.items():
        assert words in told[name]


def test_without_a_process_group():
    with pytest.raises(ValueError, match="tensor_parallel needs a process group"):
        tensor_parallel(work.model())
    with pytest.raises(ValueError, match="pipeline needs a process group"):
        pipeline(work.model(), microbatches=2)
    with pytest.raises(TypeError, match="model must be the book's LanguageModel"):
        pipeline(nn.Linear(2, 2), microbatches=2)
