"""Checkpoints are whole or not at all, and a killed rank costs no more than the steps since one."""

import contextlib
import math
import multiprocessing
import random
import sys
import threading
import time
from pathlib import Path
from statistics import mean, stdev

import pytest
import torch
import torch.distributed as dist
from torch import nn

from costlab.parallel import ParallelError, faults, launch
from costlab.parallel.checkpoints import (
    complete,
    load_checkpoint,
    save_checkpoint,
    whole,
)
from costlab.parallel.faults import (
    checkpoint_interval,
    launch_until_done,
    simulate_failures,
    time_with_failures,
)
from costlab.parallel.gradient import shard_gradients

sys.path.insert(0, str(Path(__file__).parent))  # started processes inherit it
import fault_work
import gradient_work as work


@pytest.fixture
def single():
    """This process alone is the group."""
    dist.init_process_group("gloo", store=dist.HashStore(), rank=0, world_size=1)
    yield
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def unbroken(tmp_path_factory):
    """Folder of checkpoints at step 4, and what two processes came to that nothing disturbed."""
    folder = tmp_path_factory.mktemp("unbroken")
    return folder, launch(fault_work.save_and_go_on, str(folder), world_size=2)[0]


@pytest.mark.timeout(900)  # four starts of two processes, on a machine that others use
def test_three_kills_lose_nothing(tmp_path, unbroken):
    kills = ("backward", "files", "name")
    results, met = launch_until_done(
        fault_work.train_saving, str(tmp_path), 3, "flat", 6, 2, kills,
        world_size=2, timeout=180, restarts=3,
    )  # fmt: skip
    assert len(met) == 3
    assert {path.name for path in tmp_path.glob("died.*")} == {f"died.{name}" for name in kills}
    _, expected = unbroken[1]["flat"]
    for _, found in results:
        assert all(torch.equal(found[name], expected[name]) for name in expected)
    assert results[0][0] > 0  # the last start went on from a checkpoint
    left = complete(tmp_path)
    assert [path.name for path in left] == ["step_000000004", "step_000000006"]
    assert all(whole(path) for path in left)


@pytest.mark.parametrize("partition", ["flat", "greedy"])
def test_one_process_goes_on_where_two_stopped(single, unbroken, partition):
    folder, found = unbroken
    sharded = work.sharded_model(1, partition)
    assert load_checkpoint(sharded, folder / partition) == 4
    weights, _, _ = work.train(sharded, range(4, 6))
    for expected in (found[partition][1], work.alone(steps=6)):
        for name, tensor in weights.items():
            assert (tensor - expected[name]).abs().max() < 1e-5


def saved(folder, steps=(1, 2)):
    """A little training with a checkpoint after each step."""
    sharded = work.sharded_model(2)
    for step in steps:
        work.backward(sharded, step)
        sharded.step()
        sharded.zero_grad()
        save_checkpoint(sharded, folder, step=step)
    return sharded


def damage_bytes(path):
    file = max(path.iterdir(), key=lambda p: p.stat().st_size)
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def damage_length(path):
    file = max(path.iterdir(), key=lambda p: p.stat().st_size)
    file.write_bytes(file.read_bytes()[:-100])


@pytest.mark.parametrize(
    "damage",
    [
        damage_bytes,
        damage_length,
        lambda path: (path / "manifest.json").unlink(),
        lambda path: (path / "manifest.json").write_text("{"),
        lambda path: (path / ".metadata").unlink(),
    ],
)
def test_a_damaged_checkpoint_is_never_loaded(single, tmp_path, damage):
    saved(tmp_path)
    assert [whole(path) for path in complete(tmp_path)] == [True, True]
    damage(complete(tmp_path)[-1])
    assert [whole(path) for path in complete(tmp_path)] == [True, False]
    assert load_checkpoint(work.sharded_model(2), tmp_path) == 1


def test_half_written_ones_are_no_checkpoints(single, tmp_path):
    sharded = saved(tmp_path, (1,))
    (tmp_path / "step_000000009.part").mkdir()
    (tmp_path / "step_000000009.part" / "manifest.json").write_text('{"files": {}, "step": 9}')
    assert load_checkpoint(sharded, tmp_path) == 1
    save_checkpoint(sharded, tmp_path, step=9)  # over the remains
    assert load_checkpoint(sharded, tmp_path) == 9


def test_old_ones_leave_and_an_empty_folder_begins_anew(single, tmp_path):
    sharded = work.sharded_model(2)
    assert load_checkpoint(sharded, tmp_path / "not there") == 0
    for step in (0, 1, 2, 2):
        save_checkpoint(sharded, tmp_path, step=step, keep=2)
    assert [path.name[-1] for path in complete(tmp_path)] == ["1", "2"]
    assert len(list(tmp_path.iterdir())) == 2  # nothing half written, nothing half removed


def test_a_checkpoint_of_another_model(single, tmp_path):
    saved(tmp_path, (1,))
    net = nn.Linear(3, 3)
    before = net.weight.detach().clone()
    other = shard_gradients(net, torch.optim.SGD(net.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="step_000000001 is of another model, optimizer or part"):
        load_checkpoint(other, tmp_path)
    assert torch.equal(net.weight, before)


def test_states_come_back_bit_by_bit(single, tmp_path):
    before = saved(tmp_path, (1, 2))
    after = work.sharded_model(3)
    load_checkpoint(after, tmp_path)
    for one, other in zip(before.units, after.units):
        assert torch.equal(one.weight, other.weight)
        states = before.optimizer.state[one.weight], after.optimizer.state[other.weight]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_buffers_come_back(single, tmp_path):
    """The running averages of a batch norm are no parameters."""

    def build():
        net = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
        return shard_gradients(net, torch.optim.SGD(net.parameters(), lr=0.1), stage=3)

    before, after = build(), build()
    before(torch.randn(9, 3)).sum().backward()
    save_checkpoint(before, tmp_path, step=1)
    assert load_checkpoint(after, tmp_path) == 1
    assert after.module[1].running_mean.any()
    found = before.state_dict(), after.state_dict()
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_bad_arguments_get_one_sentence(single, tmp_path):
    sharded = work.sharded_model(2)
    with pytest.raises(TypeError, match="sharded must be what shard_gradients returns, got Lin"):
        save_checkpoint(nn.Linear(1, 1), tmp_path, step=1)
    for step in (-1, 1.0, True):
        with pytest.raises(ValueError, match="step must be a whole number of at least 0, got"):
            save_checkpoint(sharded, tmp_path, step=step)
    with pytest.raises(ValueError, match="keep must be a whole number of at least 1, got 0"):
        save_checkpoint(sharded, tmp_path, step=1, keep=0)
    for restarts in (-1, None, 1.5):
        with pytest.raises(ValueError, match="restarts must be a whole number of at least 0"):
            launch_until_done(print, restarts=restarts)
    for save in (0, -1, math.inf, True, "1"):
        with pytest.raises(ValueError, match="save must be a positive number of seconds, got"):
            checkpoint_interval(save=save, mtbf=100)
    for restart in (-1, math.inf, math.nan, True, "1"):
        for tried in (time_with_failures, simulate_failures):
            with pytest.raises(ValueError, match="restart must be a number of seconds, at least 0"):
                tried(100, interval=10, save=1, restart=restart, mtbf=50)
    for given in ({"interval": 900, "restart": 1}, {"interval": 10, "restart": 900}):
        for tried in (time_with_failures, simulate_failures):
            with pytest.raises(ValueError, match="at most 10 times the mtbf of 50 s, or the work"):
                tried(1e4, save=1, mtbf=50, **given)


@pytest.mark.parametrize("restarts", [0, 2])
def test_restarts_end(monkeypatch, restarts):
    tried = []

    def fails(*given, **how):
        tried.append((given, how))
        raise ParallelError("rank 0 failed", 0)

    monkeypatch.setattr(faults, "launch", fails)
    with pytest.raises(ParallelError):
        launch_until_done(print, "again", world_size=1, restarts=restarts)
    assert tried == [((print, "again"), {"world_size": 1})] * (restarts + 1)


@pytest.mark.parametrize("save", [0.1, 10, 300])
@pytest.mark.parametrize("mtbf", [1e3, 1e4, 1e6])
def test_the_interval_is_the_best_of_the_exact_formula(save, mtbf):
    """Daly's approximation against the least of two thousand intervals."""

    def time_of(interval):
        return time_with_failures(1e6, interval=interval, save=save, restart=5, mtbf=mtbf)

    best = min(time_of(mtbf * 10 ** (k / 500)) for k in range(-2000, 300))
    assert time_of(checkpoint_interval(save=save, mtbf=mtbf)) <= best * 1.001
    young = math.sqrt(2 * save * mtbf)
    assert checkpoint_interval(save=save, mtbf=mtbf) == pytest.approx(young, rel=0.5)


def test_where_saving_takes_longer_than_machines_last():
    assert checkpoint_interval(save=300, mtbf=100) == 100


def test_the_simulation_agrees_with_the_formula():
    given = {"interval": 50, "save": 5, "restart": 20, "mtbf": 300}
    times = [simulate_failures(5000, seed=seed, **given) for seed in range(600)]
    error = stdev(times) / math.sqrt(len(times))
    expected = time_with_failures(5000, **given)
    assert abs(mean(times) - expected) < 3 * error + given["save"]
    assert simulate_failures(100, interval=30, save=2, restart=1, mtbf=1e12) == 106


class Killer(threading.Thread):
    """Kills a random process at random moments: every third time in training, else before it.

    begun: a file that grows whenever processes have started and begin to train.
    """

    def __init__(self, kills, begun):
        super().__init__(daemon=True)
        self.left, self.begun, self.draw = kills, begun, random.Random(0)

    def run(self):
        while self.left:
            seen = self.size()
            late = time.monotonic() + 60
            in_training = self.left % 3 == 0
            while in_training and self.size() == seen and time.monotonic() < late:
                time.sleep(0.05)
            time.sleep(self.draw.uniform(0.0, 2.0))
            with contextlib.suppress(IndexError, ValueError):  # none there, or it ends by itself
                self.draw.choice(multiprocessing.active_children()).kill()
                self.left -= 1

    def size(self):
        return self.begun.stat().st_size if self.begun.exists() else 0


@pytest.mark.soak
@pytest.mark.timeout(1500)
def test_thirty_kills_at_random_moments(tmp_path):
    """An error within the timeout each time, never a hang, a broken checkpoint or a step lost."""
    killer, failures, steps, results = Killer(30, tmp_path / "starts"), 0, 200, None
    killer.start()
    while results is None:
        begun = time.monotonic()
        try:
            job = (str(tmp_path), 2, "flat", steps, 5)
            results = launch(fault_work.train_saving, *job, world_size=2, timeout=120)
            if killer.left:  # it was done before all the kills: go on
                results, steps = None, steps + 200
        except ParallelError:
            failures += 1
        assert time.monotonic() - begun < 120 + 15
        assert all(whole(path) for path in complete(tmp_path))
    starts = [int(line) for line in (tmp_path / "starts").read_text().split()]
    print(f"\n30 kills, {failures} failed starts; they began at the steps {starts} of {steps}")
    assert len(set(starts)) > 3  # some went on from checkpoints of others
    assert starts == sorted(starts)
    calm = launch(fault_work.train_saving, str(tmp_path / "calm"), 2, "flat", steps, steps)
    assert all(torch.equal(calm[0][1][name], t) for name, t in results[0][1].items())
