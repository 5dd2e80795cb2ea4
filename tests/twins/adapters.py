"""Twins of the claims of notebook 13: what they would be given if something were broken."""

import copy
from functools import cache
from time import perf_counter

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.flop_counter import FlopCounterMode

import costlab
from costlab import catalog
from costlab.bill.counting import bytes_in_memory
from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.trainer import bits_per_byte, loss_on
from costlab.optimize.adapters import adapter_state, batch_adapters, with_adapters

TINY = Config(width=64, layers=2, heads=2, kv_heads=1, head_dim=32, ffn=128, context=64)


@cache
def tiny() -> LanguageModel:
    """A model of the book's kind that has learned a little."""
    torch.manual_seed(0)
    return costlab.heal(LanguageModel(TINY), lessons(), steps=20, lr=5e-3)


@cache
def lessons() -> list[Tensor]:
    """Batches of sixteen windows of the book's text."""
    text = corpus.as_tensor(corpus.training_text())
    return [corpus.batch(text, batch=16, context=32, seed=1, step=step) for step in range(4)]


def with_change(model: nn.Module, seed: int = 0, **knobs) -> nn.Module:
    """A copy with adapters that change something, alpha over rank being two."""
    torch.manual_seed(seed)
    new = costlab.add_adapters(model, rank=4, alpha=8, **knobs)
    for name, parameter in new.named_parameters():
        if name.endswith("lora_b"):
            nn.init.normal_(parameter, std=0.2)
    return new


def apart(a: nn.Module, b: nn.Module) -> float:
    """Distance of what two models say, over what one says."""
    with torch.inference_mode():
        x, y = (model(lessons()[0][:2]) for model in (a, b))
    return float((x - y).norm() / x.norm())


def unscaled(model: nn.Module) -> nn.Module:
    """The same adapters, and alpha over rank forgotten."""
    new = copy.deepcopy(model)
    for module in new.modules():
        if hasattr(module, "scaling"):
            module.scaling = 1.0
    return new


def layer_without_the_scale() -> float:
    """Outputs of one layer, with the scale and without."""
    layer = with_change(nn.Linear(64, 32))
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        return float((unscaled(layer)(x) - layer(x)).norm() / layer(x).norm())


def trained_parameters(model: nn.Module) -> int:
    """Parameters that are trained."""
    return sum(p.numel() for p in model.parameters() if p.requires_grad)


def one_strip_counted() -> float:
    """A alone, without B."""
    layer = nn.Linear(64, 32)
    return trained_parameters(costlab.add_adapters(layer, rank=8)) - 8 * 64


def dead(model: nn.Module, **knobs) -> nn.Module:
    """Adapters that begin with A and B zero."""
    new = costlab.add_adapters(model, rank=4, **knobs)
    for parameter in new.parameters():
        if parameter.requires_grad:
            nn.init.zeros_(parameter)
    return new


def gained(start: nn.Module) -> float:
    """Bits per byte that ten steps gain on their own text, counted from the model."""
    trained = costlab.heal(start, lessons(), steps=10, lr=5e-3)
    return bits_per_byte(tiny(), lessons()) - bits_per_byte(trained, lessons())


def dead_against_all_weights() -> float:
    """Adapters that never learn."""
    return gained(dead(tiny())) / gained(tiny())


def dead_over_four_bits() -> float:
    """Adapters that never learn do not mend the rounding either."""
    return gained(dead(tiny(), quantized=True)) / gained(costlab.add_adapters(tiny(), rank=4))


def bytes_of_momentum() -> float:
    """An optimizer with one running mean."""
    weight = nn.Parameter(torch.ones(10))
    optimizer = torch.optim.SGD([weight], lr=0.1, momentum=0.9)
    weight.sum().backward()
    optimizer.step()
    return sum(t.nbytes for s in optimizer.state.values() for t in s.values()) / weight.numel()


def training_share(model: nn.Module) -> float:
    """Bytes of weights, gradients and means over those of training all weights."""
    held = bytes_in_memory(model) + 12 * trained_parameters(model)
    return held / (16 * sum(p.numel() for p in tiny().parameters()))


def activations(model: nn.Module) -> int:
    """Bytes that autograd keeps of one forward pass, weights left out."""
    known = {t.data_ptr() for t in [*model.parameters(), *model.buffers()]}
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        loss_on(model, lessons()[0])
    return sum(t.nbytes for t in kept if t.data_ptr() not in known)


def nothing_kept() -> float:
    """A forward pass after which no gradient can be had, over one after which it can."""
    with torch.no_grad():
        none = activations(costlab.add_adapters(tiny(), rank=4))
    return none / activations(tiny())


def forward_alone() -> float:
    """A step that forgets the backward pass."""
    counted = []
    for backward in (False, True):
        with FlopCounterMode(display=False) as counter:
            loss = loss_on(tiny(), lessons()[0])
            if backward:
                loss.backward()
        counted.append(counter.get_total_flops())
    tiny().zero_grad()
    return counted[0] / counted[1]


def swept(kind: str) -> dict[float, dict]:
    """Recorded runs of a kind from the first seed, by their learning rate."""
    runs = costlab.results.read("adapters")["runs"]
    return {run["lr"]: run for run in runs if run["kind"] == kind and run["seed"] == 0}


def best_rate(kind: str) -> float:
    """The recorded learning rate at which a kind learned most."""
    runs = swept(kind)
    return min(runs, key=lambda rate: runs[rate]["docs"])


def best_rates_exchanged() -> float:
    """All weights over rank 8."""
    return best_rate("all weights") / best_rate("rank 8")


def learned_at_the_rate_of_all_weights() -> float:
    """Rank 8 at the rate that is best for all weights."""
    before, rate = costlab.results.read("adapters")["docs_before"], best_rate("all weights")
    rank_8, all_weights = (before - swept(kind)[rate]["docs"] for kind in ("rank 8", "all weights"))
    return rank_8 / all_weights


def ahead_at_the_best_rate() -> float:
    """All weights at the rate where they learn most, and forget most of what they knew."""
    best = swept("all weights")[best_rate("all weights")]
    rank_1 = swept("rank 1")[best_rate("rank 1")]
    return min(rank_1[text] - best[text] for text in ("docs", "code"))


def forgotten_by_nothing() -> float:
    """Adapters that begin as nothing and are not trained."""
    fresh = costlab.add_adapters(tiny(), rank=4)
    return bits_per_byte(fresh, lessons()) - bits_per_byte(tiny(), lessons())


def weights_moved_by_full_training() -> float:
    """Nothing frozen."""
    trained = costlab.heal(tiny(), lessons(), steps=1)
    pairs = zip(tiny().parameters(), trained.parameters(), strict=True)
    return sum(int((a != b).sum()) for a, b in pairs)


def merged_without_the_scale() -> float:
    """Outputs beside, and merged by W + B A."""
    adapted = with_change(tiny())
    return apart(adapted, costlab.merge_adapters(unscaled(adapted)))


def adapters_over_copies() -> float:
    """A model of its own below every adapter."""
    adapted = with_change(tiny())
    return bytes_in_memory(adapted) / bytes_in_memory(costlab.merge_adapters(adapted))


def customers() -> tuple[nn.Module, list[nn.Module]]:
    """Eight adapters over one model, and the eight models."""
    tasks = [with_change(tiny(), seed) for seed in range(8)]
    return batch_adapters(tasks[0], [adapter_state(task) for task in tasks]), tasks


def answers_of_the_neighbor() -> float:
    """Every row with the adapter of the next customer."""
    served, tasks = customers()
    rows = lessons()[0][:8]
    with with_adapters(served, [1, 2, 3, 4, 5, 6, 7, 0]), torch.no_grad():
        got, own = served(rows)[0], tasks[0](rows[:1])[0]
    return float((got - own).norm() / own.norm())


def seconds(work) -> float:
    """The quickest of five runs."""
    found = []
    for _ in range(5):
        start = perf_counter()
        work()
        found.append(perf_counter() - start)
    return min(found)


def rate_in_turn() -> float:
    """Eight customers one after the other, over the rate of one batch without adapters."""
    served, rows = customers()[0], lessons()[0][:8, :8]

    def in_turn() -> None:
        for number, row in enumerate(rows):
            with with_adapters(served, [number]):
                costlab.generate(served, row[None], tokens=8)

    return seconds(lambda: costlab.generate(tiny(), rows, tokens=8)) / seconds(in_turn)


def gained_without_a_batch() -> float:
    """Eight copies in turn over eight adapters in turn."""
    (served, tasks), rows = customers(), lessons()[0][:8, :8]
    copies = [costlab.merge_adapters(task) for task in tasks]

    def of_copies() -> None:
        for own, row in zip(copies, rows, strict=True):
            costlab.generate(own, row[None], tokens=8)

    def of_adapters() -> None:
        for number, row in enumerate(rows):
            with with_adapters(served, [number]):
                costlab.generate(served, row[None], tokens=8)

    return seconds(of_copies) / seconds(of_adapters)


def published_against_one_strip() -> float:
    """Rank times the inputs of queries and values, without the outputs."""
    rows = catalog.serving_results("adapter parameters")
    shapes = [catalog.model(row.model) for row in rows]
    return sum(
        8 * shape.layers * 2 * shape.hidden != row.value
        for row, shape in zip(rows, shapes, strict=True)
    )


def published(kind: str) -> dict[tuple[str, str], float]:
    """Values of LitGPT by model and precision, one text at a time."""
    rows = catalog.serving_results(kind)
    return {(row.model, row.precision): row.value for row in rows if row.concurrency == 1}


def saved_of_eight_bits() -> float:
    """The count begins from weights of eight bits, where the runs had sixteen."""
    peak = published("adapting memory")
    return max(
        (peak[name, "bf16"] - peak[name, "nf4"]) / (catalog.model(name).params * 0.4375 / 1e9)
        for name in ("llama-2-7b", "llama-2-13b")
    )


def precisions_exchanged() -> float:
    """Sixteen bits over four."""
    minutes = published("adapting time")
    names = ("llama-2-7b", "llama-2-13b")
    return min(minutes[name, "bf16"] / minutes[name, "nf4"] for name in names)


def dense_without_the_scale() -> float:
    """W + B A beside the merged matrix."""
    layer = with_change(nn.Linear(64, 32).double())
    with torch.no_grad():
        dense = layer.base + layer.lora_b @ layer.lora_a
        return float((dense - costlab.merge_adapters(layer).weight).abs().max())


def largest_gradient(model: nn.Module) -> float:
    """Over all adapters, after one backward pass."""
    loss_on(model, lessons()[0]).backward()
    return max(float(p.grad.abs().max()) for p in model.parameters() if p.requires_grad)


def by_hand(scale: float) -> float:
    """Outputs of a merged matrix beside those of the layer, whose scale is two."""
    layer = with_change(nn.Linear(64, 32, bias=False))
    x = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        merged = F.linear(x, layer.base + scale * layer.lora_b @ layer.lora_a)
        return float((merged - layer(x)).norm() / layer(x).norm())


TWINS = {
    "These lines and the package's layer give the same outputs": layer_without_the_scale,
    "An adapter has rank times inputs plus outputs parameters": one_strip_counted,
    "Before training the adapters change nothing": lambda: apart(tiny(), with_change(tiny())),
    "A thirtieth of the parameters learn over half as much": dead_against_all_weights,
    "Over four bits the adapters learn nearly as much, and mend rounding": dead_over_four_bits,
    "The running means take eight bytes for each trainable parameter": bytes_of_momentum,
    "With adapters, weights, gradients and means take a third, or less": lambda: training_share(
        tiny()
    ),
    "Over four bits they take a tenth, or less": lambda: training_share(
        costlab.add_adapters(tiny(), rank=1)
    ),
    "Most activations stay: adapters keep eight tenths of them, or more": nothing_kept,
    "At least two thirds of the operations remain": forward_alone,
    "Every kind of adapter has its best rate above that of all weights": best_rates_exchanged,
    "Each at its best, rank 8 learns 0.8 of what all weights do, or more": (
        learned_at_the_rate_of_all_weights
    ),
    "All weights, trained gently, learn more than rank 1 and forget less": ahead_at_the_best_rate,
    "Adapters forget, too": forgotten_by_nothing,
    "Training moved no frozen weight": weights_moved_by_full_training,
    "Merged or beside, the model gives the same outputs": merged_without_the_scale,
    "Eight adapters over one model take a fifth of eight copies, or less": adapters_over_copies,
    "In one batch each customer gets the answer of its own model": answers_of_the_neighbor,
    "Eight adapters in one batch keep 0.6 of the model's rate, or more": rate_in_turn,
    "One batch over one model beats eight copies in turn": gained_without_a_batch,
    "The formula gives the published numbers of parameters": published_against_one_strip,
    "Four bits save less than the count says": saved_of_eight_bits,
    "Four bits make a step half as long again, or more": precisions_exchanged,
    "In peft the same adapters give the same outputs": merged_without_the_scale,
    "Merging is W plus alpha over rank times B A": dense_without_the_scale,
    "With A and B zero no gradient is left": lambda: largest_gradient(
        costlab.add_adapters(tiny(), rank=4)
    ),
    "With A random there is one": lambda: largest_gradient(dead(tiny())),
    "With the scale the merged matrix gives the same outputs": lambda: by_hand(1.0),
    "Without it the check sees the difference": lambda: by_hand(2.0),
    "Merged, the model takes the memory that it took before": adapters_over_copies,
    "On Python it is worse than the model was": forgotten_by_nothing,
}
