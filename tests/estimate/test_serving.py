"""The serving estimate: published measurements, exact counts, properties, bad input."""

import json
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab import catalog
from costlab.estimate import Accelerator, Transformer, resolve_accelerator, resolve_model, serving
from costlab.estimate.formulas import formula
from costlab.estimate.serve_time import GIB, Replica, arithmetic, constants, matmul_share

CHAT = {"prompt": 1000, "generate": 200}
BITS = {"fp16": 16, "bf16": 16, "fp8": 8, "int8": 8, "fp4": 4, "int4": 4}


def miss(estimate, row) -> float:
    return abs(math.log(estimate.tokens_per_s / row.value))


def median(values) -> float:
    return sorted(values)[len(values) // 2]


# --- published measurements (no row is met by chance: the coefficients are eleven)


def test_published_decoding_of_one_request():
    rows = [
        r for r in catalog.serving_results("decode")
        if "host-bound" not in r.note and "gpt-fast" in r.software
    ]  # fmt: skip
    misses = [
        miss(serving(r.model, r.accelerator, devices=r.devices, weight_bits=BITS[r.precision],
                     batch=1, prompt=5, generate=200), r)
        for r in rows
    ]  # fmt: skip
    assert len(rows) > 12
    assert median(misses) < 0.15


def test_published_offline_throughput():
    rows = catalog.serving_results("offline")
    misses = []
    for r in rows:
        kv = 8 if BITS[r.precision] < 16 else 16
        e = serving(r.model, r.accelerator, devices=r.devices, weight_bits=BITS[r.precision],
                    kv_bits=kv, prompt=r.prompt, generate=r.generate)  # fmt: skip
        misses.append(miss(e, r))
    assert len(rows) > 150
    assert median(misses) < 0.25


def test_published_service_that_keeps_a_promise():
    """Throughput of the Server scenario, which no coefficient was fitted to."""
    rows = catalog.serving_results("server")
    misses = []
    for r in rows:
        e = serving(r.model, r.accelerator, devices=r.devices, weight_bits=BITS[r.precision],
                    kv_bits=8, prompt=r.prompt, generate=r.generate,
                    slo_ttft=2.0, slo_tpot=0.2)  # fmt: skip
        assert e.keeps_promise
        misses.append(miss(e, r))
    assert len(rows) > 30
    assert median(misses) < 0.25


def test_a_service_saturates_where_the_published_one_does():
    """Llama 3.3 70B in fp8 on two H100: throughput, latency and queue from 1 to 250 requests."""
    base = {"devices": 2, "tensor": 2, "weight_bits": 8, "kv_bits": 8, "prompt": 5000,
            "generate": 500}  # fmt: skip
    found = {
        (r.kind, r.concurrency): r.value
        for r in catalog.serving_results() if r.software.startswith("NIM") and r.prompt == 5000
    }  # fmt: skip
    for n in (1, 5, 25, 50, 100, 150, 200, 250):
        e = serving("llama-3.3-70b", "h100-sxm", batch=n, **base)
        assert e.tokens_per_s == pytest.approx(found["throughput", n], rel=0.25)
        assert e.tpot_seconds == pytest.approx(found["time per output token", n] / 1e3, rel=0.25)
        if n > 100:  # most of it is waiting for a place
            assert e.ttft_seconds == pytest.approx(found["time to first token", n] / 1e3, rel=0.25)


# --- exact counts


@pytest.mark.parametrize(
    ("model", "bytes_per_token"),
    [("llama-2-7b", 524288), ("llama-3.1-405b", 516096), ("deepseek-v3", 70272)],
)
def test_cache_bytes_are_the_published_ones(model, bytes_per_token):
    replica = Replica(resolve_model(model), resolve_accelerator("h200-sxm"))
    assert replica.cache_bytes(1000) == 1000 * bytes_per_token


def test_a_cache_is_copied_where_heads_are_fewer_than_devices_and_latent_ones_are_split():
    llama = Replica(resolve_model("llama-3.1-70b"), resolve_accelerator("gb200"), 16)
    assert llama.cache_bytes(10) == 2 * Replica(llama.model, llama.chip, 8).cache_bytes(10)
    latent = Replica(resolve_model("deepseek-v3"), resolve_accelerator("h200-sxm"), 8)
    assert latent.cache_bytes(10) == Replica(latent.model, latent.chip, 1).cache_bytes(10)


def test_weights_and_cache_fill_the_memory():
    e = serving("llama-3.1-8b", "h100-sxm", prompt=1000, generate=1000)
    weights = 2 * resolve_model("llama-3.1-8b").params / GIB
    assert e.memory_gib == pytest.approx(
        weights + e.kv_gib + constants()["workspace_gib"], rel=1e-6
    )
    assert e.memory_gib < 80
    more = (e.max_batch + 1) * 2000 * 131072 / GIB + weights + constants()["workspace_gib"]
    assert more > constants()["memory_share"] * 80


def test_experts_that_a_batch_touches():
    step = formula("decode_step")
    names = {"experts": 8, "active": 2, "expert": 10.0, "dense": 0.0, "batch": 1}
    one = step(**_ones() | names)
    assert one["touched"] == pytest.approx(2)
    assert step(**_ones() | names | {"batch": 4})["touched"] == pytest.approx(8 * (1 - 0.75**4))
    assert step(**_ones() | names | {"batch": 500})["touched"] == pytest.approx(8)


def _ones() -> dict:
    from costlab.estimate.formulas import export

    return dict.fromkeys(export()["formulas"]["decode_step"]["inputs"], 1.0)


def test_a_batch_of_one_reads_the_weights_once():
    chip = Accelerator(memory_gib=80, bandwidth_gbs=1000, tflops={"bf16": 400}, measured=True)
    model = Transformer(layers=10, hidden=1000, heads=10, ffn=4000, vocab=1000)
    parts = Replica(model, chip).step_parts(1, 100)
    assert parts["read"] == pytest.approx(2 * model.matrix_params / 1e12)
    assert parts["cache_read"] == pytest.approx(100 * 10 * 2 * 1000 * 2 / 1e12)
    assert parts["exchange"] == parts["start"] == 0


def test_arithmetic_falls_back_on_what_the_chip_has():
    h100, b200 = resolve_accelerator("h100-sxm"), resolve_accelerator("b200-sxm")
    assert [arithmetic(h100, bits) for bits in (16, 8, 4)] == ["bf16", "fp8", "bf16"]
    assert arithmetic(b200, 4) == "fp4"
    assert arithmetic(resolve_accelerator("t4"), 16) == "fp16"
    assert arithmetic(resolve_accelerator("a100-80gb"), 8) == "int8"
    assert (
        arithmetic(Accelerator(memory_gib=8, bandwidth_gbs=20, tflops={"fp32": 0.1}), 16) == "fp32"
    )


def test_measured_peaks_are_taken_as_they_are_and_power_limits_others():
    known = constants()
    own = Accelerator(memory_gib=8, bandwidth_gbs=20, tflops={"fp32": 0.1}, measured=True)
    assert matmul_share(own, known) == 1
    assert matmul_share(resolve_accelerator("h100-sxm"), known) == pytest.approx(794.5 / 989)
    assert matmul_share(resolve_accelerator("h100-pcie"), known) < known["usual_share"]


# --- how the figures hang together


@pytest.mark.parametrize(
    "asked",
    [{}, {"batch": 3}, {"requests_per_s": 0.5}, {"requests_per_s": 1e6}, {"cached_share": 0.8},
     {"slo_tpot": 0.05}, {"devices": 7}],
)  # fmt: skip
def test_dollars_of_input_and_output_sum_to_the_whole(asked):
    e = serving("llama-3.1-8b", "l4", price=1.0, weight_bits=8, **CHAT | asked)
    whole = e.generate * e.dollars_per_million_tokens
    assert e.prompt * e.dollars_per_million_input + e.generate * (
        e.dollars_per_million_output
    ) == pytest.approx(whole)
    per_second = e.devices * 1.0 / 3600
    assert e.tokens_per_s / 1e6 * e.dollars_per_million_tokens == pytest.approx(per_second)
    assert e.tokens_per_s == pytest.approx(e.devices * e.tokens_per_s_per_device)
    assert e.tokens_per_s == pytest.approx(e.requests_per_s * e.generate)


def test_every_predicted_figure_has_a_range_around_it():
    e = serving("llama-3.1-8b", "l4", weight_bits=8, **CHAT)
    for name in ("tokens_per_s", "ttft_seconds", "tpot_seconds", "dollars_per_million_tokens",
                 "dollars_per_million_input", "dollars_per_million_output"):  # fmt: skip
        low, high = getattr(e, f"{name}_low"), getattr(e, f"{name}_high")
        assert 0 < low < high
        assert low < getattr(e, name) * 1.3
        assert high > getattr(e, name) / 1.3
    with pytest.raises(AttributeError, match="no attribute 'batch_low'"):
        _ = e.batch_low


def test_what_was_asked_has_no_range():
    e = serving("llama-3.1-8b", "l4", weight_bits=8, requests_per_s=0.5, **CHAT)
    assert e.tokens_per_s_low == e.tokens_per_s_high == pytest.approx(100)
    assert e.utilization_low < e.utilization < e.utilization_high


def test_utilization_is_the_load_over_the_most():
    most = 1e-3 / serving("llama-3.1-8b", "l4", requests_per_s=1e-3, **CHAT).utilization
    half = serving("llama-3.1-8b", "l4", requests_per_s=most / 2, **CHAT)
    assert half.utilization == pytest.approx(0.5)
    over = serving("llama-3.1-8b", "l4", requests_per_s=2 * most, **CHAT)
    assert over.utilization == pytest.approx(2)
    assert math.isinf(over.ttft_seconds)
    assert not over.keeps_promise
    assert json.loads(over.to_json())["ttft_seconds"] is None


def test_a_promise_lowers_what_can_be_served():
    free = serving("llama-3.1-8b", "l4", weight_bits=8, requests_per_s=0.5, **CHAT)
    bound = serving(
        "llama-3.1-8b", "l4", weight_bits=8, requests_per_s=0.5, slo_ttft=1, slo_tpot=0.05, **CHAT
    )
    assert bound.keeps_promise
    assert bound.tpot_p95_seconds <= 0.05
    assert bound.ttft_p95_seconds <= 1
    assert bound.utilization > free.utilization
    hopeless = serving("llama-3.1-8b", "l4", requests_per_s=0.5, slo_tpot=1e-4, **CHAT)
    assert not hopeless.keeps_promise


def test_offline_with_a_promise_serves_fewer_at_once():
    every = serving("llama-3.1-8b", "h100-sxm", **CHAT)
    quick = serving("llama-3.1-8b", "h100-sxm", slo_tpot=0.015, **CHAT)
    assert quick.batch < every.batch
    assert quick.tpot_p95_seconds <= 0.015


def test_a_model_that_does_not_fit_is_an_answer():
    e = serving("llama-3.1-405b", "h100-sxm", devices=8, **CHAT)
    assert not e.fits
    assert e.max_batch == 0
    assert e.tokens_per_s > 0
    assert "does not fit" in e.explain()
    assert "would help" in e.explain()
    assert serving("llama-3.1-405b", "h100-sxm", devices=16, **CHAT).fits


@pytest.mark.parametrize("devices", [1, 2, 3, 5, 6, 7, 12, 31])
def test_any_number_of_devices(devices):
    e = serving("llama-3.1-70b", "h200-sxm", devices=devices, **CHAT, weight_bits=8)
    assert e.replicas * e.tensor * e.pipeline <= devices
    assert e.tokens_per_s > 0


def test_the_chosen_layout_is_the_best_of_all():
    for asked in ({}, {"batch": 1}, {"batch": 64}):
        chosen = serving("llama-3.1-70b", "h200-sxm", devices=8, weight_bits=8, **CHAT | asked)
        each = [
            serving("llama-3.1-70b", "h200-sxm", devices=8, tensor=t, weight_bits=8, **CHAT | asked)
            for t in (1, 2, 4, 8)
        ]
        assert chosen.tokens_per_s == pytest.approx(max(e.tokens_per_s for e in each if e.fits))


def test_dollars_are_unknown_without_a_price_and_never_zero():
    own = Accelerator(memory_gib=80, bandwidth_gbs=1000, tflops={"bf16": 100})
    e = serving("llama-2-7b", own, **CHAT)
    assert e.dollars_per_million_tokens is None
    assert e.dollars_per_million_tokens_low is None
    assert "unknown" in str(e)
    assert serving("llama-2-7b", own, price=2, **CHAT).dollars_per_million_tokens > 0
    assert serving("llama-2-7b", "h100-sxm", **CHAT).price == catalog.price("h100-sxm").median


def test_a_price_of_the_catalog_says_where_it_is_from_and_how_old_it_is():
    slip = str(serving("llama-3.1-8b", "gh200-96gb", **CHAT))
    assert "at the catalog's gh200-96gb, on-demand: $0.88" in slip
    assert "the newest of 2025-03-07 (" in slip
    assert "days old" in slip
    assert "catalog" not in str(serving("llama-3.1-8b", "gh200-96gb", price=1, **CHAT))


def test_the_slip_and_the_dictionary_say_the_same():
    e = serving("llama-3.1-8b", "h100-sxm", **CHAT)
    assert "llama-3.1-8b on 1 x h100-sxm" in str(e)
    assert json.loads(e.to_json())["tokens_per_s_low"] == e.tokens_per_s_low
    assert e.explain().count("of a step") >= 3


# --- properties

lengths = st.integers(1, 20_000)
chips = st.sampled_from(["t4", "l4", "a100-80gb", "h100-sxm", "b200-sxm", "mi300x", "tpu-v5e"])
names = st.sampled_from(["llama-2-7b", "llama-3.1-8b", "mixtral-8x7b", "deepseek-v2-lite"])


@settings(max_examples=60, deadline=None)
@given(names, chips, lengths, lengths, st.sampled_from([1, 2, 8, 24]))
def test_longer_requests_are_never_cheaper(model, chip, prompt, generate, devices):
    some = serving(model, chip, devices=devices, prompt=prompt, generate=generate)
    more = serving(model, chip, devices=devices, prompt=2 * prompt, generate=generate)
    if some.fits == more.fits:
        assert more.requests_per_s <= some.requests_per_s * 1.001
    assert more.kv_gib * 0 == 0
    cached = serving(
        model, chip, devices=devices, prompt=prompt, generate=generate, cached_share=0.5
    )
    assert cached.requests_per_s >= some.requests_per_s * 0.999


@settings(max_examples=40, deadline=None)
@given(names, chips, st.integers(1, 4000), st.sampled_from([1, 2, 4, 8]))
def test_sharing_layers_never_needs_more_memory_nor_is_exactly_free(model, chip, prompt, t):
    known = {"batch": 1, "prompt": prompt, "generate": 100}
    one = serving(model, chip, devices=t, tensor=t, **known)
    two = serving(model, chip, devices=2 * t, tensor=2 * t, **known)
    assert two.memory_gib <= one.memory_gib
    assert two.tokens_per_s < 2 * one.tokens_per_s


@settings(max_examples=40, deadline=None)
@given(names, chips, st.floats(0.01, 0.95))
def test_more_load_is_slower_and_cheaper(model, chip, share):
    most = 1e-6 / serving(model, chip, requests_per_s=1e-6, devices=4, **CHAT).utilization
    low = serving(model, chip, devices=4, requests_per_s=0.5 * share * most, price=1, **CHAT)
    high = serving(model, chip, devices=4, requests_per_s=share * most, price=1, **CHAT)
    assert high.dollars_per_million_tokens < low.dollars_per_million_tokens
    if high.tensor == low.tensor:
        assert high.ttft_p95_seconds >= low.ttft_p95_seconds
        assert high.tpot_p95_seconds >= low.tpot_p95_seconds * 0.999


@settings(max_examples=30, deadline=None)
@given(names, chips, st.integers(1, 300))
def test_a_larger_batch_writes_more_but_each_waits_longer(model, chip, batch):
    known = {"devices": 8, "tensor": 8, "prompt": 200, "generate": 200}
    some = serving(model, chip, batch=batch, **known)
    more = serving(model, chip, batch=batch + 1, **known)
    assert more.tokens_per_s >= some.tokens_per_s * 0.999
    assert more.tpot_seconds >= some.tpot_seconds * 0.999


# --- bad input


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"model": "llama-3.1-8"}, "unknown model .*did you mean 'llama-3.1-8b'"),
        ({"accelerator": "h100"}, "unknown accelerator .*did you mean"),
        ({"devices": 0}, "devices must be a whole number from 1"),
        ({"devices": 2.5}, "devices must be a whole number"),
        ({"tensor": 3}, "tensor must be a whole number from 1 to 2, got 3"),
        ({"tensor": 0}, "tensor must be a whole number from 1"),
        ({"weight_bits": 0}, "weight_bits must be a number above 0"),
        ({"kv_bits": "8"}, "kv_bits must be a number"),
        ({"batch": 0}, "batch must be a whole number from 1"),
        ({"batch": 4, "requests_per_s": 1.0}, "batch and requests_per_s cannot both be given"),
        ({"prompt": 0}, "prompt must be a whole number from 1"),
        ({"generate": -5}, "generate must be a whole number from 1"),
        ({"requests_per_s": 0}, "requests_per_s must be a number above 0"),
        ({"requests_per_s": float("nan")}, "requests_per_s must be a number above 0"),
        ({"cached_share": 1.5}, "cached_share must be a number from 0 to 1, got 1.5"),
        ({"cached_share": True}, "cached_share must be a number, got True"),
        ({"slo_ttft": -1}, "slo_ttft must be a number above 0"),
        ({"slo_tpot": 0}, "slo_tpot must be a number above 0"),
        ({"price": 0}, "price must be a number above 0"),
        ({"price": float("inf")}, "price must be a number above 0"),
    ],
)
def test_bad_input_is_one_sentence(asked, sentence):
    given_ = {"model": "llama-3.1-8b", "accelerator": "h100-sxm", "devices": 2, **CHAT} | asked
    with pytest.raises(ValueError, match=sentence) as error:
        serving(given_.pop("model"), given_.pop("accelerator"), **given_)
    assert "\n" not in str(error.value)
