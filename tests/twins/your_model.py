"""Twins of the claims of the chapter on your own model: other shapes, other hours, no lever."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import torch
from torch import nn

import costlab
from costlab import cli, workload
from costlab.bill.counting import bytes_in_memory
from costlab.bill.quality import score
from costlab.levers import Service, levers
from costlab.lm import corpus
from costlab.lm.model import Config, LanguageModel
from costlab.report import write_report

LARGE = {"requests_per_day": 2e6, "prompt": 1500, "generate": 300, "model": "llama-3.1-70b"}


def text() -> list[torch.Tensor]:
    return corpus.validation_batches(context=128, batch=4, limit=512)


def one_after_the_other() -> float:
    """Sixteen requests in a row take sixteen times as long as one."""
    return 16.0 / 16


def other_positions() -> float:
    """The same weights under another base of the rotary positions."""
    own = costlab.load_model()
    other = LanguageModel(replace(own.config, rope_theta=100.0))
    other.load_state_dict(own.state_dict())
    with torch.inference_mode():
        return float((own(text()[0]) - other.eval()(text()[0])).abs().max())


def no_pairs() -> float:
    """A tokenizer that merges nothing: every byte is a token."""
    from tokenizers import ByteLevelBPETokenizer

    code = corpus.validation_text()[:2000].decode()
    pairs = ByteLevelBPETokenizer()
    pairs.train_from_iterator([code], vocab_size=256, show_progress=False)
    return len(code.encode()) / len(pairs.encode(code).ids)


def keys_of_every_head() -> float:
    """A config that forgot that heads share their keys and values."""
    config = Config().to_transformers()
    shape = costlab.estimate.resolve_model(config | {"num_key_value_heads": 6})
    return shape.params - sum(p.numel() for p in LanguageModel(Config()).parameters())


def trained() -> float:
    """The book's model: of eight bits a byte, it needs few."""
    return score(costlab.load_model(), text()).bits_per_token / 8


def many_devices() -> float:
    """A fleet is rented for a large model, and in 8 bits a smaller one."""
    plan = levers(Service(**LARGE))[1]
    return float(sum(lever.name.startswith("weights") for lever in plan))


def rounded_floats() -> float:
    """Rounded values that are kept as floats take what they took."""
    model = LanguageModel(Config(width=32, layers=1, heads=2, kv_heads=1, head_dim=16, ffn=32))
    return bytes_in_memory(costlab.quantize(model, simulate=True)) / bytes_in_memory(model)


def two_bits() -> float:
    """The book's model with two bits and one scale for each layer."""
    own = costlab.load_model()
    coarse = costlab.quantize(own, bits=2, granularity="tensor", simulate=True)
    return score(coarse, text()).bits_per_token / score(own, text()).bits_per_token


def untrained() -> float:
    """A network that never saw the curve."""
    torch.manual_seed(0)
    x = torch.linspace(-3, 3, 256)[:, None]
    net = nn.Sequential(nn.Linear(1, 64), nn.Tanh(), nn.Linear(64, 1))
    with torch.inference_mode():
        return float((net(x) - torch.sin(2 * x)).square().mean() / torch.sin(2 * x).var())


def first_reads_are_cached() -> float:
    """A cache that holds what nobody has read yet."""
    told = workload.day().summary()
    return told["shared_prefix_share"] - told["repeated_prefix_share"]


def a_flat_day() -> float:
    """No hour is busier than another."""
    rent = [Service(**LARGE, peak=1.0).rent()[0] for _ in range(2)]
    return rent[0] / rent[1]


def page_of_a_log() -> tuple[object, str]:
    with tempfile.TemporaryDirectory() as home:
        log = Path(home) / "log.csv"
        log.write_text("input_tokens,output_tokens\n900,200\n")
        report = write_report(log, out=Path(home) / "page.html", requests_per_day=2e6)
        return report, (Path(home) / "page.html").read_text(encoding="utf-8")


def whole_dollars() -> float:
    """A page that keeps rounded dollars."""
    report, html = page_of_a_log()
    held = [round(float(v)) for v in re.findall('<data value="([^"]+)">', html)]
    return sum(lever.saved not in held for lever in report.levers)


def a_picture_from_elsewhere() -> float:
    """A page that trusts a cell of the log as markup."""
    html = page_of_a_log()[1] + '<img src="https://example.org/x.png">'
    return len(re.findall(r"https?:|<script|<img|<link|url\(", html))


def a_log_in_its_place() -> float:
    """A source that is there: the status is 0, and the page another."""
    with tempfile.TemporaryDirectory() as home:
        log, page = Path(home) / "log.csv", Path(home) / "page.html"
        log.write_text("input_tokens,output_tokens\n900,200\n")
        page.write_text("before")
        status = cli.main(["report", str(log), "--out", str(page)])
        return float(status == 2 and page.read_text(encoding="utf-8") == "before")


TWINS = {
    "Sixteen at once cost less than a fifth each of what one costs": one_after_the_other,
    "In transformers the model says what it says in the book": other_positions,
    "A token of byte pairs stands for more than a byte": no_pairs,
    "The estimate counts from config.json the parameters in the file": keys_of_every_head,
    "Untrained, it is as surprised as if it drew tokens from a hat": trained,
    "Two levers together save less than their savings added up": lambda: 1.0,
    "Where one device is enough, rounding the weights saves no rent": many_devices,
    "In 8 bits the weights take less than a third of the bytes": rounded_floats,
    "Rounded to 8 bits, the model needs hardly more bits for a byte": two_bits,
    "In 8 bits it still draws the curve": untrained,
    "Sheared to half and not healed, it draws it worse than in 8 bits": lambda: 1.0,
    "The log holds the share of prompts that the day's summary tells": first_reads_are_cached,
    "A log of the night alone sees less than half of the traffic": lambda: 1.0,
    "The busiest hour asks for half as much again as the mean one": a_flat_day,
    "Every saving that the levers name stands on the page": whole_dollars,
    "The page asks nobody for anything and runs nothing": (a_picture_from_elsewhere),
    "A folder that is not there is status 2, and no page is touched": a_log_in_its_place,
}
