"""Gradient parallel against the single process, torch's own, and the ZeRO table."""

import gc
import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.distributed.optim import ZeroRedundancyOptimizer
from torch.testing._internal.distributed.fake_pg import FakeStore

from costlab.lm.trainer import loss_on
from costlab.parallel import launch
from costlab.parallel.gradient import shard_gradients
from costlab.parallel.partition import blocks, even_slots, greedy_owners, homes

sys.path.insert(0, str(Path(__file__).parent))  # started processes inherit it
import gradient_work as work

SIZE = sum(p.numel() for p in work.model().parameters())


@pytest.fixture
def fake():
    """One process that takes itself for rank 5 of 64; collectives return at once."""
    dist.init_process_group("fake", store=FakeStore(), rank=5, world_size=64)
    yield
    dist.destroy_process_group()


@pytest.fixture(scope="module")
def two():
    return launch(work.variants, world_size=2, timeout=240)


@pytest.fixture(scope="module")
def four():
    return launch(work.every_stage, world_size=4, timeout=240)


def apart(one, other):
    """Largest difference of two sets of weights; their names must be the same."""
    assert one.keys() == other.keys()
    return max(float((one[name] - other[name]).abs().max()) for name in one)


@pytest.mark.parametrize("partition", ["flat", "greedy"])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_weights_are_those_of_one_process(two, four, stage, partition):
    for rank in (*two, *four):
        assert apart(rank[stage, partition][0], work.alone()) < 1e-5


@pytest.mark.parametrize("name", ["ddp", "zero", "fsdp2"])
def test_torchs_own_give_the_same(two, four, name):
    for rank in (*two, *four):
        assert apart(rank[name], work.alone()) < 1e-5


@pytest.mark.parametrize(("stage", "rounds"), [(1, 2), (2, 2), (3, 3)])
def test_traffic_is_exact(two, four, stage, rounds):
    for ranks, found in ((2, two), (4, four)):
        expected = rounds * 4 * SIZE * (ranks - 1) / ranks
        assert [rank[stage, "flat"][2] for rank in found] == [expected] * ranks


def test_two_micro_batches(two):
    """Stage 1 reduces once, stage 2 after each backward pass; the weights are the same."""
    for stage, rounds in ((1, 2), (2, 3)):
        found, _, sent = two[0][f"micro {stage}"]
        assert apart(found, work.alone(micro=2)) < 1e-5
        assert sent == rounds * 4 * SIZE / 2


@pytest.mark.parametrize("stage", [1, 3])
def test_the_norm_is_clipped_over_all_ranks(two, stage):
    assert apart(two[0][f"clip {stage}"], work.alone(clip=0.5)) < 1e-5


@pytest.mark.parametrize("reentrant", [False, True])
def test_stage_3_goes_with_activation_checkpointing(two, reentrant):
    assert apart(two[0][f"checkpointed {reentrant}"], work.alone()) < 1e-5


def test_a_layer_that_one_rank_does_not_use(two):
    for rank in two:
        assert torch.equal(rank["unused"]["1.bias"], torch.zeros(3))  # 0.5 less half of 1


def one_step(net, **options):
    sharded = shard_gradients(net, torch.optim.AdamW(net.parameters()), **options)
    for step in range(2):  # states are there from the first step on
        loss_on(sharded, work.batch(0)[0].repeat(2, 1)).backward()
        held = sharded.held()
        if step == 0:
            sharded.step()
            sharded.zero_grad()
    return sharded, held


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("stage", [1, 2, 3])
def test_memory_at_64_ranks_is_that_of_the_zero_table(fake, stage, dtype):
    """Bytes per parameter: 2 + 2 + 12 in mixed precision, 4 + 4 + 8 in float32."""
    b, k = (2, 12) if dtype == torch.bfloat16 else (4, 8)
    _, held = one_step(work.model().to(dtype), stage=stage)
    size = SIZE // 64
    whole = [b * SIZE if stage < s else b * size for s in (3, 2)]
    assert SIZE % 64 == 56  # it does not divide: the last slots are padded
    units = 8  # at most one element of padding in each
    assert 0 <= held["parameters"] - whole[0] <= b * units * (64 if stage < 3 else 1)
    assert 0 <= held["gradients"] - whole[1] <= b * units
    assert 0 <= held["states"] - k * size <= k * units


def live_bytes():
    """Bytes of all tensors that Python can reach, each storage once."""
    gc.collect()
    found = [t for t in gc.get_objects() if type(t) in (torch.Tensor, nn.Parameter)]
    found = [t for t in found if t.layout == torch.strided]  # other tests may have left sparse ones
    found += [t.grad for t in found if t.is_leaf and t.grad is not None]
    storages = {t.untyped_storage()._cdata: t.untyped_storage().nbytes() for t in found}
    return sum(storages.values())


@pytest.mark.parametrize("stage", [1, 2, 3])
def test_bytes_held_are_all_there_are(fake, stage):
    before = live_bytes()
    sharded, held = one_step(work.model(), stage=stage)
    buffers = sum(t.nbytes for t in sharded.module.buffers())
    counts = sum(s["step"].nbytes for s in sharded.optimizer.state.values())
    assert live_bytes() - before == sum(held.values()) + buffers + counts


def test_greedy_is_the_rule_of_torchs_optimizer(fake):
    net = work.model()
    theirs = ZeroRedundancyOptimizer(work.groups(net), torch.optim.AdamW, lr=1.0)
    owners = greedy_owners([group["params"] for group in work.groups(net)], 64)
    for rank, found in enumerate(theirs._partition_parameters()):
        given = {p for group in found for p in group["params"]}
        assert given == {p for p, owner in owners.items() if owner == rank}


def test_greedy_leaves_ranks_empty_and_flat_does_not(fake):
    """Eight equal layers on 64 ranks: 48 ranks hold nothing; bias and weight are apart."""
    net = nn.Sequential(*[nn.Linear(512, 512) for _ in range(8)])
    groups = [list(net.parameters())]
    owners = greedy_owners(groups, 64)
    held = [sum(p.numel() for p, owner in owners.items() if owner == r) for r in range(64)]
    assert held.count(0) == 48
    assert max(held) == 512 * 512
    sharded = shard_gradients(net, torch.optim.SGD(net.parameters(), lr=0.1))
    assert sum(unit.real for unit in sharded.units) == (512 * 512 + 512) * 8 / 64


@given(length=st.integers(1, 500), ranks=st.integers(1, 70))
def test_even_slots_cut_as_torch_does(length, ranks):
    slots = even_slots(length, ranks)
    sizes = [max(0, min(stop, length) - start) for start, stop in slots]
    chunks = [len(c) for c in torch.arange(length).chunk(ranks)]
    assert sizes == chunks + [0] * (ranks - len(chunks))
    assert {stop - start for start, stop in slots} == {-(-length // ranks)}


@given(sizes=st.lists(st.integers(1, 40), min_size=1, max_size=20), ranks=st.integers(1, 9))
def test_greedy_is_never_further_off_than_the_largest_tensor(sizes, ranks):
    parameters = [nn.Parameter(torch.zeros(size)) for size in sizes]
    owners = greedy_owners([parameters], ranks)
    held = [sum(p.numel() for p, owner in owners.items() if owner == r) for r in range(ranks)]
    assert sum(held) == sum(sizes)
    assert max(held) - min(held) <= max(sizes)


def test_blocks_and_homes():
    net = work.model()
    assert list(blocks(net)) == list(net.model.layers)
    found = homes(net)
    assert found[net.lm_head.weight] is net
    assert found[net.model.layers[1].mlp.up_proj.weight] is net.model.layers[1]
    net.model.layers[1].mlp.up_proj.weight = net.model.layers[0].mlp.up_proj.weight
    assert homes(net)[net.model.layers[0].mlp.up_proj.weight] is net  # both blocks use it
    nested = nn.ModuleDict({"a": nn.ModuleList([nn.Linear(1, 1)])})
    assert list(blocks(nested)) == [nested["a"][0]]


def test_frozen_parameters_stay_whole(fake):
    net = nn.Sequential(nn.Linear(8, 8), nn.Linear(8, 8))
    net[0].requires_grad_(False)
    sharded = shard_gradients(net, torch.optim.SGD(net[1].parameters(), lr=0.1), stage=3)
    assert net[0].weight.untyped_storage().nbytes() == 256
    assert sharded.held()["parameters"] == 256 + 32 + 4 + 4  # 64 weights and 8 biases over 64


def test_learning_rates_are_set_by_group(fake):
    net = work.model()
    given = torch.optim.lr_scheduler.LambdaLR
    sharded = shard_gradients(net, work.adamw(net))
    assert [group["weight_decay"] for group in sharded.optimizer.param_groups] == [0.1, 0.0]
    given(sharded.optimizer, lambda step: 0.5)
    assert {group["lr"] for group in sharded.optimizer.param_groups} == {work.LR / 2}


def test_bad_input_gets_one_sentence(fake):
    net, other = nn.Linear(40, 40), nn.Linear(2, 2)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for stage in (0, 4, True, 2.0, "2", None):
        with pytest.raises(ValueError, match="stage must be 1, 2 or 3, got"):
            shard_gradients(net, optimizer, stage=stage)
    with pytest.raises(ValueError, match="partition must be one of flat, greedy, got 'even'"):
        shard_gradients(net, optimizer, partition="even")
    with pytest.raises(TypeError, match=r"model must be a torch\.nn\.Module, got str"):
        shard_gradients("net", optimizer)
    with pytest.raises(TypeError, match=r"optimizer must update each weight by itself.*got LBFGS"):
        shard_gradients(net, torch.optim.LBFGS(net.parameters()))
    with pytest.raises(TypeError, match="got type"):
        shard_gradients(net, torch.optim.AdamW)
    with pytest.raises(ValueError, match="all 2 and no other, got 0 of them and 2 others"):
        shard_gradients(net, torch.optim.SGD(other.parameters(), lr=0.1))
    with pytest.raises(ValueError, match="all 2 and no other, got 1 of them"):
        shard_gradients(net, torch.optim.SGD([net.weight], lr=0.1))
    with pytest.raises(ValueError, match=r"world size must be at most .* 6, got 64"):
        shard_gradients(other, torch.optim.SGD(other.parameters(), lr=0.1))
    net(torch.ones(40)).sum().backward()
    stepped = torch.optim.AdamW(net.parameters())
    stepped.step()
    with pytest.raises(ValueError, match="optimizer must be new"):
        shard_gradients(net, stepped)


def test_the_given_optimizer_no_longer_steps(fake):
    net = nn.Linear(40, 40)
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    shard_gradients(net, optimizer)
    with pytest.raises(RuntimeError, match="was handed to shard_gradients"):
        optimizer.step()


def test_what_would_tear_slices_and_model_apart_is_refused(fake):
    net = nn.Linear(40, 40)
    sharded = shard_gradients(net, torch.optim.SGD(net.parameters(), lr=0.1), stage=3)
    with pytest.raises(RuntimeError, match="move or convert the model before shard_gradients"):
        sharded.to(torch.float64)
    with pytest.raises(RuntimeError, match="load weights into the model before"):
        sharded.load_state_dict({})
    assert sharded.state_dict()["weight"].shape == (40, 40)
    assert not sharded.units[0].whole


def test_without_a_process_group():
    assert not dist.is_initialized()
    net = nn.Linear(2, 2)
    with pytest.raises(
        ValueError, match="shard_gradients needs a process group: call it in a function"
    ):
        shard_gradients(net, torch.optim.SGD(net.parameters(), lr=0.1))
