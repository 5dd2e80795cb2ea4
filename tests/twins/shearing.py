"""Twins of the claims of notebook 12: what they would be given if something were broken."""

import copy
from functools import cache

import torch
from torch import Tensor, nn

import costlab
from costlab import catalog
from costlab.bill.counting import bytes_in_memory, flops_per_token
from costlab.bill.machine import best_of
from costlab.lm import corpus
from costlab.lm.model import MLP, Config, LanguageModel
from costlab.lm.trainer import bits_per_byte
from costlab.optimize.shearing import unit_scores

TINY = Config(width=16, layers=2, heads=4, kv_heads=2, head_dim=4, ffn=32, context=32)


@cache
def tiny() -> LanguageModel:
    """A model whose parts matter, with four neurons in each layer that do half of the work."""
    torch.manual_seed(0)
    model = LanguageModel(TINY)
    for parameter in model.parameters():
        nn.init.normal_(parameter, std=0.3)
    return model.eval()


def tokens() -> Tensor:
    return torch.arange(64).view(2, 32) % 50


def inputs() -> Tensor:
    return torch.randn(40, 16, generator=torch.Generator().manual_seed(0))


def scores_without_the_reader() -> float:
    """The size of what neurons put out, not of what they add: the columns are forgotten."""
    part, x = tiny().model.layers[0].mlp, inputs()
    with torch.no_grad():
        h = nn.functional.silu(part.gate_proj(x)) * part.up_proj(x)
        right = h.pow(2).mean(0).sqrt() * part.down_proj.weight.norm(dim=0)
        wrong = h.pow(2).mean(0).sqrt()
    return float((wrong / right - 1).abs().max())


def held_by_any_quarter() -> float:
    """Squares in a quarter of the neurons that nobody sorted."""
    score = unit_scores(tiny(), calibration=tokens())["model.layers.0.mlp"].square()
    return float(score[:8].sum() / score.sum())


def held_by_all() -> float:
    """A quarter that is the whole."""
    score = unit_scores(tiny(), calibration=tokens())["model.layers.0.mlp"].square()
    return float(score.sum() / score.sum())


def weights_of_the_others() -> float:
    """The lower half kept instead of the upper."""
    part = tiny().model.layers[0].mlp
    order = unit_scores(tiny(), calibration=tokens())["model.layers.0.mlp"].argsort()
    upper, lower = (part.up_proj.weight[half.sort().values] for half in (order[16:], order[:16]))
    return float((upper != lower).sum())


@torch.inference_mode()
def logits_off_without_a_mask() -> float:
    """The sheared model against the whole one, whose neurons all still work."""
    small = costlab.shear(tiny(), fraction=0.5, calibration=tokens())
    return float((small(tokens()) - tiny()(tokens())).abs().max())


def sheared_over_whole(count: object, **knobs: object) -> float:
    """What a count gives for a sheared model, over the whole."""
    small = costlab.shear(tiny(), score="weight", **knobs)
    return count(small) / count(tiny())


def middle_that_shrinks_on_one_side() -> float:
    """The share p where 2p - p^2 is due."""
    chain = nn.Sequential(nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 8))
    small = costlab.shear(chain, fraction=0.75, score="weight")
    return 1 - small[0].weight.numel() / chain[0].weight.numel() - (2 * 0.75 - 0.75**2)


def bits_after(*, score: str, seed: int = 0) -> float:
    small = costlab.shear(tiny(), fraction=0.5, score=score, seed=seed, calibration=tokens())
    return bits_per_byte(small, [tokens()])


def chosen_like_the_rival() -> float:
    """A "chosen" half that was drawn at random, too."""
    whole = bits_per_byte(tiny(), [tokens()])
    return (bits_after(score="random") - whole) / (bits_after(score="random") - whole)


def a_way_that_is_no_choice() -> float:
    """One of the two ways chooses like the random one."""
    whole = bits_per_byte(tiny(), [tokens()])
    chosen, drawn = (bits_after(score=score) - whole for score in ("weight", "random"))
    return abs(drawn - chosen) / abs(drawn)


def gained_by_nothing() -> float:
    """A model against itself."""
    return bits_per_byte(tiny(), [tokens()]) - bits_per_byte(tiny(), [tokens()])


def kept_by_the_first_layer_alone() -> float:
    """One number for all layers, taken from a layer that needs less than the neediest."""
    scores = unit_scores(tiny(), calibration=tokens())
    level = float(torch.cat(list(scores.values())).median())
    above = [int((score > level).sum()) for score in scores.values()]
    return min(above) - max(above)


def lost_by_cutting_the_layer_that_turns_most() -> float:
    """The layer that turns the stream most, taken for the one that turns it least."""
    model, text = costlab.load_model(), corpus.validation_batches(context=256, limit=1024)

    def without(number: int) -> float:
        new = copy.deepcopy(model)
        del new.model.layers[number]
        return bits_per_byte(new, text)

    turns = unit_scores(model, "layers", calibration=text)["model.layers"]
    return without(int(turns.argmax())) - without(int(turns.argmin()))


def faster_with_zeros() -> float:
    """Half of the neurons at zero, and not removed."""
    part, x = MLP(Config(width=256, ffn=1024)), torch.randn(64, 256)
    masked = copy.deepcopy(part)
    masked.down_proj.weight.data[:, ::2] = 0
    with torch.inference_mode():
        whole = best_of(lambda: part(x), "cpu", repeats=20)
        return whole / best_of(lambda: masked(x), "cpu", repeats=20)


def predicted_for_the_whole() -> float:
    """The half, beside a prediction that counts the neurons it has no more."""
    whole, half = (sum(p.numel() for p in MLP(Config(width=64, ffn=n)).parameters())
                   for n in (256, 128))  # fmt: skip
    return abs(half / whole - 1)


def ahead_without_a_head_start() -> float:
    """Two that both start from nothing."""
    found = []
    for seed in (0, 1):
        torch.manual_seed(seed)
        model = costlab.heal(LanguageModel(TINY), tokens(), steps=2)
        found.append(bits_per_byte(model, [tokens()]))
    return abs(found[0] - found[1])


def spread_of_the_healed() -> float:
    """The healed against themselves: the worst seed and the best."""
    kind = {"start": "sheared", "child": "width", "times": 1}
    runs = costlab.results.read("shearing")["runs"]
    bits = [run["bits_per_byte"] for run in runs if kind.items() <= run.items()]
    return max(bits) - min(bits)


def published(name: str) -> object:
    return next(run for run in catalog.published_runs() if run.id == name)


def operations_when_all_tokens_are_read_again() -> float:
    """A child trained on as many tokens as the model from nothing."""
    child, alone = published("sheared-llama-2.7b"), published("open-llama-3b-v2")
    return child.params / alone.params


def repaid_by_the_hours_of_the_child() -> float:
    """What healing costs taken for what it saves."""
    return published("llama-2-7b").device_hours / published("sheared-llama-2.7b").device_hours


def saving_of_the_tokens_alone() -> float:
    """The forty times fewer tokens of a child taken for the saving of the family."""
    return abs(40 / 1.8 - 1)


def saved_with_another_seed() -> float:
    """Weights that were not the stored ones."""
    with torch.inference_mode():
        torch.manual_seed(1)
        other = LanguageModel(TINY).eval()
        return float((other(tokens()) - tiny()(tokens())).abs().max())


def off_by(mixed: bool) -> float:
    """A sheared part against the masked one; mixed: gate and up keep different neurons."""
    part, keep = tiny().model.layers[0].mlp, torch.arange(16)
    hole, cut = copy.deepcopy(part), copy.deepcopy(part)
    hole.down_proj.weight.data[:, 16:] = 0
    cut.gate_proj.weight = nn.Parameter(part.gate_proj.weight[keep + 16 * mixed])
    cut.up_proj.weight = nn.Parameter(part.up_proj.weight[keep])
    cut.down_proj.weight = nn.Parameter(part.down_proj.weight[:, keep])
    with torch.no_grad():
        want = hole(inputs())
        return float((cut(inputs()) - want).norm() / want.norm())


TWINS = {
    "These lines and the package give the same scores": scores_without_the_reader,
    "In all layers but the last a quarter of the neurons does it all": held_by_any_quarter,
    "In the last layer it does not": held_by_all,
    "These lines and the package leave the same weights": weights_of_the_others,
    "Sheared and masked models agree to a ten-thousandth in logits": logits_off_without_a_mask,
    # zeros that were removed
    "Zeroed neurons take as much memory as others": lambda: sheared_over_whole(
        bytes_in_memory, fraction=0.5
    ),
    # a fraction that is not reached
    "Removed, half the neurons are more than a third of the model": lambda: (
        1 - sheared_over_whole(bytes_in_memory, fraction=0.25)
    ),
    "The middle loses twice the share, less its square": middle_that_shrinks_on_one_side,
    "A random half loses more than twice what a chosen half does": chosen_like_the_rival,
    "How you choose matters little beside choosing at all": a_way_that_is_no_choice,
    # cut by layer, and by no better choice
    "Cut where neurons are idle, not a tenth as much is lost": chosen_like_the_rival,
    "By one threshold every layer keeps what the neediest layer needs": (
        kept_by_the_first_layer_alone
    ),
    "Cutting the layer that turns least is next to the best choice": (
        lost_by_cutting_the_layer_that_turns_most
    ),
    "Of two cuts of one size, the narrow one loses less at first": gained_by_nothing,
    "Half the neurons make a wide feed-forward part much faster": faster_with_zeros,
    "The median of the predictions is right to within a quarter": predicted_for_the_whole,
    "After the same few steps, starting from the parent is far ahead": ahead_without_a_head_start,
    "At equal additional operations the sheared model is far ahead": spread_of_the_healed,
    "The longest run from nothing has not caught up, with any seed": spread_of_the_healed,
    "Healed, neurons taken at random are still missed": spread_of_the_healed,
    "Healed, the narrow model stays ahead of the shallow one": spread_of_the_healed,
    "The sheared model took less than a twentieth of the operations": (
        operations_when_all_tokens_are_read_again
    ),
    "A handful of children repays such a parent": repaid_by_the_hours_of_the_child,
    "The operations give the published saving to within a tenth": saving_of_the_tokens_alone,
    "Saved and loaded by transformers, it is the same model": saved_with_another_seed,
    "Cut right, the part equals the masked one": lambda: off_by(mixed=True),
    "Cut by different neurons, it is off by more than half": lambda: off_by(mixed=False),
    # a model that was not cut
    "A quarter of the neurons is almost a fifth of the memory": lambda: (
        1 - sheared_over_whole(bytes_in_memory, fraction=0.0)
    ),
    "Cut by layer, two fifths of the operations are gone": lambda: (
        1 - sheared_over_whole(flops_per_token, fraction=0.25)
    ),
    "And the quality is nearly that of the whole model": lambda: (
        bits_after(score="random") - bits_per_byte(tiny(), [tokens()])
    ),
}
COMPUTED = {"Removed, half the neurons are more than a third of the model": 1 / 3}
