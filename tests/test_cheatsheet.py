"""The cheat sheet says what the package computes and what the chapters claim."""

import inspect
import re
import sys
from functools import cache
from pathlib import Path

import pytest

from costlab import catalog, estimate

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "book" / "_ext"))
import costlab_reference as reference  # noqa: E402

SHEET = (ROOT / "book" / "cheatsheet.md").read_text(encoding="utf-8")
MODEL = estimate.resolve_model("llama-3.1-8b")
WEIGHTS = catalog.model("llama-3.1-8b").params
# (technique, column): (what the sheet says, the chapter's claim behind it)
CELLS = {
    ("cache of keys and values", "time"): (
        "much", "Keeping keys and values cuts the month's bill to less than half"),
    ("cache of keys and values", "quality"): (
        "exact", "With and without the cache the model writes the same bytes"),
    ("continuous batching", "time"): (
        "of the machine", "One promise, one model: sharing passes lowers the month's bill"),
    ("continuous batching", "quality"): (
        "exact, but for rounding", "Three rows of different lengths get the logits they get alone"),
    ("kept prefixes", "time"): (
        "of reading", "Kept prefixes save most of what could be saved"),
    ("speculation", "time"): (
        "with a cheap draft",
        "A draft as dear as the model never pays, however good its guesses"),
    ("speculation", "quality"): (
        "exact", "Guessed or not, the likeliest bytes are the same"),
    ("clipping", "disk"): (
        "with a mask", "Clipped gently, the bitmask saves a tenth of the bytes and more"),
    ("clipping", "memory"): ("no", "Clipping saves no byte of memory"),
    ("clipping", "time"): ("no", "A step of the clipped model is not much faster"),
    ("quantization", "disk"): ("yes", "In four bits there are at least six times fewer bytes"),
    ("quantization", "memory"): (
        "yes", "Eight bits cut the memory of the model to less than a third"),
    ("quantization", "time"): (
        "with a kernel", "Weights alone as integers gain nothing for a lone row"),
    ("quantization", "quality"): (
        "hardly, down to 4 bits", "Row scales and SmoothQuant together lose next to nothing"),
    ("distillation", "memory"): ("yes", "The student takes less than a tenth of the memory"),
    ("distillation", "time"): ("yes", "It writes at less than half the price"),
    ("pruning 2:4", "quality"): (
        "falls", "In 2:4, too, SparseGPT adds at most six tenths of size's"),
    ("regularization", "memory"): ("no", "Empty neurons save no byte of memory"),
    ("regularization", "time"): ("no", "Empty neurons save not one operation"),
    ("shearing", "memory"): (
        "yes", "Removed, half the neurons are more than a third of the model"),
    ("shearing", "time"): (
        "yes, with any kernel", "Half the neurons make a wide feed-forward part much faster"),
    ("adapters", "disk"): (
        "per tenant", "Eight adapters over one model take a fifth of eight copies, or less"),
    ("adapters", "memory"): (
        "in training", "With adapters, weights, gradients and means take a third, or less"),
    ("data parallel", "quality"): ("exact", "Our two processes end with the weights of one"),
    ("gradient parallel", "memory"): ("yes", "A rank holds what the formulas say, to the byte"),
    ("gradient parallel", "quality"): ("exact", "Every stage ends at the weights of one process"),
    ("model parallel", "quality"): ("exact", "Two stages end at the weights of one process"),
}  # fmt: skip


@cache
def rows() -> dict[str, dict[str, str]]:
    """The rows of the sheet's tables by their names, each by its columns."""
    found, head = {}, []
    for line in SHEET.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        if not line.startswith("|"):
            head = []
        elif not head:
            head = [cell.strip("| ") for cell in cells]
        elif not line.startswith("|---"):
            name = re.sub(r"\[([^\]]+)\]\([^)]*\)(,.*)?", r"\1", cells[0])
            found[name] = dict(zip(head, cells)) | {"link": cells[0]}
    return found


@cache
def claims(chapter: str) -> str:
    return "\n".join(sentence for _, sentence, _, _ in reference.claims(ROOT, chapter))


@pytest.mark.parametrize("place", CELLS, ids=" ".join)
def test_what_saves_what_is_what_a_chapter_claims(place):
    (name, column), (said, claim) = place, CELLS[place]
    row = rows()[name]
    assert said in row[column]
    chapter = re.search(r"notebooks/(\w+)\.ipynb", row["link"])[1]
    assert any(claim in claims(one) for one in (chapter, "03_storage")), f"{chapter}: {claim}"


def rule(name: str) -> str:
    return rows()[name]["rule"]


def test_operations_are_those_of_the_estimate():
    run = estimate.training("llama-3.1-8b", "h100-sxm", devices=8, zero=3, tokens=1e9)
    assert "$6ND$" in rule("operations of training")
    assert run.flops_total == pytest.approx(6 * WEIGHTS * 1e9, rel=0.1)
    thin = estimate.training("llama-3.1-8b", "h100-sxm", adapters=16, tokens=1e9)
    assert "adapters $4ND$" in rule("operations of training")
    assert thin.flops_total == pytest.approx(4 * WEIGHTS * 1e9, rel=0.1)


def test_bytes_are_those_of_the_estimate():
    run = estimate.training("llama-3.1-8b", "h100-sxm", devices=1)
    states = sum(run.memory[part] for part in ("weights", "gradients", "optimizer"))
    assert rule("memory of training").startswith("16 bytes")
    assert states * 2**30 == pytest.approx(16 * WEIGHTS, rel=1e-3)
    default = inspect.signature(estimate.storage).parameters["checkpoint_bytes"].default
    assert rule("checkpoints").startswith(f"${default:.0f}$ bytes")
    assert "2 \\times$ layers $\\times$ heads of keys" in rule("cache of a token")
    numbers = 2 * MODEL.layers * MODEL.kv_heads * MODEL.head_dim
    assert MODEL.kv_bytes_per_token() == 2 * numbers


def test_a_month_is_that_of_the_estimate():
    found = estimate.fleet("llama-3.1-8b", "l4", requests_per_s=5, prompt=1000, generate=250)
    assert rule("rent of a month").startswith("$730 \\times$ devices")
    assert found.dollars == pytest.approx(730 * found.devices * catalog.price("l4").median)
