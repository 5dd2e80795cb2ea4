"""The search for the cheapest layout: every combination, memory first, equal to brute force."""

import json
import time
from itertools import product

import pytest

from costlab import cli
from costlab.estimate import Accelerator, Transformer, search, training

SMALL = Transformer(layers=8, hidden=1024, heads=16, ffn=4096, vocab=32000, name="small")
EXPERTS = Transformer(
    layers=4, hidden=1024, heads=16, ffn=2048, vocab=32000, experts=8, experts_active=2, name="moe"
)
TIGHT = Accelerator(memory_gib=8, bandwidth_gbs=1000, tflops={"bf16": 200}, link_gbs=200)


def brute_force(model, chip, devices: int, batch: int, sequence: int) -> list:
    """(seconds, layout) of everything that `training` accepts and that fits."""
    found = []
    sizes = [1, 2, 4, 8]
    for t, p, c, e, z, m, again, v in product(
        sizes, sizes, [1], [1, 2, 4, 8], [0, 1, 2, 3], sizes, ["none", "selective", "full"],
        [1, 2, 4],
    ):  # fmt: skip
        if v > 1 and p == 1:
            continue
        named = {"tensor": t, "pipeline": p, "context": c, "expert": e, "zero": z,
                 "micro_batch": m, "recompute": again, "interleave": v}  # fmt: skip
        try:
            estimate = training(
                model, chip, devices=devices, global_batch=batch, sequence=sequence, **named
            )
        except ValueError:
            continue
        if estimate.fits:
            found.append((estimate.step_seconds, named))
    return found


@pytest.mark.parametrize("model", [SMALL, EXPERTS], ids=str)
def test_it_finds_what_brute_force_finds_on_64_devices(model):
    every = brute_force(model, TIGHT, 64, 256, 2048)
    found = search(model, TIGHT, devices=64, global_batch=256, sequence=2048, top=10**6)
    assert found.fitting == len(every)
    assert 0 < found.fitting < found.considered
    assert found.best[0].step_seconds == pytest.approx(min(every, key=lambda pair: pair[0])[0])
    assert [e.step_seconds for e in found.best] == pytest.approx(sorted(s for s, _ in every))


def test_the_best_first_and_each_is_what_training_says():
    found = search("llama-3.1-8b", "h100-sxm", devices=16, tokens=1e11, price=2.0, top=3)
    assert len(found.best) == len(found.layouts) == 3
    dollars = [e.dollars for e in found.best]
    assert dollars == sorted(dollars)
    lay = found.layouts[0]
    same = training(
        "llama-3.1-8b", "h100-sxm", devices=16, tensor=lay.tensor, pipeline=lay.pipeline,
        context=lay.context, zero=lay.zero, micro_batch=lay.micro_batch,
        recompute=lay.recompute, interleave=lay.interleave, global_batch=lay.global_batch,
        sequence=lay.sequence, tokens=1e11, price=2.0,
    )  # fmt: skip
    assert same == found.best[0]


def test_a_trillion_parameters_on_4096_devices_in_two_seconds():
    """Processor time of one core."""
    began = time.process_time()
    found = search("megatron-1t", "h100-sxm", devices=4096)
    assert time.process_time() - began < 2
    assert found.considered > 3000
    assert found.best[0].fits


def test_axes_are_stated_and_can_be_held():
    found = search("llama-3.1-8b", "h100-sxm", devices=8, tensor=2, zero=[1, 3], pipeline=1)
    assert found.axes["tensor"] == (2,)
    assert found.axes["zero"] == (1, 3)
    assert found.axes["recompute"] == ("none", "selective", "full")
    assert {(lay.tensor, lay.pipeline) for lay in found.layouts} == {(2, 1)}


def test_where_nothing_fits_the_closest_is_shown():
    found = search("llama-3.1-70b", "t4", devices=4)
    assert found.best == ()
    assert found.fitting == 0
    assert not found.closest.fits
    assert "the closest" in str(found)
    assert json.loads(found.to_json())["closest"]["fits"] is False


def test_from_the_shell(capsys):
    argv = ["search", "llama-3.1-8b", "h100-sxm", "--devices", "8", "--zero", "1,3", "--top", "2"]
    assert cli.main(argv) == 0
    out = capsys.readouterr().out
    assert "zero: 1, 3" in out
    assert "layouts are valid" in out
    assert cli.main([*argv, "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)["best"]) == 2


@pytest.mark.parametrize(
    ("asked", "sentence"),
    [
        ({"devices": 0}, "devices must be a whole number from 1"),
        ({"top": 0}, "top must be a whole number from 1"),
        ({"tensor": "2"}, "tensor must be a whole number"),
        ({"sequence": 0}, "sequence must be a whole number from 1"),
        ({"global_batch": 0}, "global_batch must be a whole number from 1"),
        ({"zero": 4}, "zero must be a whole number from 0 to 3"),
        ({"recompute": "half"}, "recompute must be one of none, selective, full"),
        ({"precision": "fp2"}, "precision must be one of"),
        ({"price": -1}, "price must be a number above 0"),
        ({"tokens": 0}, "tokens must be a number above 0"),
        ({"tensor": 3}, "axes must hold a layout of 8 devices"),
        ({"micro_batch": [], "global_batch": 8}, "axes must hold a layout of 8 devices"),
    ],
)
def test_bad_input_is_one_sentence(asked, sentence):
    with pytest.raises(ValueError, match=sentence):
        search("llama-3.1-8b", "h100-sxm", **{"devices": 8} | asked)
