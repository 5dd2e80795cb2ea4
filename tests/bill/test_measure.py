"""measure and compare: every figure against an identity, and nothing changed on the way."""

import os
import subprocess
import sys
from copy import deepcopy
from dataclasses import replace
from importlib import import_module

import pytest
import torch
from safetensors.torch import save_file
from torch import nn
from torch.nn import functional as F

from costlab import catalog, compare, measure
from costlab.bill import Bill, counting, machine, memory, this_machine
from costlab.bill.checks import on_device
from costlab.lm.pretrained import save_model

SMALL = {"prompt": 8, "generate": 6, "price": 0.36}
ON_LINUX = pytest.mark.skipif(sys.platform != "linux", reason="peak memory is told by Linux")


def tokens(vocab: int = 256) -> torch.Tensor:
    return torch.randint(vocab, (2, 20), generator=torch.Generator().manual_seed(3))


@pytest.fixture
def mlp():
    return nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.5), nn.Linear(16, 4))


def check_identities(bill: Bill) -> None:
    """What must hold between the figures of any bill of a model that writes."""
    m = bill.machine
    assert bill.dollars_per_million_tokens == m.price_per_hour / 3600 / bill.tokens_per_second * 1e6
    assert bill.dollars_per_million_scored == pytest.approx(
        m.price_per_hour / 3600 / bill.scored_per_second * 1e6, rel=1e-12
    )
    speed = bill.flops_per_token_with_attention * bill.tokens_per_second
    assert bill.share_of_peak == pytest.approx(speed / m.peak_flops)
    assert bill.mfu == (None if m.sheet_flops is None else pytest.approx(speed / m.sheet_flops))
    moved = bill.bytes_in_memory / bill.latency_seconds
    assert bill.bandwidth_share == pytest.approx(moved / m.bandwidth)
    assert bill.flops_per_token_with_attention > bill.flops_per_token
    load = bill.workload
    steps = bill.ttft_seconds + (load.generate - 1) * bill.latency_seconds
    assert 0.05 < bill.tokens_per_second * steps / (load.batch * load.generate) < 20
    assert (bill.divergence, bill.flips, bill.quality) == (None, None, None)


def test_the_books_kind_of_model(tiny, quick):
    model = tiny()
    with torch.no_grad():
        model.lm_head.weight[:3] = 0
    bill = measure(model, **SMALL)
    check_identities(bill)
    assert bill.name == "LanguageModel"
    assert bill.parameters == sum(p.numel() for p in model.parameters())
    assert bill.nonzero_parameters == bill.parameters - 96
    assert bill.bytes_in_memory == counting.bytes_in_memory(model)
    assert bill.flops_per_token_with_attention == (
        counting.flops_per_token(model) + counting.attention_flops(model, 8 + 3)
    )
    assert bill.bits_per_byte > 3
    assert bill.parses is None  # its context is too short to complete functions
    assert bill.workload.scored == "validation text"
    assert bill.machine.price_per_hour == 0.36
    assert bill.machine.price_source == "given by the caller"
    assert not bill.machine.assumed


def test_quality_is_that_of_the_data(tiny, quick):
    model = tiny()
    given = measure(model, [tokens(), tokens()[:1, :5]], **SMALL)
    with torch.inference_mode():
        model.eval()
        pairs = [(model(t)[:, :-1], t[:, 1:]) for t in (tokens(), tokens()[:1, :5])]
    nats = sum(F.cross_entropy(p.flatten(0, 1), t.flatten(), reduction="sum") for p, t in pairs)
    assert given.bits_per_byte == pytest.approx(nats.item() / 42 / 0.6931471805599453, rel=1e-5)
    assert given.workload.scored == "the data given"


def test_a_model_with_room_for_it_completes_functions(tiny, quick):
    bill = measure(tiny(context=288, layers=1), **SMALL)
    assert bill.parses == 0.0


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict", "batches"])
def test_models_of_transformers(llama, gpt2, quick, form):
    data = {
        "tensor": tokens(99), "tuple": (tokens(99),), "batches": [{"input_ids": tokens(99)}] * 2,
        "dict": {"input_ids": tokens(99), "attention_mask": torch.ones(2, 20, dtype=torch.long)},
    }[form]  # fmt: skip
    for model in (llama, gpt2):
        bill = measure(model, data, **SMALL)
        check_identities(bill)
        assert bill.name == type(model).__name__
        assert bill.bits_per_byte is None  # its tokens are not bytes
        assert bill.parses is None
        assert bill.parameters == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict", "batches", "generator"])
def test_any_other_module_is_timed_on_a_batch(mlp, quick, form):
    x = torch.ones(3, 8)
    data = {
        "tensor": x, "tuple": (x,), "dict": {"input": x}, "batches": [x, x],
        "generator": (x for _ in range(2)),
    }[form]  # fmt: skip
    bill = measure(mlp, data, quality=lambda m: m(x).shape[1] / 8)
    assert bill.quality == 0.5
    assert bill.latency_seconds > 0
    assert bill.parameters == 16 * 9 + 4 * 17
    assert bill.flops_per_token == 2 * (8 * 16 + 16 * 4)
    unknown = {
        "bits_per_byte", "divergence", "flips", "parses", "flops_per_token_with_attention",
        "ttft_seconds", "tokens_per_second", "scored_per_second", "peak_memory_bytes", "mfu",
        "share_of_peak", "bandwidth_share", "dollars_per_million_tokens",
        "dollars_per_million_scored",
    }  # fmt: skip
    assert {n for n, v in bill.to_dict().items() if v is None} == unknown


def test_nothing_written_costs_nothing_per_token_written(tiny, quick):
    bill = measure(tiny(), tokens(), prompt=8, generate=0, price=1.0)
    for field in ("dollars_per_million_tokens", "tokens_per_second", "ttft_seconds", "mfu"):
        assert getattr(bill, field) is None
    assert bill.dollars_per_million_scored > 0
    assert bill.latency_seconds == pytest.approx(tokens().numel() / bill.scored_per_second)
    assert bill.flops_per_token_with_attention == (
        bill.flops_per_token + counting.attention_flops(tiny(), 4.5)
    )
    one = measure(tiny(), tokens(), prompt=8, generate=1, price=1.0)
    assert one.latency_seconds is None  # no step but the first
    assert one.dollars_per_million_tokens > 0


def test_the_price_is_the_only_thing_that_makes_dollars(tiny, quick):
    cheap, dear = (measure(tiny(), tokens(), prompt=4, generate=4, price=p) for p in (1, 10))
    for bill in (cheap, dear):
        hourly = bill.dollars_per_million_tokens * bill.tokens_per_second * 3600 / 1e6
        assert hourly == pytest.approx(bill.machine.price_per_hour)


def test_shares_of_the_data_sheet(tiny, quick, monkeypatch):
    module = import_module("costlab.bill.measure")
    sheet = replace(this_machine(price=1.0), sheet_flops=1e12)
    monkeypatch.setattr(module, "this_machine", lambda **options: sheet)
    bill = measure(tiny(), tokens(), **SMALL)
    check_identities(bill)
    assert bill.mfu == pytest.approx(bill.share_of_peak * sheet.peak_flops / 1e12)


def test_cores_are_physical_ones(monkeypatch, tmp_path):
    monkeypatch.setattr(machine.os, "sched_getaffinity", lambda pid: {0, 1, 2, 3}, raising=False)
    monkeypatch.setattr(machine, "CPUS", tmp_path)
    assert machine._cores() == 4, "the system does not tell which share a core"
    for cpu, siblings in enumerate(("0,2", "1,3", "0,2", "1,3")):
        (tmp_path / f"cpu{cpu}" / "topology").mkdir(parents=True)
        (tmp_path / f"cpu{cpu}" / "topology" / "thread_siblings_list").write_text(siblings)
    assert machine._cores() == 2


def test_every_kind_of_number_has_a_peak():
    assert this_machine(price=1.0, dtype=torch.int8).precision == "int8"
    assert this_machine(price=1.0, dtype=torch.int32).precision == "float32"


def test_the_peak_of_integers_is_that_of_floats_where_floats_multiply_them_faster(monkeypatch):
    rates, peak = {torch.float32: 2}, machine.peak_flops.__wrapped__
    monkeypatch.setattr(machine, "rate", lambda device, dtype, size: size * rates[dtype])
    for of_integers, best in ((3, 3), (1, 2)):
        rates[torch.int8] = of_integers
        assert peak("cpu", torch.int8, 1) == 1024 * best
    assert peak("cpu", torch.float32, 1) == 1024 * 2


@pytest.mark.parametrize("form", ["tensor", "tuple", "dict"])
def test_batches_go_to_the_device_of_the_model(form):
    given = torch.ones(2, 3)
    batch = {"tensor": given, "tuple": (given, 5), "dict": {"x": given, "n": 5}}[form]
    moved = on_device("meta", batch)
    values = {"tensor": lambda m: [m], "tuple": list, "dict": lambda m: list(m.values())}[form]
    assert values(moved)[0].is_meta
    assert values(moved)[1:] == ([] if form == "tensor" else [5])
    assert type(moved) is type(batch)
    assert not given.is_meta


def test_a_quality_that_is_no_number_gets_a_sentence(mlp):
    with pytest.raises(TypeError, match=r"^quality must return a number, got None$"):
        measure(mlp, torch.ones(1, 8), quality=lambda model: None, price=1.0)


def test_an_unknown_machine_is_billed_at_the_reference_price(monkeypatch):
    monkeypatch.setattr(machine, "processor", lambda: "A Processor Nobody Knows")
    here = this_machine()
    assert here.assumed
    assert here.price_per_hour == catalog.reference_price(here.cores)
    assert here.sheet_flops is None
    assert here.peak_flops > 0
    assert here.bandwidth > 0
    assert here.name == "A Processor Nobody Knows"


def test_bytes_on_disk_are_those_of_the_file(tiny, gpt2, mlp, quick, tmp_path):
    for model, data in ((tiny(), tokens()), (mlp, torch.ones(1, 8)), (tiny().bfloat16(), tokens())):
        save_file({n: t.contiguous() for n, t in model.state_dict().items()}, tmp_path / "m")
        found = measure(model, data, prompt=4, generate=2).bytes_on_disk
        assert found == (tmp_path / "m").stat().st_size
    untied = {n: t.contiguous() for n, t in gpt2.state_dict().items() if n != "lm_head.weight"}
    save_file(untied, tmp_path / "m")
    found = measure(gpt2, tokens(99), prompt=4, generate=2).bytes_on_disk
    assert found == pytest.approx((tmp_path / "m").stat().st_size, abs=64)  # the name that is kept


def test_a_comparison_is_against_its_first_row(tiny, quick):
    base, copy, other = tiny(), tiny(), tiny()
    with torch.no_grad():
        other.lm_head.weight += 0.1 * torch.randn_like(other.lm_head.weight)
    ledger = compare(
        {"base": base, "copy": copy, "itself": base, "other": other}, tokens(), **SMALL
    )
    assert [bill.name for bill in ledger] == ["base", "copy", "itself", "other"]
    assert (ledger["base"].divergence, ledger["base"].flips) == (None, None)
    for name in ("copy", "itself"):
        assert (ledger[name].divergence, ledger[name].flips) == (0, 0)
    with torch.inference_mode():
        p, q = (m.eval()(tokens())[:, :-1].flatten(0, 1).log_softmax(-1) for m in (base, other))
    by_hand = F.kl_div(q, p, reduction="batchmean", log_target=True).item()
    assert ledger["other"].divergence == pytest.approx(by_hand, rel=1e-4)
    assert by_hand > 1e-3
    flips = (p.argmax(-1) != q.argmax(-1)).float().mean().item()
    assert ledger["other"].flips == pytest.approx(flips)
    assert len({bill.workload for bill in ledger}) == len({bill.machine for bill in ledger}) == 1


def test_a_base_in_training_mode_is_compared_without_its_dropout(gpt2, quick):
    gpt2.train()
    ledger = compare({"base": gpt2, "copy": deepcopy(gpt2)}, tokens(99), **SMALL)
    assert (ledger["copy"].divergence, ledger["copy"].flips) == (0, 0)
    assert all(module.training for module in gpt2.modules())


def test_models_of_other_tokens_are_not_compared_in_quality(tiny, gpt2, quick):
    ledger = compare({"bytes": tiny(), "words": gpt2}, tokens(99), **SMALL)
    assert ledger["words"].divergence is None
    assert ledger["bytes"].bits_per_byte is not None


def test_models_are_timed_in_turn(quick):
    order = []

    def module(name):
        layer = nn.Linear(2, 2)
        layer.register_forward_hook(lambda *call: order.append(name))
        return layer

    compare({name: module(name) for name in "abc"}, torch.ones(1, 2))
    assert len(order) >= 3 * 4  # the first round warms up
    assert order == list("abc") * (len(order) // 3)


def test_input_models_are_left_as_they_were(tiny, gpt2, mlp, quick):
    for model, data in ((tiny(), None), (gpt2, tokens(99)), (mlp, torch.ones(1, 8))):
        model.train()
        next(model.children()).eval()
        modes = [m.training for m in model.modules()]
        state = {n: t.clone() for n, t in model.state_dict().items()}
        dice = torch.get_rng_state()
        measure(model, data, **SMALL)
        assert [m.training for m in model.modules()] == modes
        assert list(model.state_dict()) == list(state)
        assert all(torch.equal(t, state[n]) for n, t in model.state_dict().items())
        assert all(p.grad is None and p.requires_grad for p in model.parameters())
        assert torch.equal(torch.get_rng_state(), dice)


@pytest.mark.parametrize("kv_cache", [True, False])
@pytest.mark.parametrize("batch", [1, 3])
def test_the_workload_is_what_was_asked(tiny, quick, kv_cache, batch):
    model, fed = tiny(), []
    model.register_forward_pre_hook(lambda module, args, kwargs: fed.append(args[0].shape),
                                    with_kwargs=True)  # fmt: skip
    bill = measure(model, tokens()[:1, :4], batch=batch, prompt=5, generate=3, kv_cache=kv_cache)
    written = [5, 1, 1] if kv_cache else [5, 6, 7]
    rounds = fed[1:]  # the first call scores
    assert rounds[:4] == [(1, 4), *((batch, n) for n in written)]
    assert rounds == rounds[:4] * (len(rounds) // 4)
    load = bill.workload
    assert (load.batch, load.prompt, load.generate, load.kv_cache) == (batch, 5, 3, kv_cache)


@ON_LINUX
def test_peak_memory_grows_with_the_model(tiny, tmp_path):
    peaks, sizes = [], []
    load = {"batch": 1, "prompt": 4, "generate": 2, "kv_cache": True}
    for width in (32, 1024):
        model = tiny(width=width, ffn=2 * width)
        path = memory.write_model(model, tmp_path / str(width))
        peaks.append(memory.peak_in_new_process(path, "float32", load))
        sizes.append(counting.bytes_in_memory(model))
    assert 0.9 < (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) < 1.6


@ON_LINUX
def test_peak_memory_of_a_transformers_model(gpt2):
    bill = measure(gpt2, tokens(99), **SMALL)
    assert 0 < bill.peak_memory_bytes < 50e6, "the code of transformers is not the model"


def test_what_cannot_be_built_again_has_no_known_peak(tiny, mlp, tmp_path, monkeypatch):
    model = tiny()
    model.lm_head = nn.Sequential(model.lm_head)
    assert memory.write_model(model, tmp_path) is None
    assert memory.write_model(mlp, tmp_path) is None
    assert not list(tmp_path.iterdir())
    (tmp_path / "broken").write_bytes(b"no model")
    assert memory.peak_in_new_process(tmp_path / "broken", "float32", {}) is None

    def slow(*args, **options):
        raise subprocess.TimeoutExpired("python", 300)

    monkeypatch.setattr(memory.subprocess, "run", slow)
    assert memory.peak_in_new_process(tmp_path / "broken", "float32", {}) is None


SCRIPT = """
import sys
import torch
import costlab
print("started")
bill = costlab.measure(costlab.load_model(sys.argv[1]), torch.ones(1, 4, dtype=torch.long),
                       prompt=4, generate=2, price=1.0)
print(bill.peak_memory_bytes)
"""


@ON_LINUX
@pytest.mark.parametrize("how", ["a script without a main guard", "standard input"])
def test_peak_memory_from(how, tiny, tmp_path):
    save_model(tiny(), tmp_path / "model")
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    first = str(script) if how.startswith("a script") else "-"
    done = subprocess.run(
        [sys.executable, first, str(tmp_path / "model")],
        input=None if first != "-" else SCRIPT, capture_output=True, text=True, check=True,
        cwd=tmp_path, env=os.environ | {"PYTHONPATH": os.pathsep.join(p for p in sys.path if p)},
    )  # fmt: skip
    started, peak = done.stdout.split()
    assert started == "started"  # once: the caller's script is not run again
    assert int(peak) > 0


@pytest.mark.parametrize(
    ("change", "error", "sentence"),
    [
        ({"model": "gpt2"}, TypeError, "model 'str' must be a torch.nn.Module, got str"),
        ({"model": nn.ReLU()}, ValueError, "model 'ReLU' has no parameters"),
        ({"data": torch.ones(0, 8)}, ValueError, "data must be batches of tensors that are not"),
        ({"data": (torch.ones(1), torch.ones(0))}, ValueError, "data must be batches of tensors"),
        ({"data": {}}, ValueError, "data must be batches of tensors that are not empty"),
        ({"data": []}, ValueError, "data must hold at least one batch, got none"),
        ({"data": iter(())}, ValueError, "data must hold at least one batch, got none"),
        ({"data": [3]}, TypeError, "a batch must be a tensor, tuple or dict, got int"),
        ({"data": 3}, TypeError, r"data must be a batch \(tensor, tuple or dict\) or batches, got"),
        ({"data": "text"}, TypeError, "data must be a batch"),
        ({"data": None}, ValueError, "data is needed: model 'Linear' is not a language model"),
        ({"batch": 0}, ValueError, "batch must be a whole number of at least 1, got 0"),
        ({"prompt": 1.5}, ValueError, "prompt must be a whole number of at least 1, got 1.5"),
        ({"generate": -1}, ValueError, "generate must be a whole number of at least 0, got -1"),
        ({"batch": True}, ValueError, "batch must be a whole number of at least 1, got True"),
        ({"price": 0}, ValueError, "price must be a positive number of dollars per hour, got 0"),
        ({"price": -1.0}, ValueError, "price must be a positive number"),
        ({"price": float("nan")}, ValueError, "price must be a positive number"),
        ({"price": "3"}, ValueError, "price must be a positive number .* got '3'"),
        ({"quality": 0.5}, TypeError, "quality must be a function of the model, got float"),
    ],
)
def test_bad_input_gets_a_sentence_before_any_work(change, error, sentence):
    calls = []
    model = nn.Linear(8, 2)
    model.register_forward_hook(lambda *call: calls.append(call))
    given = {"model": model, "data": torch.ones(1, 8)} | change
    with pytest.raises(error, match=f"^{sentence}") as raised:
        measure(**given)
    assert "\n" not in str(raised.value)
    assert not calls


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (torch.ones(1, 8), "data for a language model must be int64 tokens .*, got torch.float32"),
        (torch.ones(8, dtype=torch.long), r"data for .* \(batch, positions\), got .* \(8,\)"),
        (torch.ones(2, 1, dtype=torch.long), "data has 1 positions; .* scores from 2 to 64"),
        (torch.ones(2, 65, dtype=torch.long), "data has 65 positions; .* scores from 2 to 64"),
        (torch.full((1, 4), 256), "data holds tokens from 256 to 256; .* knows 0 to 255"),
        ({"tokens": torch.ones(1, 4)}, "data for .* must hold its tokens as 'input_ids'"),
    ],
)
def test_tokens_a_language_model_cannot_score(tiny, data, sentence):
    with pytest.raises(ValueError, match=f"^{sentence}"):
        measure(tiny(), data, prompt=4, generate=4)


def test_more_text_than_the_model_reads(tiny, gpt2):
    for model in (tiny(), gpt2):
        sentence = r"^prompt \+ generate is 65 tokens; model '\w+' reads 64 at most$"
        with pytest.raises(ValueError, match=sentence):
            measure(model, tokens(99), prompt=33, generate=32)


def test_a_model_of_other_tokens_needs_data(llama):
    with pytest.raises(ValueError, match=r"^data is needed: model 'LlamaForCausalLM' is not"):
        measure(llama, **SMALL)


def test_models_that_cannot_be_compared(tiny):
    for nothing in ({}, [], None, tiny()):
        with pytest.raises(TypeError, match=r"^models must be a dict of name: model") as raised:
            compare(nothing)
        assert "\n" not in str(raised.value)
    with pytest.raises(TypeError, match=r"^names in models must be text, got 1$"):
        compare({1: tiny()})
    with pytest.raises(ValueError, match=r"^models must lie on one device to be compared"):
        compare({"a": tiny(), "b": tiny().to("meta")})
    with pytest.raises(ValueError, match=r"^model must lie on 'cpu' or 'cuda', got 'meta'$"):
        measure(tiny().to("meta"))
    with pytest.raises(TypeError, match=r"^model 'b' must be a torch.nn.Module, got int$"):
        compare({"a": tiny(), "b": 3})
