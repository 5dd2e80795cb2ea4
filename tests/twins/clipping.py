"""Twins of the claims of notebook 04: what they would be given if something were broken."""

import math

import torch
from torch.nn import functional as F

import costlab
from costlab import catalog
from costlab.bill.machine import best_of
from costlab.compress.encodings import encode
from costlab.lm import corpus
from costlab.lm.trainer import bits_per_byte


def one_sided() -> float:
    """A threshold without the size: all negative weights go."""
    weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))
    return float((F.threshold(weight, 0.5, 0.0) != F.hardshrink(weight, 0.5)).sum())


def bell_for_uniform_weights() -> float:
    """Weights that are not spread like a bell curve: the prediction is off."""
    weight = torch.linspace(-1, 1, 1001)
    spread = float(weight.std())
    shares = [
        abs(math.erf(t / spread / math.sqrt(2)) - float((weight.abs() <= t).float().mean()))
        for t in (0.1, 0.5, 0.7)
    ]
    return max(shares)


def energy_of_any_half() -> float:
    """A half that was not chosen by size."""
    weight = torch.randn(1000, generator=torch.Generator().manual_seed(0))
    return float(weight[:500].square().sum() / weight.square().sum())


def fewer_small_weights_than_predicted() -> float:
    """Weights spread evenly: fewer lie near zero than the bell curve says."""
    weight, thresholds = torch.linspace(-1, 1, 1001), (0.05, 0.1, 0.2)
    spread = float(weight.std()) * math.sqrt(2)
    return min(float((weight.abs() <= t).float().mean()) - math.erf(t / spread) for t in thresholds)


def lost(threshold: float) -> float:
    """Bits per byte lost at a threshold in another unit, above every weight or under them all."""
    model, text = costlab.load_model(), corpus.validation_batches(limit=1024)
    clipped = costlab.clip_weights(model, threshold=threshold)
    return bits_per_byte(clipped, text) - bits_per_byte(model, text)


def methods_exchanged() -> float:
    """The loss by size over the loss with the inputs, instead of the other way round."""
    ratios = []
    for name in ("llama-2-7b", "llama-2-13b", "llama-2-70b"):
        rows = catalog.quality_results(technique="pruning", model=name)
        found = {r.method: math.log2(r.value) for r in rows if "pattern" not in r.note}
        lost = {method: value - found["none"] for method, value in found.items()}
        ratios.append(lost["magnitude"] / lost["wanda"])
    return max(ratios)


def smaller(share: float) -> float:
    """Time of a product whose zeros were removed, not set, over that of the whole matrix."""
    weight, rows = torch.randn(1024, 1024), torch.randn(64, 1024)
    left = weight[: round((1 - share) * 1024)].clone()
    with torch.inference_mode():
        whole = best_of(lambda: F.linear(rows, weight), "cpu", repeats=20)
        return best_of(lambda: F.linear(rows, left), "cpu", repeats=20) / whole


def bf16_against_float32() -> float:
    """A format that does store fewer bytes."""
    weight = torch.zeros(8, 8)
    return weight.bfloat16().nbytes / weight.nbytes


def share_taken_from_matrices_alike() -> float:
    """One threshold on two matrices of the same spread."""
    dice = torch.Generator().manual_seed(0)
    shares = [
        float((torch.randn(64, 64, generator=dice).abs() <= 0.5).float().mean()) for _ in "ab"
    ]
    return max(shares) / min(shares)


def stored(zeros: float, format: str) -> int:
    """Bytes of one matrix with such a share of zeros; each weight fits in 16 bits."""
    weight = torch.randn(4096, generator=torch.Generator().manual_seed(0)).bfloat16().float()
    weight[: round(zeros * 4096)] = 0
    return sum(part.nbytes for part in encode(weight, format)[1].values())


def trained(masked: bool) -> tuple[int, int]:
    """Zeros before and after a step, with the zeros put back or not."""
    weight = torch.nn.Parameter(torch.tensor([0.0, 0.0, 0.5, -0.5]))
    kept, before = weight.detach() != 0, 2
    optimizer = torch.optim.AdamW([weight], lr=0.1)
    (weight - 1).square().sum().backward()
    optimizer.step()
    if masked:
        weight.data[~kept] = 0
    return before, int((weight == 0).sum())


TWINS = {
    "The line, the package and torch's hardshrink agree everywhere": one_sided,
    "The same threshold takes from some matrices 1.5 times the share": (
        share_taken_from_matrices_alike
    ),
    "The bell curve predicts the share of zeros to within eight points": bell_for_uniform_weights,
    "The smaller half of the weights holds under a tenth of the energy": energy_of_any_half,
    "At every threshold there are more small weights than it predicts": (
        fewer_small_weights_than_predicted
    ),
    "A fifth of the weights can go for less than a twentieth of a bit": lambda: lost(100.0),
    "The same model, clipped well past half, loses more than half a bit": lambda: lost(0.0),
    "Half of the weights zero, stored with indices, do not halve the time": lambda: smaller(0.5),
    "Nine zeros in ten do not halve the time of a dense product": lambda: smaller(0.9),
    "Clipped and stored as usual, the model takes as many bytes": bf16_against_float32,
    # clipping that found nothing to clip
    "Clipped gently, the bitmask saves a tenth of the bytes and more": lambda: (
        stored(0.0, "sparse") / stored(0.0, "safetensors")
    ),
    # a formula that forgets the mask
    "The formula gives both files to within a hundredth": lambda: (
        stored(0.5, "sparse") / stored(0.5, "safetensors") - (1 - 0.5)
    ),
    # clipping that is not gentle
    "Sixteen bits without clipping are smaller than a gentle bitmask": lambda: (
        stored(0.0, "packed") / stored(0.95, "sparse")
    ),
    "Without masks not one zero in ten is left": lambda: trained(True)[1] / trained(True)[0],
    "With masks, put back after each step, every zero is left": lambda: (
        trained(False)[1] - trained(False)[0]
    ),
    # torch prunes by another rule
    "Torch and clipping differ in less than one weight in a thousand": lambda: one_sided() / 64**2,
    "Wherever they differ, the weight lies exactly at the threshold": one_sided,
    # published figures with the methods exchanged
    "Looking at the inputs loses less than size alone, in all three": methods_exchanged,
    "Clipping saves no byte of memory": bf16_against_float32,
    "A step of the clipped model is not much faster": lambda: smaller(0.75),
}
