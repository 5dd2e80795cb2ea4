"""One page for a model or a log: its numbers are the levers', and nothing in it runs or asks."""

import json
import re
from html.parser import HTMLParser

import pytest
import torch

from costlab import catalog, cli, levers
from costlab.bill import memory
from costlab.report import measured, write_report

transformers = pytest.importorskip("transformers")
LOG = "timestamp,prompt_tokens,output_tokens,tenant\n" + "".join(
    f"{i * 600},{900 + i},{200 + i},<script>alert({i})</script>\n" for i in range(40)
)
VOID = {"meta", "br", "img", "link", "input", "hr"}


class Page(HTMLParser):
    """What a page holds: its elements, its text, the exact dollars, and whether all is closed."""

    def __init__(self, text):
        super().__init__(convert_charrefs=True)
        self.tags, self.open, self.text, self.dollars, self.addresses = [], [], "", [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.open += [] if tag in VOID or tag in ("rect", "path") else [tag]
        self.addresses += [v for name, v in attrs if name in ("src", "href", "data", "action")]
        self.dollars += [float(v) for name, v in attrs if (tag, name) == ("data", "value")]

    def handle_endtag(self, tag):
        if tag not in ("rect", "path"):
            assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data if self.open and self.open[-1] != "style" else ""


@pytest.fixture
def log(tmp_path):
    path = tmp_path / "log.csv"
    path.write_text(LOG)
    return path


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tiny Llama of transformers as it is saved, and no new processes."""
    monkeypatch.setattr(memory, "peak_in_new_process", lambda *args: None)
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2,
        num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=64,
    )  # fmt: skip
    transformers.LlamaForCausalLM(config).save_pretrained(tmp_path / "llama")
    return tmp_path / "llama"


def written(source, **asked):
    out = source.parent / "report.html"
    report = write_report(source, out=out, **asked)
    return report, Page(out.read_text(encoding="utf-8"))


BIG = {"requests_per_day": 2e6, "model": "llama-3.1-70b"}


def test_its_dollars_are_the_levers(log):
    report, page = written(log, **BIG, budget=50_000.0)
    service = levers.Service(
        **BIG, prompt=920, generate=220, shared=0.0, peak=report.log.peak, accelerator="h100-sxm"
    )
    today, ranked = levers.levers(service)
    assert ranked
    each = [dollars for lever in ranked for dollars in (lever.saved, lever.dollars)]
    assert page.dollars == [today[0], ranked[0].saved, today[0], *each]
    for lever in ranked:
        for words in (lever.label, lever.picked, lever.why, f"Risk: {lever.risk}", lever.chapter):
            assert words in page.text
    kept = sum(lever.dollars <= 50_000 for lever in ranked)
    assert page.text.count("keeps to the budget") == kept > 0


def test_a_log_says_what_was_counted_given_and_assumed(log):
    report, page = written(log, peak=4.0)
    assert report.origin == {
        "requests_per_day": "counted", "prompt": "counted", "generate": "counted",
        "shared": "assumed", "peak": "given",
    }  # fmt: skip
    assert "prompt: 920 (counted)" in page.text
    assert f"${catalog.price('h100-sxm').median:g} an hour" in page.text
    assert "The busiest of 7 hours brings 6 requests" in page.text


def test_the_page_stands_alone_and_runs_nothing(log):
    _, page = written(log)
    text = (log.parent / "report.html").read_text(encoding="utf-8")
    assert page.open == []
    assert page.addresses == []
    assert not {"script", "link", "img", "iframe", "object", "base"} & {tag for tag, _ in page.tags}
    assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
    assert "http" not in text.replace("http-equiv", "")
    assert "url(" not in text
    assert "@import" not in text
    metas = [attrs for tag, attrs in page.tags if tag == "meta"]
    assert any(m.get("content", "").startswith("default-src 'none'") for m in metas)
    figures = [attrs for tag, attrs in page.tags if tag == "svg"]
    assert figures
    assert all(f["role"] == "img" and len(f["aria-label"]) > 20 for f in figures)
    assert "prefers-color-scheme: dark" in text
    assert re.search(r"costlab \S+, Python \S+,.*; \d{4}-\d\d-\d\d \d\d:\d\d UTC", page.text)


def test_hostile_names_and_cells_stay_text(log):
    hostile = log.with_name("<img src=x onerror=alert(1)> $name & ${name}.csv")
    hostile.write_text(LOG)
    _, page = written(hostile)
    assert "img" not in {tag for tag, _ in page.tags}
    assert page.text.count(hostile.name) == 2  # in the title and above the bill
    assert "alert(0)" not in page.text


def test_calling_has_no_accelerators(log):
    report, page = written(log, pays="call", api="gpt-4o")
    assert report.chips is None
    assert report.today == levers.levers(report.service)[0]
    assert "gpt-4o, called" in page.text


def test_what_cannot_be_served_says_so(log):
    report, page = written(log, slo_tpot=1e-6)
    assert report.today is None
    assert "It cannot be served so" in page.text
    assert page.dollars == []


def test_a_folder_of_transformers_is_measured_beside_its_8_bits(folder):
    report, page = written(folder, prompt=8, generate=4)
    assert [bill.name for bill in report.ledger] == ["llama", "in 8 bits"]
    count = sum(
        p.numel() for p in transformers.LlamaForCausalLM.from_pretrained(folder).parameters()
    )
    assert report.ledger.bills[0].parameters == report.service.model.params == count
    assert report.scored == "random tokens"
    assert "Random tokens tell bytes and seconds, not quality." in page.text
    assert page.open == []
    assert "transformers" in page.text


def test_a_tokenizer_reads_the_validation_text(folder):
    from tokenizers import Tokenizer, models, pre_tokenizers

    letters = {chr(i): i for i in range(256)}
    bare = Tokenizer(models.WordLevel(letters, unk_token="?"))
    bare.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    transformers.PreTrainedTokenizerFast(tokenizer_object=bare).save_pretrained(folder)
    _, batches, scored = measured.load(folder)
    assert scored == "validation text, through the model's tokenizer"
    assert batches[0].shape == (measured.WINDOWS, 64)
    beginning = "".join(map(chr, batches[0].flatten()[:200].tolist()))
    assert beginning.encode() == measured.corpus.validation_text()[:200]


def test_a_model_at_hand_is_measured_and_left_as_it_is(folder):
    model = transformers.LlamaForCausalLM.from_pretrained(folder)
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    report = write_report(model, out=folder.parent / "r.html", prompt=8, generate=4)
    assert report.name == "LlamaForCausalLM"
    assert all(torch.equal(before[name], tensor) for name, tensor in model.state_dict().items())


def test_the_command_tells_first_how_long_it_takes(folder, capsys, monkeypatch):
    monkeypatch.chdir(folder.parent)
    argv = ["report", "llama", "--out", "x.html", "--prompt", "8", "--generate", "4", "--json"]
    assert cli.main(argv) == 0
    captured = capsys.readouterr()
    told = [line for line in captured.err.splitlines() if line.startswith("costlab report: ")]
    assert told[0] == "costlab report: loading llama"
    assert re.search(r"14 rounds of 8 tokens read and 4 written: about \d+ s", told[1])
    assert told[-1] == "costlab report: wrote x.html"
    held = json.loads(captured.out)
    assert held["service"]["prompt"] == 8
    assert len(held["ledger"]["bills"]) == 2


@pytest.mark.parametrize(
    ("argv", "sentence"),
    [
        (["no.csv"], "log no.csv cannot be read .*"),
        (["llama"], "source must be a log, a folder of transformers, .* got 'llama'"),
        (["no/such/model"], "source must be a log, .* got 'no/such/model'"),
        (["empty"], "source 'empty' holds no decoder that loads: .*"),
        (["no.safetensors"], "no weight file at no.safetensors"),
        (["log.csv", "--out", "missing/x.html"], "out cannot be written to missing/x.html: .*"),
        (["log.csv", "--out", "empty"], "out cannot be written to empty: it is a folder"),
        (["log.csv", "--out", "7"], "out must be a path, such as report.html, got 7"),
        (["log.csv", "--accelerator", "abacus"], "unknown accelerator .abacus.: .*"),
        (["log.csv", "--model", "abacus"], "unknown model .abacus.: .*"),
        (["log.csv", "--budget", "-1"], "budget must be a number above 0, .*"),
        (["log.csv", "--day-rate", "0"], "day_rate must be a number above 0, .*"),
        (["empty", "--model", "llama-3.1-8b"], "model is for a log, .* 'empty'"),
        (["empty", "--peak", "no"], "peak must be a number, got 'no'."),
    ],
    ids=str,
)
def test_bad_input_is_one_sentence_and_no_page(argv, sentence, log, capsys, monkeypatch):
    monkeypatch.chdir(log.parent)
    (log.parent / "empty").mkdir()
    before = sorted(log.parent.rglob("*"))
    assert cli.main(["report", *argv]) == 2
    told = capsys.readouterr().err.splitlines()
    assert re.fullmatch(f"costlab: {sentence}", told[-1])
    assert all(line.startswith("costlab report: ") for line in told[:-1])
    assert sorted(log.parent.rglob("*")) == before


def test_a_name_that_no_hub_has_is_one_sentence(log, capsys, monkeypatch):
    def unknown(name, **options):
        assert options == {"use_safetensors": True}  # nothing of a stranger's is unpickled or run
        raise OSError(f"{name} is not a local folder\nand is not a valid model identifier")

    monkeypatch.setattr(transformers.AutoModelForCausalLM, "from_pretrained", unknown)
    monkeypatch.chdir(log.parent)
    assert cli.main(["report", "someone/something"]) == 2
    told = capsys.readouterr().err.splitlines()
    assert told[-1].startswith("costlab: source 'someone/something' holds no decoder that loads: ")


def test_a_prompt_that_is_too_long_is_said_before_work(folder):
    with pytest.raises(
        ValueError, match=r"prompt \+ generate is 256 tokens, and this model reads 64"
    ):
        write_report(folder, out=folder.parent / "r.html")


def test_a_page_is_replaced_whole_or_not_at_all(log, monkeypatch):
    out = log.parent / "report.html"
    out.write_text("before")

    def full(*arguments):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.replace", full)
    with pytest.raises(OSError, match=r"out cannot be written to .*: No space left on device"):
        write_report(log, out=out)
    assert out.read_text() == "before"
    assert sorted(p.name for p in log.parent.iterdir()) == ["log.csv", "report.html"]
