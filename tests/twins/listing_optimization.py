"""Twins of the claims of notebook 16: what they would be given if something were broken.

Two of its claims stand in notebook 14 as well and have their twins there.
"""

import tempfile
from pathlib import Path

import safetensors.torch
import torch
from torch import nn
from torch.nn import functional as F
from torch.nn.utils import prune

import costlab
from costlab.bill.machine import best_of
from costlab.lm import corpus
from costlab.lm.trainer import bits_per_byte


def digit_net(seed: int = 0) -> nn.Sequential:
    """The classifier of the chapter, untrained."""
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(88, 128), nn.ReLU(), nn.Linear(128, 10))


def matrices(net: nn.Sequential) -> list[torch.Tensor]:
    return [net[0].weight.detach(), net[2].weight.detach()]


def by_torch(method, amount: float, *, settled: bool = False) -> nn.Sequential:
    """The classifier, pruned by a function of torch, with its masks or without."""
    net = digit_net()
    for layer in (net[0], net[2]):
        method(layer, "weight", amount=amount)
        if settled:
            prune.remove(layer, "weight")
    return net


def size(net: nn.Module) -> int:
    return len(safetensors.torch.save(net.state_dict()))


def differing_zeros(one: nn.Sequential, other: nn.Sequential) -> float:
    pairs = zip(matrices(one), matrices(other))
    return float(sum(((a == 0) != (b == 0)).sum() for a, b in pairs))


def count_of_a_threshold() -> float:
    """Weights that a threshold takes, against the tenth that was to go."""
    clipped = costlab.clip_weights(digit_net(), threshold=0.05)
    return float(sum(abs(int((w == 0).sum()) - round(0.1 * w.numel())) for w in matrices(clipped)))


def threshold_of_tenfold() -> float:
    """A threshold in place of the share: it notices the unit."""
    tenfold = digit_net()
    for parameter in tenfold.parameters():
        parameter.data *= 10
    return differing_zeros(
        costlab.prune(tenfold, threshold=0.05), costlab.prune(digit_net(), threshold=0.05)
    )


def bits_lost(**knob: float) -> float:
    """Of the language model, pruned."""
    model, text = costlab.load_model(), corpus.validation_batches(limit=1024)
    return bits_per_byte(costlab.prune(model, **knob), text) - bits_per_byte(model, text)


def left_by_one_call() -> float:
    """A second call that finds its share gone already, and does nothing."""
    layer = nn.Linear(12, 1)
    prune.l1_unstructured(layer, "weight", amount=0.5)
    return int((layer.weight != 0).sum()) / 12


def one_sided() -> float:
    """A threshold without the size: all negative weights go."""
    weight = digit_net()[0].weight.detach()
    return float((F.threshold(weight, 0.1, 0.0) != F.hardshrink(weight, 0.1)).sum())


def returned(*, settled: bool) -> float:
    """Share of the zeros that a step of training moves."""
    net = by_torch(prune.l1_unstructured, 0.75, settled=settled)
    zero = torch.cat([(w == 0).flatten() for w in matrices(net)])
    optimizer = torch.optim.AdamW(net.parameters(), lr=3e-3)
    net(torch.randn(32, 88)).square().mean().backward()
    optimizer.step()
    net(torch.randn(1, 88))  # torch computes the weight when the layer is called
    now = torch.cat([(w == 0).flatten() for w in matrices(net)])
    return 1 - float(now[zero].float().mean())


def other_neurons() -> float:
    """Cut at random, zeroed by size."""
    rows = torch.randn(64, 88)
    zeroed = costlab.prune(digit_net(), sparsity=0.5, pattern="neuron")
    cut = costlab.shear(digit_net(), fraction=0.5, score="random")
    with torch.inference_mode():
        return (zeroed(rows) - cut(rows)).abs().max().item()


def numbers(model: nn.Module) -> int:
    return sum(p.numel() for p in model.parameters())


def zeros_instead_of_cuts() -> nn.Sequential:
    return costlab.prune(digit_net(), sparsity=0.5, pattern="neuron")


def ten_patterns(count: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Noisy copies of ten patterns, and which one each is."""
    dice = torch.Generator().manual_seed(1)
    patterns, labels = torch.randn(10, 88, generator=dice), torch.arange(count) % 10
    return patterns[labels] + 0.2 * torch.randn(count, 88, generator=dice), labels


def accuracy(net: nn.Module) -> float:
    inputs, labels = ten_patterns(200)
    with torch.inference_mode():
        return float((net(inputs).argmax(-1) == labels).float().mean())


def trained() -> nn.Module:
    return costlab.heal(digit_net(), ten_patterns(100), steps=30, lr=1e-2)


def won_without_learning() -> float:
    """Healing at a rate of next to nothing."""
    cut = costlab.shear(trained(), fraction=0.9, score="random")
    healed = costlab.heal(cut, ten_patterns(100), steps=3, lr=1e-12)
    return accuracy(healed) - accuracy(cut)


def lost_without_healing() -> float:
    """Nearly all neurons gone at random, and no healing."""
    net = trained()
    return accuracy(net) - accuracy(costlab.shear(net, to=2, score="random"))


def weights_gone_by_zeros() -> float:
    """Neurons of the language model at zero: no weight is gone, whatever the shapes promise."""
    model = costlab.load_model()
    zeroed = costlab.prune(model, sparsity=0.5, pattern="neuron")
    config = model.config
    promised = 3 * config.layers * config.width * (config.ffn // 2)
    return float(numbers(model) - numbers(zeroed) - promised)


def stored(net: nn.Module, **how: str) -> int:
    with tempfile.TemporaryDirectory() as folder:
        return costlab.save(net, Path(folder) / "m.safetensors", **how)


def zeros_stored_whole() -> float:
    """A file that knows nothing of zeros, against the cut model."""
    zeroed = costlab.prune(digit_net(), sparsity=0.5)
    cut = costlab.shear(digit_net(), fraction=0.5, score="weight")
    return stored(zeroed) / stored(cut)


def bits_of(model: nn.Module) -> float:
    return bits_per_byte(model, corpus.validation_batches(limit=1024))


def same_neurons_zeroed() -> float:
    """The same neurons, set to zero in place of other weights: no difference in quality."""
    model = costlab.load_model()
    cut = costlab.shear(model, fraction=0.5, score="weight")
    return bits_of(cut) - bits_of(costlab.prune(model, sparsity=0.5, pattern="neuron"))


def bits_won_without_learning() -> float:
    """Healing of the language model at a rate of next to nothing."""
    cut = costlab.shear(costlab.load_model(), fraction=0.5, score="weight")
    healed = costlab.heal(cut, steps=1, batch_size=1, context=32, lr=1e-12)
    return bits_of(cut) - bits_of(healed)


def more_cut_than_zeroed() -> float:
    """Shares gone where most neurons are cut, less where few weights are zeroed."""
    whole, cut = numbers(digit_net()), costlab.shear(digit_net(), fraction=0.75, score="weight")
    zeroed = costlab.prune(digit_net(), sparsity=0.25)
    left = sum(int(p.count_nonzero()) for p in zeroed.parameters())
    return (left - numbers(cut)) / whole


def step_time(*, masked: bool) -> float:
    """Of one layer and one row: the mask multiplied in, or three outputs in four cut off."""
    weight, row = torch.randn(1024, 1024), torch.randn(1, 1024)
    mask, left = torch.ones_like(weight), weight[:256].clone()
    with torch.inference_mode():
        whole = best_of(lambda: F.linear(row, weight), "cpu", repeats=30)
        changed = (lambda: F.linear(row, weight * mask)) if masked else lambda: F.linear(row, left)
        return best_of(changed, "cpu", repeats=30) / whole


def zeros_beyond_the_share() -> float:
    """A second call of torch, which takes of what is left."""
    layer, ours = digit_net()[0], costlab.prune(digit_net(), sparsity=0.5)[0]
    for _ in range(2):
        prune.l1_unstructured(layer, "weight", amount=0.5)
    return float((layer.weight == 0).sum() - (ours.weight == 0).sum())


def bits_apart_at_random() -> float:
    """Zeros anywhere, not where the weights are small."""
    model = costlab.load_model()
    ours = bits_of(costlab.prune(model, sparsity=0.5))
    for name, layer in model.named_modules():
        if isinstance(layer, nn.Linear) and name != "lm_head":
            prune.random_unstructured(layer, "weight", amount=0.5)
    return abs(bits_of(model) - ours)


TWINS = {
    "amount=0.1 takes a tenth of each matrix, to the nearest weight": count_of_a_threshold,
    "All weights ten times as large: the same share, the same weights": threshold_of_tenfold,
    # each number taken for the other
    "As a share, 0.1 costs the language model less than a tenth of a bit": lambda: bits_lost(
        threshold=0.1
    ),
    "As a threshold, it costs more than a bit per byte": lambda: bits_lost(sparsity=0.1),
    "0.5 twice leaves a quarter: the second takes of what is left": left_by_one_call,
    "Pruned by torch, the model takes almost twice the bytes": lambda: (
        size(by_torch(prune.l1_unstructured, 0.1, settled=True)) / size(digit_net())
    ),
    "Without the masks, as many bytes as before pruning": lambda: float(
        size(by_torch(prune.l1_unstructured, 0.1)) - size(digit_net())
    ),
    "The class and torch's own hardshrink agree on every weight": one_sided,
    "Trained on under torch's masks, no zero comes back": lambda: returned(settled=True),
    "Removed before the training, most zeros come back": lambda: returned(settled=False),
    # weights drawn at random, whatever their size
    "By share and by threshold, torch and the book agree on every zero": lambda: differing_zeros(
        by_torch(prune.random_unstructured, 0.5), costlab.prune(digit_net(), sparsity=0.5)
    ),
    "Neurons at zero and neurons cut off give the same answers": other_neurons,
    "What remains is what the formula says": lambda: float(
        numbers(zeros_instead_of_cuts()) - (64 * 89 + 10 * 65)
    ),
    "A hundred further steps win back accuracy": won_without_learning,
    "Healed, half of the neurons lose less than two points of accuracy": lost_without_healing,
    "In half of the memory, and a little": lambda: (
        numbers(zeros_instead_of_cuts()) / numbers(digit_net())
    ),
    "As many weights are gone as the shapes say": weights_gone_by_zeros,
    # a model that really is smaller
    "As they are stored by default, zeros save no byte": lambda: float(
        stored(costlab.shear(digit_net(), fraction=0.5, score="weight")) - stored(digit_net())
    ),
    "In a sparse file they take less room than the cut model": zeros_stored_whole,
    "At each step the cut removes fewer weights than the zeros do": more_cut_than_zeroed,
    "And it loses more quality": same_neurons_zeroed,
    "Twenty steps of healing win back quality, for both": bits_won_without_learning,
    "And more of it for the cut model, which had lost more": bits_won_without_learning,
    "Healed alike, the zeros are still ahead": same_neurons_zeroed,
    "Under torch's masks a step takes longer than unpruned": lambda: step_time(masked=False),
    "With neurons cut off, the model scores text faster": lambda: 1 / step_time(masked=True),
    "As many zeros by torch as by the book": zeros_beyond_the_share,
    "They cost the same quality, to a hundredth of a bit": bits_apart_at_random,
    "The cut model takes less than two thirds of the memory": lambda: (
        numbers(zeros_instead_of_cuts()) / numbers(digit_net())
    ),
}
