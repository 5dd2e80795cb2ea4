"""Accelerators of estimates, and the exchanges between them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab import catalog
from costlab.estimate import Accelerator, resolve_accelerator
from costlab.estimate.collectives import all_gather, all_reduce, all_to_all, reduce_scatter, send

IDS = [
    "t4",
    "l4",
    "a10g",
    "v100-sxm",
    "a100-40gb",
    "a100-80gb",
    "h100-sxm",
    "h200-sxm",
    "b200-sxm",
    "gb200",
    "b300",
    "gb300",
    "mi300x",
    "mi325x",
    "mi355x",
]


@pytest.mark.parametrize("name", IDS)
def test_the_usual_ids_resolve(name):
    chip = resolve_accelerator(name)
    assert chip.id == name
    assert chip.link_gbs >= chip.network_gbs > 0
    assert chip.peak_flops("bf16") > 1e13


@pytest.mark.parametrize("row", catalog.accelerators(), ids=lambda row: row.id)
def test_links_are_slower_than_memory_and_networks_than_links(row):
    chip = resolve_accelerator(row)
    assert chip.network_gbs <= chip.link_gbs <= chip.bandwidth_gbs
    assert chip.link(1)[0] == chip.link_gbs * 1e9
    assert chip.link(10**6)[0] == chip.network_gbs * 1e9


def test_a_torus_uses_the_links_of_all_axes_but_one():
    assert resolve_accelerator("tpu-v4").link_gbs == 4 * 45
    assert resolve_accelerator("tpu-v5e").link_gbs == 2 * 45


def test_what_stands_in_for_what():
    assert resolve_accelerator("v100-sxm").runs("bf16") == "fp16"
    assert resolve_accelerator("gb200").runs("fp16") == "bf16"
    assert Accelerator(memory_gib=8, bandwidth_gbs=20, tflops={"fp32": 0.1}).runs("bf16") == "fp32"
    with pytest.raises(ValueError, match="precision must be one that a100-80gb has"):
        resolve_accelerator("a100-80gb").runs("fp8")


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"memory_gib": 0}, "memory_gib must be a number above 0"),
        ({"memory_gib": "80"}, "memory_gib must be a number"),
        ({"bandwidth_gbs": -1}, "bandwidth_gbs must be a number above 0"),
        ({"tflops": {}}, "tflops must map precisions to peaks"),
        ({"tflops": {"bf17": 1}}, "precision in tflops must be one of"),
        ({"tflops": {"bf16": float("nan")}}, "must be a number above 0"),
        ({"node_size": 0}, "node_size must be a whole number"),
    ],
)
def test_absurd_accelerators_are_refused(wrong, message):
    good = {"memory_gib": 80, "bandwidth_gbs": 2000, "tflops": {"bf16": 300}}
    with pytest.raises(ValueError, match=message):
        Accelerator(**(good | wrong))


A100 = resolve_accelerator("a100-80gb")


def test_an_all_reduce_in_a_node_is_as_fast_as_measured_ones():
    """NCCL on eight A100 reaches a bus bandwidth of about 230 GB/s of 300 for large sizes."""
    size = 1e9
    seconds = all_reduce(A100, size, 8, share=0.77)
    assert size * 2 * 7 / 8 / seconds / 1e9 == pytest.approx(230, rel=0.03)


def test_across_nodes_all_cards_of_the_network_carry_it():
    alone = all_reduce(A100, 1e9, 16, beside=1)
    together = all_reduce(A100, 1e9, 16)
    assert alone == pytest.approx(2 * 1e9 * 15 / 16 / 25e9, rel=0.01)
    assert together < alone / 4


@given(st.floats(0, 1e12), st.integers(1, 4096))
def test_exchanges_relate_as_they_must(size, devices):
    whole = all_reduce(A100, size, devices)
    parts = reduce_scatter(A100, size, devices) + all_gather(A100, size, devices)
    assert whole == pytest.approx(parts)
    assert all_reduce(A100, size + 1e6, devices) >= whole
    assert all_reduce(A100, size, 2 * devices) >= whole
    assert all_to_all(A100, size, devices) <= all_to_all(A100, size + 1e6, devices)


def test_one_device_exchanges_nothing_and_a_node_boundary_costs():
    assert all_reduce(A100, 1e9, 1) == all_to_all(A100, 1e9, 1) == 0
    assert send(A100, 1e9, between_nodes=True) > 10 * send(A100, 1e9)
    assert all_to_all(A100, 1e9, 64) > 5 * all_to_all(A100, 1e9, 8)


def test_bad_exchanges_are_refused():
    for call in (all_reduce, reduce_scatter, all_gather, all_to_all):
        with pytest.raises(ValueError, match="size must be a number"):
            call(A100, -5, 8)
        with pytest.raises(ValueError, match="devices must be a whole number"):
            call(A100, 1, 0)
    with pytest.raises(ValueError, match="share must be a number above 0, at most 1"):
        send(A100, 1, share=2)
