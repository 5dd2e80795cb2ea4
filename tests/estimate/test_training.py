"""Training estimates: published tables, properties, and one sentence for each bad input."""

import json
import math
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab import catalog
from costlab.estimate import Accelerator, Transformer, training

GPT = Transformer(
    layers=36, hidden=4096, heads=32, ffn=16384, vocab=51200, gated=False, tied=True,
    positions=2048, biases="all", norm="layer", name="7.5B",
)  # fmt: skip


# arXiv:2005.14165 Table D.1: training operations of models in the catalog on 300B tokens.
@pytest.mark.parametrize(
    ("name", "flops"), [("gpt3-175b", 3.14e23), ("gpt3-6.7b", 1.20e22), ("gpt3-1.3b", 2.38e21)]
)
def test_operations_are_those_of_the_gpt3_table(name, flops):
    run = training(name, "a100-80gb", devices=64, zero=3, tokens=300e9)
    assert run.flops_total == pytest.approx(flops, rel=0.03)


def test_operations_are_those_llama_reports():
    run = training("llama-3.1-405b", "h100-sxm", devices=16, zero=3, tokens=15.6e12)
    assert run.flops_total == pytest.approx(3.8e25, rel=0.03)


# arXiv:1910.02054 Table 1, GB a device for 7.5B parameters.
@pytest.mark.parametrize(
    ("devices", "stage", "gigabytes"),
    [
        (1, 1, 120), (4, 1, 52.5), (16, 1, 35.6), (64, 1, 31.4), (256, 1, 30.4),
        (4, 2, 41.4), (16, 2, 21.6), (64, 2, 16.6), (256, 2, 15.4),
        (4, 3, 30), (16, 3, 7.5), (64, 3, 1.88), (256, 3, 0.47),
    ],
)  # fmt: skip
def test_model_states_are_those_of_the_zero_table(devices, stage, gigabytes):
    parts = training(GPT, "v100-sxm", devices=devices, zero=stage).memory
    states = parts["weights"] + parts["gradients"] + parts["optimizer"]
    assert states * 2**30 / 1e9 * 7.5e9 / GPT.params == pytest.approx(gigabytes, rel=0.01)


def test_activations_are_near_korthikantis_formula():
    """34 sbh/t bytes a layer with dropout, a little less without; 2 sbh/t where recomputed."""
    shape = {"devices": 16, "tensor": 8, "sequence": 2048}
    each = 36 * 2048 * 4096 / 8 / 2**30
    kept = training(GPT, "a100-80gb", **shape).memory["activations"]
    assert 0.85 * 34 * each < kept < 1.05 * 34 * each
    again = training(GPT, "a100-80gb", recompute="full", **shape).memory["activations"]
    assert 2 * each < again < 3.1 * each


# arXiv:2104.04473 Table 1 and arXiv:2205.05198 Table 5: (model, chips, layout, MFU).
@pytest.mark.parametrize(
    ("layers", "hidden", "heads", "layout", "mfu"),
    [
        (96, 12288, 96, {"pipeline": 8, "interleave": 3}, 0.514),
        (105, 20480, 128, {"pipeline": 35, "interleave": 3}, 0.56),
        (128, 25600, 160, {"pipeline": 64}, 0.563),
    ],
)  # fmt: skip
def test_mfu_is_near_the_published_one(layers, hidden, heads, layout, mfu):
    model = Transformer(
        layers=layers, hidden=hidden, heads=heads, ffn=4 * hidden, vocab=51200, gated=False,
        tied=True, positions=2048,
    )  # fmt: skip
    devices = 8 * layout["pipeline"]
    layout |= {"devices": devices, "global_batch": devices, "precision": "fp16"}
    run = training(model, "a100-80gb", tensor=8, sequence=2048, recompute="selective", **layout)
    assert run.mfu == pytest.approx(mfu, rel=0.15)


def test_figures_hang_together():
    run = training("llama-3.1-8b", "h100-sxm", devices=16, zero=3, tokens=1e12, price=2.0)
    assert run.tokens_per_s_per_device * 16 * run.step_seconds == pytest.approx(16 * 8 * 8192)
    assert run.device_hours == pytest.approx(
        1e12 / run.tokens_per_s_per_device / 3600 / run.goodput
    )
    assert run.wall_hours == pytest.approx(run.device_hours / 16)
    assert run.dollars == pytest.approx(2 * run.device_hours)
    assert run.energy_kwh == pytest.approx(0.7 * run.device_hours)
    assert sum(run.memory.values()) == pytest.approx(run.memory_gib_per_device)
    assert sum(run.parts.values()) == pytest.approx(run.step_seconds, rel=0.01)
    assert run.mfu == pytest.approx(run.tflops_per_device / 989)
    assert run.hfu == run.mfu
    again = training("llama-3.1-8b", "h100-sxm", devices=16, zero=3, recompute="full")
    assert again.hfu == pytest.approx(4 / 3 * again.mfu)


def test_every_figure_has_a_range_around_it():
    run = training("mixtral-8x7b", "b200-sxm", devices=8, zero=3, precision="fp8", tokens=1e9)
    names = [
        "tflops_per_device", "mfu", "hfu", "tokens_per_s_per_device", "step_seconds", "goodput",
        "memory_gib_per_device", "device_hours", "wall_hours", "dollars", "energy_kwh",
    ]  # fmt: skip
    for name in names:
        low, middle, high = (getattr(run, name + end) for end in ("_low", "", "_high"))
        assert low < middle < high, name
    assert run.goodput_high <= 1
    assert json.loads(run.to_json())["dollars_high"] == run.dollars_high
    with pytest.raises(AttributeError, match="no attribute 'model_low'"):
        run.model_low  # noqa: B018


def test_what_does_not_fit_is_an_answer():
    run = training("llama-3.1-70b", "a100-80gb", devices=8)
    assert not run.fits
    assert run.tokens_per_s_per_device > 0
    assert "does not fit in 80 GiB" in run.explain()
    assert "GiB too much" in run.explain()
    assert "would fit with" in run.explain()
    devices = 512 if "512 devices" in run.explain() else None
    assert training("llama-2-7b", "h100-sxm", devices=8, zero=3, recompute="full").fits
    assert (
        devices is None
        or training("llama-3.1-70b", "a100-80gb", devices=devices, zero=3, recompute="full").fits
    )
    hopeless = training("megatron-1t", Accelerator(
        memory_gib=2, bandwidth_gbs=10, tflops={"bf16": 1}))  # fmt: skip
    assert "would not make it fit" in hopeless.explain()


def test_remedies_do_what_they_say():
    run = training("llama-2-7b", "a100-40gb", devices=8)
    assert not run.fits
    for line in run.remedies:
        if line == "would fit with zero=3 and recompute='full'":
            assert training("llama-2-7b", "a100-40gb", devices=8, zero=3, recompute="full").fits


def test_stages_that_do_not_divide_are_valid_and_slower():
    def run(layers: int):
        shape = {"hidden": 4096, "heads": 32, "ffn": 11008, "vocab": 1000}
        model = Transformer(layers=layers, **shape)
        return training(model, "h100-sxm", devices=8, pipeline=8, global_batch=64)

    even, uneven = run(32), run(33)
    assert uneven.step_seconds > 1.15 * even.step_seconds
    assert uneven.mfu < even.mfu
    assert "uneven stages" in uneven.explain()


def test_fewer_bits_are_faster_and_gain_nothing_outside_products():
    paces = [
        training("llama-3.1-70b", "b200-sxm", devices=64, zero=3, precision=p)
        .tokens_per_s_per_device
        for p in ("tf32", "bf16", "fp8", "fp4")
    ]  # fmt: skip
    assert paces == sorted(paces)
    assert paces[3] < 2.5 * paces[1], "peak is four times as high, the step is not"


def test_adapters_cost_less_than_training_everything():
    whole = training("llama-2-70b", "h100-sxm", devices=8, tensor=8)
    some = training("llama-2-70b", "h100-sxm", devices=8, tensor=8, adapters=16)
    assert some.step_seconds < whole.step_seconds
    assert some.flops_total == pytest.approx(whole.flops_total * 4 / 6)
    assert some.memory_gib_per_device < whole.memory_gib_per_device / 2


def test_a_chip_without_bf16_says_what_it_runs():
    run = training("gpt2", "v100-sxm")
    assert run.precision == "fp16"
    assert "has no bf16: fp16 is assumed" in run.explain()


def test_a_measured_machine_is_an_accelerator():
    here = Accelerator(
        memory_gib=8, bandwidth_gbs=20, tflops={"fp32": 0.1}, measured=True, id="laptop"
    )
    run = training("gpt2", here, precision="fp32", sequence=512)
    assert 0.3 < run.mfu < 1
    assert run.dollars is None
    assert run.dollars_high is None
    assert "no price of laptop is known" in run.explain()


def test_a_price_of_the_catalog_says_where_it_is_from_and_how_old_it_is():
    assert "at the catalog's h100-sxm, on-demand: $" in training("gpt2", "h100-sxm").explain()
    assert "days old" in training("gpt2", "l40").explain()
    assert "catalog" not in training("gpt2", "h100-sxm", price=2).explain()


BAD = [
    ({"devices": 0}, "devices must be a whole number from 1"),
    ({"devices": -8}, "devices must be a whole number from 1"),
    ({"devices": 8, "tensor": 3}, "devices must be a multiple of tensor x pipeline x context"),
    ({"devices": 8, "data": 4}, "data must be devices / "),
    ({"devices": 8, "micro_batch": 2, "global_batch": 24}, "global_batch must be a multiple of"),
    ({"devices": 64, "tensor": 64}, "tensor must be at most the 32 heads"),
    ({"devices": 64, "pipeline": 64}, "pipeline x interleave must be at most the 32 layers"),
    ({"devices": 8, "expert": 2}, "expert must be 1, llama-3.1-8b has no experts"),
    ({"devices": 8, "expert": 3}, "expert must divide data x context"),
    ({"zero": 4}, "zero must be a whole number from 0 to 3"),
    ({"precision": "int3"}, "precision must be one of fp32"),
    ({"precision": "fp4"}, "precision must be one that h100-sxm has"),
    ({"recompute": "all"}, "recompute must be one of none, selective, full"),
    ({"tokens": -1}, "tokens must be a number above 0"),
    ({"tokens": math.nan}, "tokens must be a number above 0"),
    ({"price": 0}, "price must be a number above 0"),
    ({"sequence": 0}, "sequence must be a whole number"),
    ({"adapters": 0}, "adapters must be a whole number"),
    ({"micro_batch": 1.5}, "micro_batch must be a whole number"),
]


@pytest.mark.parametrize(("wrong", "message"), BAD, ids=lambda value: str(value)[:40])
def test_bad_layouts_get_one_sentence(wrong, message):
    with pytest.raises(ValueError, match=message) as error:
        training("llama-3.1-8b", "h100-sxm", **wrong)
    assert str(error.value).endswith((".", "?"))


def test_unknown_names_offer_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'h100-sxm'"):
        training("llama-3.1-8b", "h100")
    with pytest.raises(TypeError, match="accelerator must be a catalog id"):
        training("llama-3.1-8b", 7)


LAYOUT = st.fixed_dictionaries(
    {
        "tensor": st.sampled_from([1, 2, 4, 8]),
        "pipeline": st.sampled_from([1, 2, 3, 4]),
        "zero": st.integers(0, 3),
        "micro_batch": st.sampled_from([1, 2, 4]),
        "sequence": st.sampled_from([512, 2048, 8192]),
        "recompute": st.sampled_from(["none", "selective", "full"]),
        "precision": st.sampled_from(["bf16", "fp8"]),
    }
)
MODELS = st.sampled_from(["llama-3.1-8b", "gpt2-xl", "mixtral-8x7b", "deepseek-v2-lite"])


def run_of(model: str, layout: dict, data: int = 4, **more: object):
    layout = layout | more
    devices = data * layout["tensor"] * layout["pipeline"] * layout.get("context", 1)
    return training(model, "h100-sxm", devices=devices, **layout)


@settings(max_examples=40, deadline=None)
@given(MODELS, LAYOUT)
def test_more_tokens_are_never_cheaper(model, layout):
    one, two = (run_of(model, layout, tokens=t, price=1.0) for t in (1e9, 1.1e9))
    assert two.dollars > one.dollars
    assert two.wall_hours > one.wall_hours
    assert two.flops_total > one.flops_total


@settings(max_examples=40, deadline=None)
@given(MODELS, LAYOUT)
def test_sharding_never_raises_memory(model, layout):
    held = run_of(model, layout, micro_batch=1).memory_gib_per_device
    if layout["zero"] < 3:
        wider = run_of(model, layout, micro_batch=1, zero=layout["zero"] + 1)
        assert wider.memory_gib_per_device <= held + 1e-9
    if layout["tensor"] < 8:
        wider = run_of(model, layout, micro_batch=1, tensor=2 * layout["tensor"])
        assert wider.memory_gib_per_device < held
    assert run_of(model, layout, 8, micro_batch=1).memory_gib_per_device <= held + 1e-9
    full = run_of(model, layout, micro_batch=1, recompute="full")
    assert full.memory_gib_per_device <= held + 1e-9


@settings(max_examples=40, deadline=None)
@given(MODELS, LAYOUT)
def test_doubling_devices_is_never_free_nor_more_than_double(model, layout):
    one, two = (
        run_of(model, layout, data, global_batch=256, tokens=1e10, price=1.0) for data in (4, 8)
    )
    assert two.device_hours > one.device_hours
    assert two.wall_hours < one.wall_hours * 1.05


@pytest.mark.parametrize("chip", [c.id for c in catalog.accelerators()])
def test_every_chip_and_its_units_give_a_sane_answer(chip):
    row = catalog.accelerator(chip)
    precision = "bf16" if row.bf16_tflops or row.fp16_tflops else "fp32"
    run = training("llama-2-7b", chip, devices=8, zero=3, precision=precision)
    assert 0.1 < run.mfu < 0.8
    assert 5 < run.memory_gib_per_device < 200


def test_one_estimate_takes_about_a_millisecond():
    """Half of one on a slow core; three are allowed, for machines that others use too."""
    once = {"devices": 512, "tensor": 8, "pipeline": 4, "zero": 1}
    training("llama-3.1-70b", "h100-sxm", **once)
    best = math.inf
    for _ in range(5):
        start = time.process_time()
        for _ in range(20):
            training("llama-3.1-70b", "h100-sxm", **once)
        best = min(best, (time.process_time() - start) / 20)
    assert best < 3e-3
