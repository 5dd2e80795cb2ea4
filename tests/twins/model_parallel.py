"""Twins of the claims of notebook 08: what they would be given if something were broken."""

import math
from contextlib import contextmanager
from functools import cache, partial

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.nn import functional as F
from torch.testing._internal.distributed.fake_pg import FakeStore

from costlab import catalog, estimate, results
from costlab.lm.model import MLP, Config, LanguageModel
from costlab.lm.trainer import bits_per_byte
from costlab.parallel import lessons_model as lessons
from costlab.parallel.counting import Traffic, count_collectives
from costlab.parallel.experts import Experts, experts_read, parameter_counts
from costlab.parallel.schedules import actions, before, bubble, most_held, replay, simulate
from costlab.parallel.schemes import schemes
from costlab.parallel.stages import cut, slowest, unit_costs
from costlab.parallel.tensor import GATHERED, tensor_parallel

SMALL = Config(width=64, layers=2, heads=2, kv_heads=2, head_dim=32, ffn=128, context=32)


def small() -> LanguageModel:
    torch.manual_seed(0)
    return LanguageModel(SMALL).double()


def windows() -> torch.Tensor:
    return torch.randint(0, 256, (4, 33), generator=torch.Generator().manual_seed(0))


@contextmanager
def two_ranks():
    """One process that takes itself for rank 0 of 2; nobody adds anything to what it has."""
    dist.init_process_group("fake", store=FakeStore(), rank=0, world_size=2)
    try:
        yield
    finally:
        dist.destroy_process_group()


def half_of_one_with_half_of_another() -> float:
    """The first half of `gate` with the second half of `up`."""
    torch.manual_seed(0)
    mlp, x = MLP(SMALL).double(), torch.randn(5, 64, dtype=torch.float64)
    gate, up, down = mlp.gate_proj.weight, mlp.up_proj.weight, mlp.down_proj.weight
    parts = [F.linear(F.silu(F.linear(x, gate.chunk(2)[a])) * F.linear(x, up.chunk(2)[1 - a]),
                      down.chunk(2, dim=1)[a]) for a in range(2)]  # fmt: skip
    return (sum(parts) - mlp(x)).abs().max().item()


def stepped(net: torch.nn.Module, loss: torch.Tensor) -> torch.Tensor:
    """The last norm after a step of AdamW down a loss."""
    optimizer = torch.optim.AdamW(net.parameters(), lr=lessons.LR)
    loss.backward()
    optimizer.step()
    return dict(net.named_parameters())["model.norm.weight"].detach()


def sums_that_nobody_takes() -> float:
    """Half of every matrix, and all-reduces that add nothing."""
    expected = stepped(net := small(), lessons.nats(net, windows()))
    with two_ranks():
        part = tensor_parallel(small())
        found = stepped(part.module, lessons.nats(part, windows()))
    return float((found - expected).abs().max())


@cache
def traffic(way: str) -> Traffic:
    """What rank 0 of 2 sends in a step."""
    with two_ranks():
        mesh = init_device_mesh("cpu", (2,))
        net = {
            "pairs": tensor_parallel,
            "gathered": partial(tensor_parallel, partition=GATHERED),
            "torch's": partial(lessons.torch_plan, mesh=mesh),
            "by matrix": partial(lessons.torch_plan, mesh=mesh, once=False),
        }[way](small())
        with count_collectives() as found:
            lessons.nats(net, windows()).backward()
    return found


def first_micro_batch_alone() -> float:
    """A pipeline that forgets all micro-batches but the first."""
    expected = stepped(net := small(), lessons.nats(net, windows()))
    found = stepped(net := small(), lessons.nats(net, windows()[:1]))
    return float((found - expected).abs().max())


@cache
def wide_costs() -> list[float]:
    wide = LanguageModel(Config(width=128, layers=8, heads=2, kv_heads=1, head_dim=64, ffn=344,
                                vocab=4096, context=128))  # fmt: skip
    return unit_costs(wide, "flops")


def cut_by_operations_twice() -> float:
    costs = wide_costs()
    return slowest(cut(costs, 4), costs) / slowest(cut(costs, 4), costs)


def bubble_off(forward: list[float], microbatches: int) -> float:
    """How far the bubble is from that of equal stages."""
    stages = len(forward)
    spans = simulate(actions("1f1b", stages, microbatches), forward, [2 * f for f in forward])
    return abs(bubble(spans) - (stages - 1) / (microbatches + stages - 1))


def held_by_gpipe() -> int:
    held = [most_held(order) for order in actions("gpipe", 4, 8)]
    return sum(a != b for a, b in zip(held, (4, 3, 2, 1)))


def starts_of_stages_that_do_not_wait() -> int:
    """Passes that begin too early when every stage works on from the first moment."""
    done = {}
    for order in actions("gpipe", 2, 8):
        done |= {action: (float(turn), turn + 1.0) for turn, action in enumerate(order)}
    waits = [(before(action, 2), action) for action in done]
    return sum(done[b][0] < done[a][1] for a, b in waits if a)


def memory_of_gpipe_twice() -> float:
    held = [most_held(actions("gpipe", 2, 8)[0]) for _ in range(2)]
    return held[0] / held[1]


def experts_as_wide_as_the_dense_layer() -> float:
    config = Config(width=64, layers=2, heads=2, kv_heads=1, head_dim=32, ffn=256, context=64)
    active = parameter_counts(Experts(config, experts=8))["active"]
    return active - 64 * 8 - sum(p.numel() for p in MLP(config).parameters())


@cache
def recorded_dense() -> list[list[float]]:
    """Bits per byte of the dense runs, at each mark."""
    runs = results.read("experts")["runs"]
    return [r["bits_per_byte"] for r in runs if r["kind"] == "dense"]


def gain_of_the_dense_model() -> float:
    """What the dense model gains on itself: no sign at all."""
    gain = [run[-1] - run[-1] for run in recorded_dense()]
    return min(gain) * max(gain)


def bits_after_a_hundred_steps_and_after_four_hundred() -> float:
    """One of the two trained four times as long."""
    return recorded_dense()[0][0] - recorded_dense()[0][-1]


def tokens_that_all_choose_the_same() -> float:
    chosen = torch.tensor([[0, 1]] * 6)
    return abs(len(chosen.unique()) / experts_read(8, 2, 6) - 1)


def experts_without_their_weights() -> float:
    """Results of experts, added up as they come."""
    torch.manual_seed(0)
    layer, x = Experts(SMALL, experts=4), torch.randn(9, 64)
    _, chosen, _ = layer.route(x)
    plain = torch.stack([sum(layer.experts[e](t) for e in c) for t, c in zip(x, chosen.tolist())])
    return (plain - layer(x)).abs().max().item()


def pipeline_that_sends_one_way_alone() -> float:
    big = estimate.resolve_model("llama-3.1-8b")
    page = {s.name: s for s in schemes(big, devices=8, tokens=65_536, microbatches=16)}
    return page["tensor"].sent / (page["pipeline"].sent / 2) / (4 * big.layers)


def layouts_with_one_device_too_many() -> int:
    rows = [s for s in catalog.training_steps() if s.pipeline > 1]
    return sum(s.devices % ((s.tensor + 1) * s.pipeline * s.context) for s in rows)


def halves_put_together_in_the_wrong_order() -> float:
    """Bits per byte that a swap of the halves of one matrix costs."""
    whole, swapped = small(), small()
    gate = swapped.model.layers[0].mlp.gate_proj.weight
    gate.data = torch.cat(gate.data.chunk(2)[::-1])
    return abs(bits_per_byte(whole, [windows()]) - bits_per_byte(swapped, [windows()]))


def between_passes_of_stages_that_send_at_no_cost() -> float:
    spans = simulate(actions("gpipe", 2, 8), [1, 2], [3, 2])
    return bubble(spans) - bubble(replay(spans))


BLOCK = 8 * 4 * 32 * 64  # bytes between the blocks of the small model
TWINS = {
    "Columns, then rows: two halves of an MLP add up to the whole":
        half_of_one_with_half_of_another,
    "Two processes with half of every matrix end at the weights of one": sums_that_nobody_takes,
    "A block costs four sums of what it hands on, to the byte":
        lambda: traffic("gathered").sent - 4 * SMALL.layers * BLOCK,
    "Each matrix gathered by itself sends three times as much":
        lambda: traffic("pairs").sent / traffic("pairs").sent,
    "torch's plan sends as much as ours":
        lambda: traffic("by matrix").sent / traffic("pairs").sent,
    "Without a word on their common input it sums seven times, not four":
        lambda: traffic("torch's").count["all_reduce"] / SMALL.layers,
    "Cut by parameters, the costliest stage computes a sixth more, at least":
        cut_by_operations_twice,
    "Alone on a core, the cut by operations is within five percent of the best":
        lambda: results.read("stage_cuts")["over_best"]["parameters"],  # cut by something else
    "By the clock, the cut by operations is never far from the best":
        lambda: slowest([7, 1, 1, 1], wide_costs()) / slowest(cut(wide_costs(), 4), wide_costs()),
    "Both schedules idle for exactly (p - 1) / (m + p - 1) of a step":
        lambda: bubble_off([1, 1, 1, 2], 8),
    "Under 1F1B a stage holds as many micro-batches as stages follow it": held_by_gpipe,
    "Two stages end at the weights of one process; torch's, at our gradients":
        first_micro_batch_alone,
    "A stage sends the activations of one batch one way, and the loss":
        lambda: 4 + 3 * BLOCK,  # every one of four micro-batches with the whole batch
    "On the clock, no stage began before what it waits for had ended":
        starts_of_stages_that_do_not_wait,
    "Some of the bubble lies between passes, where nothing is computed":
        between_passes_of_stages_that_send_at_no_cost,
    "At the first stage GPipe keeps more than twice what 1F1B keeps": memory_of_gpipe_twice,
    "Stages that sleep idle for what the formula says, within a twentieth":
        lambda: bubble_off([1, 1, 1, 4], 32),
    "Two experts of half the width compute what one dense MLP computes":
        experts_as_wide_as_the_dense_layer,
    "After four hundred steps the sign of the gain depends on the seed": gain_of_the_dense_model,
    "After the first hundred, live, the two are a tenth of a bit apart at most":
        bits_after_a_hundred_steps_and_after_four_hundred,
    "For tokens that choose at random the formula is right to two percent":
        tokens_that_all_choose_the_same,
    "Sixteen tokens read nearly all experts by the trained router, too":
        lambda: len(torch.tensor([[0, 1]] * 16).unique()) / 8,  # all choose the same
    "Experts on two processes give what the layer gives": experts_without_their_weights,
    "Tensor parallel sends 4 L times what a pipeline sends": pipeline_that_sends_one_way_alone,
    "No published layout here cuts matrices over more than eight GPUs":
        lambda: max(step.tensor for step in catalog.training_steps()),
    "And every layout multiplies to its devices": layouts_with_one_device_too_many,
    "The check sees that nobody added up the gradients": lambda: 0.0,
    "One micro-batch less would idle for longer":
        lambda: 7 / (math.ceil(7 * 0.95 / 0.05) + 1 + 7),
    "Served, what two processes trained scores as what one would have trained":
        halves_put_together_in_the_wrong_order,
}  # fmt: skip
