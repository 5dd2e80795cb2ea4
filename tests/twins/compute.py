"""Twins of the claims of notebook 02: what they would be given if something were broken."""

from statistics import median

import torch
from torch.nn.functional import scaled_dot_product_attention as attend

from costlab import catalog, results
from costlab.estimate import Accelerator, resolve_model, serving

H100 = catalog.accelerator("h100-sxm")


def ridge_of_the_slow_arithmetic() -> float:
    """The peak of float32 without tensor cores."""
    return H100.peak_flops("fp32") / (H100.bandwidth_gbs * 1e9)


def everything_in_one_place() -> float:
    """One matrix, compared with itself."""
    return 1.0


def no_more_rows_than_one() -> float:
    """The batch was lost on the way: one row, whatever was asked."""
    return 1.0


def roof_of_one_byte_weights() -> float:
    """The intensity of 8-bit weights, for weights of four bytes: the roof is four times too low."""
    return 1.0 / 0.25


def share_of_what_was_measured() -> float:
    """The best product over itself instead of the data sheet."""
    return min(
        a.best_matmul_tflops / a.best_matmul_tflops
        for a in catalog.accelerators()
        if a.best_matmul_tflops
    )


def nothing_computed_twice() -> float:
    """Recomputation switched off."""
    forward = resolve_model("gpt3-175b").forward_flops(1024)
    return 3 * forward / (3 * forward)


def a_step_for_each_request() -> float:
    """No batch: every request carries the weights for itself."""
    return 1.0


def attention_without_its_mask() -> float:
    """The fused kernel sees the future."""
    torch.manual_seed(0)
    q, k, v = (torch.randn(1, 2, 64, 16) for _ in range(3))
    return float((attend(q, k, v, is_causal=True) - attend(q, k, v)).abs().max())


def the_same_kernel_twice() -> float:
    """Fusion that fuses nothing."""
    return 1.0


def bandwidth_in_bits() -> float:
    """Gigabits taken for gigabytes of a slow memory: an estimate far above the measured step."""
    peaks = {"fp32": 0.1}
    right, wrong = (
        serving(
            "gpt2",
            Accelerator(memory_gib=8, bandwidth_gbs=rate, tflops=peaks, measured=True),
            weight_bits=32, kv_bits=32, batch=1, prompt=128, generate=128,
        )
        for rate in (10, 10 / 8)
    )  # fmt: skip
    return right.tpot_seconds / wrong.tpot_seconds


def data_sheet_bandwidth_alone() -> float:
    """No share of the bandwidth, no overhead, no exchanges: bytes over the data sheet's figure."""
    size = {"bf16": 2, "int8": 1, "int4": 0.5}
    misses = []
    for row in catalog.serving_results("decode"):
        if row.software.startswith("gpt-fast"):
            weights = catalog.model(row.model).active_params * size[row.precision]
            bus = catalog.accelerator(row.accelerator).bandwidth_gbs * 1e9 * row.devices
            misses.append(abs(bus / weights / row.value - 1))
    return median(misses)


def one_figure_for_all() -> float:
    """Every throughput predicted by the median of all."""
    found = [row["measured"] for row in results.read("serving_model")["rows"]]
    return median(abs(median(found) / value - 1) for value in found)


def the_newest_against_itself() -> float:
    """Ranked by year instead of price: the newest is taken for the cheapest."""
    hour = catalog.price("b300").median
    return hour / hour


def bytes_priced_as_operations() -> float:
    """Ranked by the price of operations, when bytes were asked for."""
    rented = [a for a in catalog.accelerators() if catalog.prices(a.id, kind="on-demand")]
    offers = [
        (catalog.price(a.id).median / a.peak_flops("bf16"), a.year)
        for a in rented
        if a.peak_flops("bf16") and len(catalog.price(a.id).rows) > 1
    ]
    return max(a.year for a in rented) - min(offers)[1]


def one_provider_alone() -> float:
    """A single offer has no range."""
    found = catalog.price("h100-sxm", provider="AWS")
    return found.high / found.low


def multiply_and_add_counted_as_one() -> float:
    """Half of the operations."""
    return abs(2.0 - 1)


def the_dense_peak() -> float:
    """The right peak in both."""
    return 1.0


def the_right_slope() -> float:
    """Predicted from the bandwidth of the memory itself."""
    return 1.0


TWINS = {
    "The H100 needs hundreds of requests at once to be used": ridge_of_the_slow_arithmetic,
    "A matrix in the cache is read faster than one in memory": everything_in_one_place,
    "Many rows at once use the arithmetic better than one": no_more_rows_than_one,
    "The stack stays under its roof": roof_of_one_byte_weights,
    "On some chip not even 60% of the data sheet can be reached": share_of_what_was_measured,
    "Full recomputation makes HFU a third larger than MFU": nothing_computed_twice,
    "At 64 requests at once a token takes less than half as long": a_step_for_each_request,
    "Fused attention gives the same result": attention_without_its_mask,
    "Fused attention is faster at two thousand positions": the_same_kernel_twice,
    "A step is not faster than the estimate of this machine": bandwidth_in_bits,
    "The estimate decodes within 15% of the published speed, in the median": (
        data_sheet_bandwidth_alone
    ),
    "Throughput of an unseen source is predicted within a quarter": one_figure_for_all,
    "The newest chip sells its operations dearer than an older one": the_newest_against_itself,
    "The cheapest bytes come from a chip that is years older": bytes_priced_as_operations,
    "For the same chip, one offer is twice as dear as another": one_provider_alone,
    "PyTorch counts what the formula says, but for one token's attention": (
        multiply_and_add_counted_as_one
    ),
    "The sparse peak halves the MFU": the_dense_peak,
    "From the cache's bandwidth, one row through the stack looks too fast": the_right_slope,
    "Sixteen at once cost less than half for each token written": a_step_for_each_request,
}
COMPUTED = {"Full recomputation makes HFU a third larger than MFU": 4 / 3}
