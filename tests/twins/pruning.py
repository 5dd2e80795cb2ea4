"""Twins of the claims of notebook 10: what they would be given if something were broken."""

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils import prune as torch_prune

import costlab
from costlab import catalog
from costlab.bill.machine import best_of
from costlab.compress.encodings import encode
from costlab.compress.gptq import inverse_factor
from costlab.compress.rounding import fit_grid
from costlab.lm.model import Config, LanguageModel
from costlab.modules import layers
from costlab.optimize.pruning import Rule, brain_surgeon, magnitude, sparsegpt, wanda

HALF, TWO_OF_FOUR = Rule(sparsity=0.5), Rule(pattern="2:4")


def problem(seed: int = 0) -> tuple[Tensor, Tensor]:
    """A matrix (32, 64) and the Hessian of inputs that differ in size and hang together."""
    dice = torch.Generator().manual_seed(seed)
    inputs = torch.randn(500, 16, generator=dice) @ torch.randn(16, 64, generator=dice)
    inputs = (inputs + torch.randn(500, 64, generator=dice)) * torch.linspace(0.1, 3, 64)
    return torch.randn(32, 64, generator=dice), inputs.t() @ inputs / 500


def error(new: Tensor, weight: Tensor, hessian: Tensor) -> float:
    """Squared error of the outputs."""
    return float((((new - weight) @ hessian) * (new - weight)).sum())


def ranked(scores: Tensor, weight: Tensor, rule: Rule = HALF) -> Tensor:
    """The matrix with its lowest scores zero."""
    return weight.where(rule.keep(scores.flatten()).view_as(weight), 0)


def without_calibration(rule: Rule) -> float:
    """SparseGPT that was told nothing about the inputs, over size."""
    weight, hessian = problem()
    blind = sparsegpt(weight, torch.eye(64), rule)
    by_size = ranked(magnitude(weight), weight, rule)
    return error(blind, weight, hessian) / error(by_size, weight, hessian)


def share_of_wins_upside_down() -> float:
    """Wanda that divides by the inputs: how often it errs less than size."""
    wins = 0
    for seed in range(5):
        weight, hessian = problem(seed)
        upside_down = ranked(weight.abs() / hessian.diagonal().sqrt(), weight)
        by_size = ranked(magnitude(weight), weight)
        wins += error(upside_down, weight, hessian) < error(by_size, weight, hessian)
    return wins / 5


def gain_against_itself() -> float:
    """SparseGPT that neither chooses nor moves better than Wanda."""
    weight, hessian = problem()
    by_size, by_wanda = (ranked(s, weight) for s in (magnitude(weight), wanda(weight, hessian)))
    gain = error(by_size, weight, hessian) - error(by_wanda, weight, hessian)
    return gain / gain


def without_inputs(rows: bool) -> float:
    """Wanda whose inputs are all alike, over size."""
    weight, hessian = problem()
    shape = weight.shape if rows else (-1,)
    scores = [wanda(weight, torch.eye(64)), magnitude(weight)]
    kept = [HALF.keep(s.reshape(shape)).view_as(weight) for s in scores]
    one, other = (error(weight.where(k, 0), weight, hessian) for k in kept)
    return one / other


def wanda_that_moves() -> float:
    """SparseGPT under Wanda's name, over size, two of every four."""
    weight, hessian = problem()
    by_size = ranked(magnitude(weight), weight, TWO_OF_FOUR)
    moved = sparsegpt(weight, hessian, TWO_OF_FOUR)
    return error(moved, weight, hessian) / error(by_size, weight, hessian)


def stack() -> nn.Sequential:
    """A small network."""
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(16, 32), nn.ReLU(), nn.Linear(32, 8)).requires_grad_(False)


def off(model: nn.Module, new: nn.Module) -> float:
    """Error of the outputs, as a share of their squares."""
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    return float((new(x) - model(x)).square().sum() / model(x).square().sum())


def scope_ignored() -> float:
    """Ranked in each layer, whatever was asked for."""
    model = stack()
    found = [off(model, costlab.prune(model, sparsity=0.5)) for _ in ("layer", "global")]
    return found[0] / found[1]


def no_neuron() -> float:
    """No neuron goes."""
    model = stack()
    none = costlab.prune(model, sparsity=0, pattern="neuron")
    return off(model, none) / off(model, costlab.prune(model, sparsity=0.5))


def quarters_of_inputs_alike() -> float:
    """Inputs that have nothing to do with each other: no column has an advantage."""
    weight = problem()[0]
    zeros = (sparsegpt(weight, torch.eye(64), HALF) == 0).float().mean(0).view(4, 16).mean(1)
    return float(zeros[0] / zeros[-1])


def healed_without_masks() -> float:
    """Zeros that training without masks adds: it takes them all away."""
    shape = Config(width=16, layers=1, heads=2, kv_heads=1, head_dim=8, ffn=32, context=32)
    pruned = costlab.prune(LanguageModel(shape), sparsity=0.5)
    text = torch.arange(64).view(2, 32)
    healed = costlab.heal(pruned, text, steps=2, lr=0.1)
    before, after = (
        sum(int((m.weight == 0).sum()) for m in layers(model, ignore=("lm_head",)).values())
        for model in (pruned, healed)
    )
    return after - before


def won_back_by_nothing() -> float:
    """What no step at all wins back."""
    model = stack()
    lost = off(model, costlab.prune(model, sparsity=0.7))
    return 1 - lost / lost


def not_healed() -> float:
    """A pruned network that was never trained on, against one that lost nothing."""
    model = stack()
    return abs(off(model, costlab.prune(model, sparsity=0.7)) - off(model, model))


def time_of(removed: float) -> float:
    """Time of a product of which a share of the rows was removed, over that of the whole."""
    weight, rows = torch.randn(1024, 1024), torch.randn(64, 1024)
    left = weight[: round((1 - removed) * 1024)].clone()
    with torch.inference_mode():
        whole = best_of(lambda: F.linear(rows, weight), "cpu", repeats=20)
        return best_of(lambda: F.linear(rows, left), "cpu", repeats=20) / whole


def format_that_exists() -> float:
    """A sparse format that processors have is not refused."""
    try:
        torch.eye(8).to_sparse_coo()
    except RuntimeError:
        return 1
    return 0


def other_neurons_removed() -> float:
    """Some neurons zero, others removed."""
    model = stack()
    masked = costlab.prune(model, sparsity=0.5, pattern="neuron")
    removed = costlab.shear(model, fraction=0.5, score="random", round_to=1)
    x = torch.randn(64, 16, generator=torch.Generator().manual_seed(1))
    return float((masked(x) - removed(x)).abs().max())


def stored(zeros: float, format: str) -> int:
    """Bytes of one matrix with such a share of zeros; each weight fits in 16 bits."""
    weight = torch.randn(4096, generator=torch.Generator().manual_seed(0)).bfloat16()
    weight[: round(zeros * 4096)] = 0
    return sum(part.nbytes for part in encode(weight, format)[1].values())


def two_bits() -> float:
    """Far fewer bits than eight: the error of rounding over that of SparseGPT."""
    weight, hessian = problem()
    grid = fit_grid(weight, bits=2)
    rounded = grid.decode(grid.encode(weight))
    return error(rounded, weight, hessian) / error(
        sparsegpt(weight, hessian, HALF), weight, hessian
    )


def published_the_other_way_round(method: str) -> float:
    """Size's loss over the method's."""
    bits = {
        (r.model, r.note, r.method): math.log2(r.value)
        for r in catalog.quality_results(technique="pruning")
    }
    none = {model: value for (model, _, m), value in bits.items() if m == "none"}
    return max(
        (bits[model, note, "magnitude"] - none[model]) / (value - none[model])
        for (model, note, m), value in bits.items()
        if m == method
    )


def pruned_twice() -> float:
    """Half of the weights, and half of what was left."""
    layer = nn.Linear(64, 32)
    for _ in range(2):
        torch_prune.l1_unstructured(layer, "weight", amount=0.5)
    return float((layer.weight == 0).sum()) - 64 * 32 / 2


def torch_by_size() -> float:
    """Scores that were not handed over."""
    weight, hessian = problem()
    layer = nn.Linear(64, 32)
    layer.weight.data.copy_(weight)
    torch_prune.l1_unstructured(layer, "weight", amount=0.5)
    ours = ranked(wanda(weight, hessian), weight) != 0
    return float((layer.weight_mask.bool() != ours).float().mean())


def broken_word(seed: int) -> float:
    """Error on the inputs of one problem over what those of another, or the same, promised."""
    weight, hessian = problem()
    given = problem(seed)[1]
    new = sparsegpt(weight, given, HALF)
    found = [error(new, weight, h) / error(0 * weight, weight, h) for h in (hessian, given)]
    return found[0] / found[1]


def same_text() -> float:
    """What calibration on the text of the service adds, twice."""
    weight, hessian = problem()
    found = [error(sparsegpt(weight, hessian, HALF), weight, hessian) for _ in "ab"]
    return found[0] / found[1]


def best_way_does_not_move() -> float:
    """The surgeon's rise where the other weight stays: the larger one goes for w^2 H_11 / 2."""
    weight, hessian = torch.tensor([1.0, 0.6]), torch.tensor([[1.0, 1.2], [1.2, 4.0]])
    rises = weight**2 * hessian.diagonal() / 2
    return float(rises[1] / rises[0])


def surgeon_without_damping() -> float:
    """The others moved for another Hessian than the one that is solved with."""
    weight, hessian = (t.double() for t in problem())
    damped = hessian + torch.eye(64).double()
    new = brain_surgeon(weight[0], damped + torch.eye(64).double(), 0)[0]
    solved = torch.linalg.solve(damped[1:, 1:], damped[1:] @ weight[0])
    return float((new[1:] - solved).norm() / solved.norm())


def diagonal_of_the_hessian() -> float:
    """The diagonal of H where that of its inverse belongs."""
    diagonal = problem()[1].diagonal()
    return float((1 / (diagonal * diagonal)).max())


def another_threshold() -> float:
    """Weights that differ where clipping had twice the threshold."""
    model = stack()
    one, other = costlab.prune(model, threshold=0.1), costlab.clip_weights(model, threshold=0.2)
    return float((one[0].weight != other[0].weight).sum())


def ranked_by_rows() -> float:
    """Weights that are kept otherwise when each row is ranked alone."""
    weight = problem()[0]
    rows = HALF.keep(weight.abs())
    return float((rows != (ranked(weight.abs(), weight) != 0)).sum())


def factor_of_the_hessian() -> float:
    """The factor of H in place of that of its inverse."""
    hessian = problem()[1].double() + torch.eye(64).double()
    lower = inverse_factor(torch.linalg.inv(hessian), damping=0)
    left = torch.linalg.inv(hessian)[0, 0]
    return float((lower[0, 0] ** 2 / left - 1).abs())


def size_of(removed: bool) -> float:
    """Bytes of a network with half of its neurons removed, or only zero."""
    model = stack()
    masked = costlab.prune(model, sparsity=0.5, pattern="neuron")
    new = costlab.shear(masked, threshold=0, score="weight", round_to=1) if removed else masked
    sizes = [sum(p.nbytes for p in m.parameters()) for m in (new, model)]
    return sizes[0] / sizes[1]


TWINS = {
    "Removing the smaller weight costs more than twice the best way": best_way_does_not_move,
    "The surgeon moves the others to where solving for them puts them": surgeon_without_damping,
    "Letting the others move never makes a removal dearer": diagonal_of_the_hessian,
    "By size and with a threshold, pruning is clipping": another_threshold,
    "These lines and the package keep the same weights": ranked_by_rows,
    "One factorization holds the inverses of all that is left": factor_of_the_hessian,
    "In nine of ten matrices Wanda errs less than size, or more": share_of_wins_upside_down,
    "In every matrix SparseGPT leaves less than half of size's error": lambda: without_calibration(
        HALF
    ),
    "SparseGPT adds at most six tenths of what size adds": lambda: without_calibration(HALF),
    "Wanda gains less than half of what SparseGPT gains": gain_against_itself,
    "Ranked over whole matrices, Wanda's scores beat size": lambda: without_inputs(rows=False),
    "Ranked within rows, too": lambda: without_inputs(rows=True),
    "In 2:4, too, SparseGPT adds at most six tenths of size's": lambda: without_calibration(
        TWO_OF_FOUR
    ),
    "In 2:4 Wanda adds no less than nine tenths of size's": wanda_that_moves,
    "In down_proj, where inputs stand out, Wanda gains": lambda: without_inputs(rows=False),
    "In the other matrices, too, its errors are smaller": lambda: without_inputs(rows=False),
    "And yet it adds no less than size there": wanda_that_moves,
    "SparseGPT in 2:4 beats size with its zeros anywhere": lambda: without_calibration(TWO_OF_FOUR),
    "Ranked over all layers, size loses less": scope_ignored,
    "Whole neurons cost over twice what scattered weights do": no_neuron,
    # inputs all alike: Wanda is size
    "At seventy percent, Wanda adds more than size": lambda: without_inputs(rows=False),
    "At seventy percent, SparseGPT adds under a third of size's loss": lambda: without_calibration(
        Rule(sparsity=0.7)
    ),
    "The first quarter loses more than twice the share of the last": quarters_of_inputs_alike,
    "Training under masks leaves every zero where it was": healed_without_masks,
    "A few steps win back more than a third of what was lost": won_back_by_nothing,
    "At so few steps, rounds and all at once end close together": not_healed,
    "Zeros in the usual format, in any pattern, save no third of it": lambda: time_of(0.9),
    "Rows that are removed do save time": lambda: time_of(0.0),
    "PyTorch has no 2:4 product for a processor": format_that_exists,
    "Neurons set to zero and neurons removed give the same answers": other_neurons_removed,
    # pruning that made no zeros
    "Half of the weights zero make the file a third smaller and more": lambda: (
        stored(0.0, "sparse") / stored(0.0, "packed")
    ),
    # sixteen bits instead of eight
    "Eight bits make it smaller still": lambda: stored(0.0, "packed") / stored(0.5, "sparse"),
    "And lose less than half as much": two_bits,
    "SparseGPT loses less than size in every published row": lambda: published_the_other_way_round(
        "sparsegpt"
    ),
    "So does Wanda, in every published row": lambda: published_the_other_way_round("wanda"),
    "PyTorch removes as many weights as we do": pruned_twice,
    "And the same ones, but for ties": torch_by_size,
    "On its own inputs the layer keeps its word within a factor of three": lambda: broken_word(1),
    # statistics of the very inputs that the layer gets
    "On the inputs of another layer it breaks it by more than ten": lambda: broken_word(0),
    "And on digits by more than fifty": lambda: broken_word(0),
    "Calibrated on digits, SparseGPT adds twice as much or more": same_text,
    "Half of the weights zero take as many bytes of memory as before": lambda: size_of(True),
    "Removed neurons take theirs along": lambda: size_of(False),
}
