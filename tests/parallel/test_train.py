"""The trainer on several processes: the weights of one, from any number, after any interruption."""

import json
import math
import re
import subprocess
import sys
from pathlib import Path
from unittest import mock

import pytest
import torch
import torch.distributed as dist
from torch import nn

from costlab.lm.model import LanguageModel
from costlab.lm.pretrained import load_model
from costlab.lm.trainer import main, train
from costlab.parallel import launch, sharded_state
from costlab.parallel import train as train_module
from costlab.parallel.gradient import shard_gradients

sys.path.insert(0, str(Path(__file__).parent))  # started processes inherit it
import train_work as work

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def expected():
    torch.manual_seed(0)
    with work.small_text():
        model = train(LanguageModel(work.CONFIG), work.recipe())
    return model.state_dict()


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What two processes and then four leave behind, and what another run was told."""
    path = tmp_path_factory.mktemp("runs")
    launch(work.two, str(path), world_size=2, timeout=300)
    told = launch(work.four, str(path), world_size=4, timeout=300)
    (path / "told").write_text(told[0])
    return path


def apart(found, expected):
    assert found.keys() == expected.keys()
    return max(float((found[n].float() - expected[n]).abs().max()) for n in found)


@pytest.mark.parametrize("kind", ["data", "gradient", "tensor", "pipeline", "fsdp"])
def test_two_processes_end_where_one_does(folder, expected, kind):
    assert apart(load_model(folder / kind / "weights.safetensors").state_dict(), expected) < 1e-5


@pytest.mark.parametrize("kind", ["data", "tensor", "pipeline", "fsdp"])
def test_four_go_on_from_two_cut_in_another_way(folder, expected, kind):
    path = folder / f"from {kind}"
    assert sorted(p.name for p in path.glob("step_*")) == ["step_000000004", "step_000000005"]
    assert apart(load_model(path / "weights.safetensors").state_dict(), expected) < 1e-5
    assert apart(work.from_shards(path), expected) < 1e-5


def test_another_run_is_refused(folder):
    assert "is of another run: there {'seed': 0}" in (folder / "told").read_text()


def test_a_checkpoint_of_another_model_is_refused(tmp_path):
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    try:
        net, wider, run = nn.Linear(3, 3), nn.Linear(3, 4), vars(work.recipe())
        sharded_state.save(net, torch.optim.AdamW(net.parameters()), tmp_path, step=1, run=run)
        optimizer = torch.optim.AdamW(wider.parameters())
        with pytest.raises(ValueError, match=r"another model: weight\|weight is \(3, 3\) there"):
            sharded_state.load(wider, optimizer, tmp_path, run)
        sliced = shard_gradients(wider, torch.optim.SGD(wider.parameters(), lr=1.0))
        with pytest.raises(ValueError, match="is of another model, optimizer or partition"):
            sharded_state.load(sliced, None, tmp_path, run)
    finally:
        dist.destroy_process_group()


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ("--parallel sideways", "parallel must be one of data, gradient, tensor, pipeline, fsdp"),
        ("--parallel data+tensor", "layout must be two numbers"),
        ("--parallel data+tensor --layout 2x3 --processes 4", "layout must multiply to the 4"),
        ("--parallel tensor --layout 2x2", "layout is for two ways together"),
        ("--parallel data+pipeline --layout ²x2", "layout must be two numbers"),
        ("--parallel tensor --processes 0", "processes must be at least 1, got 0"),
        ("--parallel data --processes 3", "batch_size must be a multiple of the 3 shares"),
        ("--parallel tensor --processes 5", "must divide the 6 heads"),
        ("--parallel pipeline --processes 5 --batch-size 8", "stages must be at most the number"),
        ("--parallel pipeline --microbatches 1", "microbatches must be at least the 2 stages"),
        ("--parallel pipeline --microbatches 3", "microbatches must divide the 4 rows"),
        ("--parallel pipeline --partition time", "partition must be flops or parameters"),
        ("--parallel pipeline --schedule zigzag", "schedule must be one of 1f1b, gpipe"),
    ],
)
def test_layouts_that_cannot_be_are_refused_before_any_process_starts(words, told, tmp_path):
    with pytest.raises(ValueError, match=told.replace("+", r"\+")):
        main([*words.split(), "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()


def test_the_job_for_slurm_is_a_command_of_this_trainer():
    path = ROOT / "experiments" / "train.sbatch"
    subprocess.run(["bash", "-n", str(path)], check=True)
    text = path.read_text().replace("\\\n", " ")
    [command] = [
        line for line in text.splitlines() if "costlab.lm.trainer" in line and "srun" in line
    ]
    words = command.split("costlab.lm.trainer")[1].split("'")[0]
    assert "--parallel data+tensor --layout 2x8" in " ".join(words.split())
    assert starts(words, 16)
    assert "#SBATCH --nodes=2" in text
    assert "#SBATCH --gpus-per-node=8" in text


def test_the_commands_of_the_chapter_can_be_run():
    """Each as it stands there, up to the start of its processes."""
    cells = json.loads((ROOT / "notebooks" / "08_model_parallel.ipynb").read_text())["cells"]
    text = "".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")
    commands = [c for c in text.replace("\\\n", " ").splitlines() if "-m costlab.lm.trainer" in c]
    assert len(commands) == 2
    for command in commands:
        torchrun, words = command.split("-m costlab.lm.trainer")
        numbers = [int(n) for n in re.findall(r"--n(?:nodes|proc-per-node) (\d+)", torchrun)]
        assert starts(words, math.prod(numbers) if numbers else None)


def starts(words, world=None):
    """Whether the trainer's command comes to its start, under a torchrun of `world` processes."""
    told = {"RANK": "0", "WORLD_SIZE": str(world)} if world else {}
    with (
        mock.patch.dict("os.environ", told),
        mock.patch.object(train_module, "launch") as launched,
    ):
        return main(words.split()) == 0 and launched.called


@pytest.mark.soak
def test_the_command_starts_its_own_processes(tmp_path, expected):
    """Without torchrun; what it hands to them must not belong to a script."""
    options = {**vars(work.CONFIG), **work.RECIPE, "steps": 5, "model_context": 32}
    options |= {"parallel": "pipeline", "processes": 2, "out": tmp_path / "run"}
    kept = {n: v for n, v in options.items() if n not in ("rope_theta", "norm_eps", "vocab")}
    words = [w for n, v in kept.items() for w in ("--" + n.replace("_", "-"), str(v))]
    run = [sys.executable, "-m", "costlab.lm.trainer", *words]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr[-2000:]
    assert work.from_shards(tmp_path / "run").keys() == expected.keys()
