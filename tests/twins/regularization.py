"""Twins of the claims of notebook 11: what they would be given if something were broken."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

import costlab
from costlab import catalog
from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.lm.trainer import bits_per_byte
from costlab.optimize.regularization import neuron_groups, prox_group_lasso_, prox_l1_

TINY = Config(width=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn=32, context=64)


def walk(kind: str) -> list[float]:
    """The weight of the figure, by steps that do or do not stop at zero."""
    w, seen = 1.0, []
    for _ in range(40):
        w -= 0.1 * (w - 0.3)
        pull = {"decay": 0.1 * w, "proximal": min(abs(w), 0.1) * ((w > 0) - (w < 0))}
        seen.append(w := w - pull[kind])
    return seen


def hard_instead_of_soft() -> float:
    """What stays is not shortened."""
    v = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    return float((F.hardshrink(v, 0.5) - F.softshrink(v, 0.5)).abs().max())


def rows_one_weight_at_a_time() -> float:
    """Soft thresholding where whole rows should be shortened."""
    v = torch.randn(6, 4, generator=torch.Generator().manual_seed(0))
    rows = v.clone()
    prox_group_lasso_([rows], strength=4.0, lr=0.5)
    return float((F.softshrink(v, 2.0) - rows).abs().max())


def problem() -> tuple[Tensor, Tensor, Tensor]:
    """Least squares with groups of two, of which the first has made the data."""
    dice = torch.Generator().manual_seed(0)
    x = torch.randn(60, 8, generator=dice, dtype=torch.float64)
    truth = torch.tensor([2.0, -1.0] + [0.0] * 6, dtype=torch.float64)
    return x, x @ truth + 0.5 * torch.randn(60, generator=dice, dtype=torch.float64), truth


def slope(w: Tensor) -> Tensor:
    x, y, _ = problem()
    return x.T @ (x @ w.flatten() - y) / 60


def solved(strength: float, *, lr: float = 0.1, told: float | None = None) -> Tensor:
    """By proximal steps that are told a learning rate of their own."""
    w = torch.zeros(8, dtype=torch.float64)
    for _ in range(2000):
        w -= lr * slope(w)
        prox_l1_([w], strength=strength, lr=lr if told is None else told)
    return w


def violation(w: Tensor, strength: float) -> float:
    g, kept = slope(w), w != 0
    breach = (g + strength * w.sign()).abs().where(kept, (g.abs() - strength).clamp(min=0))
    return float(breach.max())


def with_adam(strength: float, *, own: bool) -> Tensor:
    """Proximal steps after Adam."""
    w = torch.zeros(8, dtype=torch.float64, requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=0.01)
    for step in range(1000):
        lr = optimizer.param_groups[0]["lr"] = 0.01 * (1 - step / 1000)
        w.grad = slope(w.detach())
        optimizer.step()
        mean = (optimizer.state[w]["exp_avg_sq"] / (1 - 0.999 ** (step + 1))).sqrt()
        shrink = lr * strength / mean if own else torch.full_like(mean, lr * strength)
        w.data = w.data.sign() * (w.data.abs() - shrink).clamp(min=0)
    return w.detach()


def trained(strength: float) -> int:
    """Zeros of a small layer after a few steps of AdamW, each with a proximal step."""
    torch.manual_seed(0)
    layer, x = nn.Linear(16, 16), torch.randn(64, 16)
    optimizer = torch.optim.AdamW(layer.parameters(), lr=0.01)
    for _ in range(20):
        optimizer.zero_grad()
        layer(x).square().mean().backward()
        optimizer.step()
        prox_l1_([layer.weight], strength=strength, lr=0.01)
    return int((layer.weight == 0).sum())


def decay_in_the_gradient() -> float:
    """Adam's weight decay, divided like any slope, against the power of a factor."""
    w = nn.Parameter(torch.ones(1, dtype=torch.float64))
    optimizer = torch.optim.Adam([w], lr=0.001, weight_decay=0.5)
    for _ in range(100):
        w.grad = torch.zeros_like(w)
        optimizer.step()
    return abs(float(w.detach()) / (1 - 0.001 * 0.5) ** 100 - 1)


def apart(kind: type[torch.optim.Optimizer]) -> float:
    """What is left of a weight pulled hard, less that of one pulled gently."""
    w = nn.Parameter(torch.ones(2, dtype=torch.float64))
    optimizer = kind([w], lr=0.01, weight_decay=0.5)
    for step in range(100):
        w.grad = torch.tensor([10.0, 0.1]).double() * (-1) ** step
        optimizer.step()
    hard, soft = w.tolist()
    return hard - soft


def tiny(share: float = 0.5) -> tuple[LanguageModel, LanguageModel]:
    """A model with that share of its neurons emptied, and one without them."""
    torch.manual_seed(0)
    model = LanguageModel(TINY).eval()
    with torch.no_grad():
        for part in neuron_groups(model)[0]:
            part.mul_(10)[: round(share * 32)] = 0
    return model, costlab.shear(model, threshold=0, score="weight")


def too_weak_a_push() -> float:
    """Neurons that were pushed for half of the way."""
    parts = neuron_groups(tiny(0)[0])[0]
    prox_group_lasso_([parts], strength=float(torch.cat(parts, 1).norm(dim=1).min()) / 2, lr=1.0)
    return float((torch.cat(parts, 1) != 0).sum())


def other_neurons_removed() -> float:
    """Full neurons cut off instead of the empty ones."""
    model, _ = tiny(0)
    wrong = costlab.shear(model, to=16, score="weight")
    tokens = torch.arange(32)[None]
    with torch.inference_mode():
        return float((model(tokens) - wrong(tokens)).abs().max())


def network() -> nn.Sequential:
    """A network of 32 neurons, all of which do something."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 32, bias=False), nn.ReLU(), nn.Linear(32, 1, bias=False))


def neurons_left(shrink_: object, strength: float) -> float:
    """Neurons that are not empty after ten proximal steps of a kind."""
    parts = neuron_groups(network())[0]
    with torch.no_grad():
        for _ in range(10):
            shrink_([parts], strength=strength, lr=0.1)
    return float((torch.cat(parts, 1) != 0).any(1).sum())


def missed_by_an_empty_network() -> float:
    """Of a variance of one, when every neuron is gone."""
    y = torch.randn(256, generator=torch.Generator().manual_seed(0))
    return float((y / y.std() - 0).square().mean())


def full_neurons_of_a_network_removed() -> float:
    whole, x = network(), torch.randn(40, 8)
    cut = costlab.shear(whole, to=16, score="weight")
    with torch.no_grad():
        return float((cut(x) - whole(x)).abs().max())


def lost(to: int) -> float:
    """Bits per byte that the book's model loses when neurons are cut off at random."""
    model, text = costlab.load_model(), corpus.validation_batches(limit=1024)
    cut = costlab.shear(model, to=to, score="random")
    return bits_per_byte(cut, text) - bits_per_byte(model, text)


def sizes(kind: str) -> float:
    """Parameters without the empty neurons over those with them."""
    whole, cut = (sum(p.numel() for p in m.parameters()) for m in tiny())
    return {"cut": cut / whole, "not cut": 1.0}[kind]


def operations_against_bytes() -> float:
    """A model whose embedding holds most of its bytes and takes no operation."""
    bills = [(costlab.bill.counting.flops_per_token(m), costlab.bill.counting.bytes_in_memory(m))
             for m in tiny()]  # fmt: skip
    (flops, size), (fewer, smaller) = bills
    return abs(fewer / flops - smaller / size)


def slope_of_bytes_in_the_batch() -> float:
    """Rows of the embedding whose bytes were read."""
    model, tokens = tiny(0)[0], torch.arange(32)[None]
    F.cross_entropy(model(tokens)[0, :-1], tokens[0, 1:]).backward()
    return float(model.model.embed_tokens.weight.grad[:31].abs().max())


def rows_left(strength: float) -> float:
    """Rows that a penalty on the embedding empties."""
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    prox_l1_([rows], strength=strength, lr=1e-3)
    return float((rows == 0).all(1).sum())


def hours(child: str, parent: str) -> float:
    """Device hours of one published run over those of another."""
    runs = {run.id: run for run in catalog.published_runs()}
    return runs[child].device_hours / runs[parent].device_hours


def share_of_inner_weights(matrices: int) -> float:
    """Half of the neurons of Llama 2 7B, with so many matrices for each."""
    shape = catalog.model("llama-2-7b")
    inner = matrices * shape.layers * shape.hidden * shape.ffn
    return abs(0.5 * inner / shape.params - 1 / 3)


TWINS = {
    # a weight that the price holds at zero once it is there
    "The penalty's weight is never zero, in all forty steps": lambda: sum(
        w == 0 for w in walk("proximal")
    ),
    "The proximal steps end at zero, exactly": lambda: walk("decay")[-1],
    "The line, the package and torch's softshrink agree": hard_instead_of_soft,
    "For groups, the lines and the package agree": rows_one_weight_at_a_time,
    "Steps down the penalty's slope leave no weight at zero": lambda: float(
        (solved(0.1) == 0).sum()
    ),
    "Proximal steps meet the conditions of the optimum": lambda: violation(
        solved(0.1, told=1.0), 0.1
    ),
    "Every weight that the data have no use for is zero": lambda: float(
        solved(0.0)[problem()[2] == 0].count_nonzero()
    ),
    "The two groups that made the data stay, the other six go": lambda: float(
        solved(0.0).view(4, 2)[1:].any(1).sum()
    ),
    "The group lasso meets its conditions, too": lambda: violation(solved(0.1), 0.3),
    "At the largest pull every weight is zero": lambda: (
        3 * float((solved(0.5 * float(slope(torch.zeros(8).double()).abs().max())) == 0).sum())
    ),
    # strengths that were given and not used
    "The largest weight shrinks with every turn of the knob": lambda: float(
        solved(0.2, told=0.0).abs().max() - solved(0.1, told=0.0).abs().max()
    ),
    "Fifty steps with a penalty or with decay leave not one zero": lambda: trained(1.0),
    "After AdamW, too, a stronger proximal step leaves more zeros": lambda: (
        trained(0.0) - trained(0.0)
    ),
    "Too many zeros at once cost more than half a bit": lambda: trained(0.0) / 256,
    "AdamW's decay leaves the power of a factor, and never zero": decay_in_the_gradient,
    "At each weight's own rate, the conditions are met": lambda: violation(
        with_adam(0.1, own=False), 0.1
    ),
    "At one rate a fifth of the pull is left, at most, that should be": lambda: (
        float(slope(with_adam(0.1, own=True)).abs().max()) / 0.1
    ),
    # pushed, where nothing should push
    "Without a penalty all 32 neurons stay": lambda: neurons_left(prox_group_lasso_, 1.0),
    # zeros here and there, and no neuron that is all zero
    "The group lasso by itself leaves fewer than half": lambda: neurons_left(prox_l1_, 0.1),
    "And what is left explains nearly everything": missed_by_an_empty_network,
    "Without its empty neurons the network computes the same": full_neurons_of_a_network_removed,
    "Every neuron that was pushed is empty": too_weak_a_push,
    "Without its empty neurons the model computes the same": other_neurons_removed,
    # a cut that cut nothing
    "Emptied slowly, the model is better than cut at once": lambda: lost(1024),
    # neurons cut off at random, and nothing healed
    "Cut and healed comes within a tenth of a bit of it": lambda: lost(256),
    "Gates and healing took a fiftieth of the parent's hours, or less": lambda: hours(
        "llama-2-7b", "llama-2-70b"
    ),
    # a neuron taken for a row and a column, without its gate
    "Half of the neurons are about a third of that model": lambda: share_of_inner_weights(2),
    "PyTorch's optimizer and softshrink give the same solution": lambda: float(
        (solved(0.1) - solved(0.1, told=1.0)).abs().max()
    ),
    "AdamW decays both weights alike, to within two hundredths": lambda: apart(torch.optim.Adam),
    "Adam decays the gently pulled weight much more": lambda: apart(torch.optim.AdamW),
    "The right step gives the same solution at a quarter of the rate": lambda: float(
        (solved(0.1, told=1.0) - solved(0.1, lr=0.025, told=1.0)).abs().max()
    ),
    "The check finds the forgotten rate: the conditions are missed": lambda: violation(
        solved(0.1), 0.1
    ),
    "What was solved is the problem of strength over rate": lambda: violation(
        solved(0.1), 0.1 / 0.1
    ),
    "A byte that is not in the batch has a slope of exactly zero": slope_of_bytes_in_the_batch,
    "Nothing holds its row: rows of the text's bytes are emptied": lambda: rows_left(0.0),
    # counted with the matrices
    "Normalizations are less than a thousandth of the parameters": lambda: sizes("not cut"),
    "Empty neurons save no byte of memory": lambda: sizes("cut"),
    "Empty neurons save not one operation": lambda: sizes("cut"),
    "Removed, they save a third of the bytes and more": lambda: sizes("not cut"),
    "Removed, they save as large a share of the operations": operations_against_bytes,
    # the same model timed twice, at best
    "Reading a text is cheaper without them than with their zeros": lambda: sizes("not cut"),
}
