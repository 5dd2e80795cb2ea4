"""The catalog: every row is whole, dated and sourced; what is unknown is None or an error."""

import csv
import subprocess
import sys
from dataclasses import fields
from datetime import date
from importlib.resources import files

import pytest

from costlab import catalog
from costlab.catalog.records import FILES, read

TABLES = list(FILES)


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_columns_of_the_file_are_the_fields_of_the_row(table):
    text = files("costlab.catalog").joinpath(FILES[table]).read_text(encoding="utf-8")
    lines = list(csv.reader(text.splitlines()))
    assert lines[0] == [field.name for field in fields(table)]
    assert {len(line) for line in lines} == {len(lines[0])}
    assert len(read(table)) == len(lines) - 1 > 0


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_every_row_has_a_source_and_a_date_that_has_been(table):
    for row in read(table):
        sourced = [(row.source, row.as_of)]
        if table is catalog.Accelerator:
            sourced.append((row.links_source, row.links_as_of))
        for source, as_of in sourced:
            assert len(source) > 8, row
            assert date.fromisoformat(as_of).isoformat() == as_of
            assert "2016-01-01" <= as_of <= date.today().isoformat(), row


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.__name__)
def test_no_number_is_zero_or_negative(table):
    for row in read(table):
        for name, value in vars(row).items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                assert value > 0, (name, row)


@pytest.mark.parametrize("table", [t for t in TABLES if "id" in t.__dataclass_fields__])
def test_ids_are_unique_and_lowercase_or_the_providers_own(table):
    ids = [row.id for row in read(table)]
    assert len({name.lower() for name in ids}) == len(ids)
    if table is not catalog.Machine:
        assert ids == [name.lower() for name in ids]


# --- accelerators


@pytest.mark.parametrize("chip", catalog.accelerators(), ids=lambda chip: chip.id)
def test_accelerator_units_are_sane(chip):
    assert 100 < chip.bandwidth_gbs < 20_000
    assert 8 <= chip.memory_gb <= 512
    assert chip.power_w is None or 50 <= chip.power_w <= 2000
    assert chip.link_gbs is None or chip.link_gbs <= chip.bandwidth_gbs
    ladder = [chip.fp32_tflops, chip.tf32_tflops, chip.bf16_tflops, chip.fp8_tflops]
    known = [peak for peak in [*ladder, chip.fp4_tflops] if peak is not None]
    assert known == sorted(known), "fewer bits must not be slower"
    assert all(0 < peak < 50_000 for peak in known)
    if chip.best_matmul_tflops is not None:
        assert 0.4 < chip.best_matmul_tflops / chip.bf16_tflops < 1, "nobody beats the peak"


# What the data sheets print with 2:4 sparsity; half of it is dense.
SPARSE = {
    ("a100-80gb", "bf16"): 624e12,
    ("h100-sxm", "bf16"): 1979e12,
    ("h100-sxm", "fp8"): 3958e12,
    ("h200-sxm", "bf16"): 1979e12,
    ("h100-pcie", "bf16"): 1513e12,
    ("l4", "bf16"): 242e12,
    ("l4", "fp8"): 485e12,
    ("l40s", "bf16"): 733e12,
    ("mi300x", "bf16"): 2614.9e12,
    ("b200-sxm", "bf16"): 4500e12,
}


@pytest.mark.parametrize(("chip", "precision"), SPARSE)
def test_peaks_are_dense_not_sparse(chip, precision):
    peak = catalog.accelerator(chip).peak_flops(precision)
    assert peak == pytest.approx(SPARSE[chip, precision] / 2, rel=0.015)


def test_what_a_chip_lacks_is_none_and_never_zero():
    assert catalog.accelerator("a100-80gb").peak_flops("fp8") is None
    assert catalog.accelerator("t4").peak_flops("bf16") is None
    assert catalog.accelerator("t4").peak_flops("int8") == 130e12


@pytest.mark.parametrize("precision", ["fp2", "best_matmul", "", None])
def test_unknown_precision_is_refused(precision):
    with pytest.raises(ValueError, match="precision must be one of fp32"):
        catalog.accelerator("t4").peak_flops(precision)


# --- names


def test_unknown_accelerator_offers_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'h100-sxm' or 'h100-pcie'") as error:
        catalog.accelerator("h100")
    assert str(error.value) == (
        "unknown accelerator 'h100': did you mean 'h100-sxm' or 'h100-pcie'?"
    )
    assert not isinstance(error.value, KeyError)


@pytest.mark.parametrize(
    ("look", "name", "offer"),
    [
        (catalog.accelerator, "H100-SMX", "h100-sxm"),
        (catalog.machine, "c7a", "c7a.large"),
        (catalog.model, "llama3.1-8b", "llama-3.1-8b"),
        (catalog.price, "gpt4o", "gpt-4o"),
        (catalog.prices, "object standard", "object-standard"),
        (catalog.serving_results, "decoding", "decode"),
        (lambda name: catalog.quality_results(model=name), "llama2-7b", "llama-2-7b"),
    ],
)
def test_near_names_are_offered(look, name, offer):
    with pytest.raises(ValueError, match="did you mean") as error:
        look(name)
    assert repr(offer) in str(error.value)


@pytest.mark.parametrize("name", [7, None, "", "qqqq"])
def test_hopeless_names_list_what_there_is(name):
    with pytest.raises(ValueError, match="unknown model"):
        catalog.model(name)


def test_ids_are_found_in_any_case():
    assert catalog.accelerator(" H100-SXM ").id == "h100-sxm"
    assert catalog.machine("standard_d2s_v5").id == "Standard_D2s_v5"


# --- prices


def test_every_price_is_of_something_known_in_one_unit():
    units = {}
    for row in catalog.prices():
        units.setdefault((row.item, row.kind), set()).add(row.unit)
        if row.unit == "accelerator-hour":
            assert catalog.accelerator(row.item).id == row.item
            assert 0.1 < row.price < 40, row
    assert all(len(found) == 1 for found in units.values())


def test_storage_gets_cheaper_the_colder_it_is():
    tiers = ["standard", "infrequent", "cold", "deep-archive"]
    for provider in ("AWS", "Azure", "Google Cloud"):
        asked = [
            catalog.price(f"object-{tier}", kind="storage", provider=provider) for tier in tiers
        ]
        medians = [found.median for found in asked]
        assert medians == sorted(medians, reverse=True), provider


@pytest.mark.parametrize("row", catalog.prices(kind="spot"), ids=lambda r: f"{r.item}-{r.region}")
def test_spot_is_below_on_demand_of_the_same_provider(row):
    assert row.price < catalog.price(row.item, provider=row.provider).high


def test_output_costs_at_least_as_much_as_input_and_cached_input_less():
    for row in catalog.prices(kind="output"):
        twin = catalog.price(row.item, kind="input", provider=row.provider)
        assert row.price >= twin.low, row
    for row in catalog.prices(kind="cached-input"):
        assert row.price < catalog.price(row.item, kind="input", provider=row.provider).low, row


def test_a_range_takes_the_newest_row_of_each_provider_and_region():
    found = catalog.price("h100-sxm")
    places = [(row.provider, row.region) for row in found.rows]
    assert len(set(places)) == len(places) > 3
    assert found.low <= found.median <= found.high
    assert (found.oldest, found.newest) == (
        min(row.as_of for row in found.rows),
        max(row.as_of for row in found.rows),
    )
    for row in found.rows:
        every = catalog.prices("h100-sxm", kind="on-demand", provider=row.provider)
        assert row.as_of == max(r.as_of for r in every if r.region == row.region)
    assert len(catalog.prices("h100-sxm", kind="on-demand")) > len(found.rows)


def test_the_cut_of_2025_is_in_the_rows():
    rows = catalog.prices("h100-sxm", kind="on-demand", provider="AWS")
    assert [row.price for row in rows] == [12.29, 6.88]  # 98.32 and 55.04 $/h for eight
    assert catalog.price("h100-sxm", provider="AWS").median == 6.88


def test_an_unknown_price_raises_and_is_never_zero():
    assert catalog.prices("gaudi3") == ()
    with pytest.raises(ValueError, match="no on-demand price of 'gaudi3' is known"):
        catalog.price("gaudi3")
    with pytest.raises(ValueError, match="kinds of its prices that are: on-demand, spot"):
        catalog.price("h100-sxm", kind="storage")
    with pytest.raises(ValueError, match="no on-demand price from Lambda of 't4'"):
        catalog.price("t4", provider="Lambda")


@pytest.mark.parametrize("wrong", [{"kind": "demand"}, {"provider": "Amazon"}])
def test_unknown_kind_or_provider_is_refused(wrong):
    with pytest.raises(ValueError, match=f"unknown {next(iter(wrong))}"):
        catalog.price("t4", **wrong)


def test_an_old_price_prints_its_age_and_a_fresh_one_its_date():
    old = catalog.prices("h100-sxm", provider="Lambda")[0]
    assert f"as of 2024-01-29 ({catalog.age_days(old.as_of)} days old)" in str(old)
    text = str(catalog.Price(*"tkpir", "hour", 2.5, date.today().isoformat(), "source", ""))
    assert text == f"t, k: $2.5 per hour (p, r), as of {date.today().isoformat()}"


def test_a_range_of_one_price_says_so():
    found = catalog.price("h100-sxm", provider="AWS")
    assert str(found).endswith(f"$6.88 per accelerator-hour (one price, {found.newest})")
    assert "prices, " in str(catalog.price("h100-sxm"))


def test_age_days():
    assert catalog.age_days("2026-07-20", today=date(2026, 11, 20)) == 123
    for wrong in ("2026", "20 July", None, 7):
        with pytest.raises(ValueError, match="as_of must be a date"):
            catalog.age_days(wrong)


# --- machines


@pytest.mark.parametrize("row", catalog.machines(), ids=lambda row: row.id)
def test_machine_units_are_sane(row):
    assert row.vcpus in (row.cores, 2 * row.cores)
    assert 1.5 <= row.memory_gib / row.vcpus <= 8
    assert 0.03 < row.price_per_hour / row.cores < 0.15
    assert (row.fp32_flops_per_cycle is None) == (row.flops_reason == "")
    assert row.clock_ghz is None or 2 <= row.clock_ghz <= 5
    assert row.peak_flops is None or 30e9 * row.cores < row.peak_flops < 300e9 * row.cores


def test_reference_price_is_the_median_family_per_core_and_scales():
    families = {}
    for row in catalog.machines():
        families.setdefault((row.provider, row.family), row.price_per_hour / row.cores)
    each = sorted(families.values())
    below = sum(value <= catalog.reference_price(1) for value in each)
    assert len(each) / 2 <= below <= len(each) / 2 + 1
    assert catalog.reference_price(8) == pytest.approx(8 * catalog.reference_price(1))
    for wrong in (0, -1, "two", None, True, float("nan")):
        with pytest.raises(ValueError, match="cores must be a number"):
            catalog.reference_price(wrong)


def test_a_machine_is_identified_only_where_one_fits():
    name = "AMD EPYC 9R14"
    assert catalog.identify_machine(name, 2) is None, "three families share this CPU"
    assert catalog.identify_machine(name, 2, 3.8).id == "c7a.large"
    assert catalog.identify_machine(name, 4, 15.4).id == "m7a.xlarge"
    assert catalog.identify_machine(name, 3, 3.8) is None
    assert catalog.identify_machine("AMD EPYC", 2, 3.8) is None, "a masked name proves nothing"
    assert catalog.identify_machine("", 2, 3.8) is None


# --- models, published runs, serving


def count_parameters(shape: catalog.ModelShape) -> tuple[int, int]:
    """Total and active parameters of a Llama-like decoder, from its shape alone."""
    h, d = shape.hidden, shape.head_dim
    attention = 2 * h * d * (shape.heads + shape.kv_heads) + 2 * h
    if shape.id.startswith("qwen2"):  # biases of queries, keys and values
        attention += d * (shape.heads + 2 * shape.kv_heads)
    if shape.id.startswith("qwen3"):  # norms of queries and keys
        attention += 2 * d
    router = h * shape.experts if shape.experts > 1 else 0
    outside = shape.vocab * h * (1 if shape.tied_embeddings else 2) + h
    return tuple(
        outside + shape.layers * (attention + router + 3 * h * shape.ffn * experts)
        for experts in (shape.experts, shape.experts_per_token)
    )


LLAMA_LIKE = [m for m in catalog.models() if m.id.startswith(("llama-", "tiny", "mi", "qwen"))]
LLAMA_LIKE = [m for m in LLAMA_LIKE if not m.id.startswith("llama-4")]  # see tests/estimate


@pytest.mark.parametrize("shape", LLAMA_LIKE, ids=lambda shape: shape.id)
def test_parameters_follow_exactly_from_the_shape(shape):
    assert count_parameters(shape) == (shape.params, shape.active_params)


@pytest.mark.parametrize("name", ["gpt2", "gpt3-175b"])
def test_parameters_of_the_gpt_family(name):
    m = catalog.model(name)
    layer = 12 * m.hidden**2 + 13 * m.hidden
    assert m.params == (m.vocab + m.context + 2) * m.hidden + m.layers * layer


def test_parameters_of_deepseek_v3():
    m = catalog.model("deepseek-v3")
    h, heads = m.hidden, m.heads  # queries through rank 1536, keys and values through 512 + 64
    attention = h * 1536 + 1536 + 1536 * heads * 192 + h * 576 + 512 + 512 * heads * 256
    attention += heads * m.head_dim * h + 2 * h
    outside = 2 * m.vocab * h + h + m.layers * attention + 3 * 3 * h * 18432
    for params, experts in ((m.params, m.experts), (m.active_params, m.experts_per_token)):
        moe = experts * 3 * h * m.ffn + 256 * h + 256
        assert params == outside + (m.layers - 3) * moe


@pytest.mark.parametrize("row", catalog.serving_results("kv cache"), ids=lambda row: row.model)
def test_published_cache_sizes_follow_from_the_shape(row):
    m = catalog.model(row.model)
    width = 512 + 64 if m.id == "deepseek-v3" else 2 * m.kv_heads * m.head_dim
    assert row.value == 2 * m.layers * width


def test_published_qualities_lose_by_compression_and_less_by_better_methods():
    """Read from the sources: no rounding method beats 16 bits; GPTQ beats rounding."""
    rows = catalog.quality_results(technique="quantization")
    best = {(r.model, r.source): r.value for r in rows if r.method == "none"}
    for row in rows:
        slack = 0.995 if row.method == "smoothquant" else 1  # 8 bits may win by chance
        assert row.value >= slack * best[row.model, row.source], row
    for ours in (row for row in rows if row.method == "gptq" and "gptq README" in row.source):
        same = [
            r for r in rows if (r.model, r.bits, r.source) == (ours.model, ours.bits, ours.source)
        ]
        assert ours.value < max(r.value for r in same if r.method == "rtn")


@pytest.mark.parametrize("row", catalog.published_runs(), ids=lambda row: row.id)
def test_published_runs_are_plausible(row):
    assert row.active_params <= row.params
    assert row.trust in ("read", "second-hand", "derived")
    if row.reported_flops is not None:
        assert row.flops == pytest.approx(row.reported_flops, rel=0.35)
    if row.device_hours is None:
        return
    peak = catalog.accelerator(row.accelerator).peak_flops("bf16")
    share = row.flops / (row.device_hours * 3600 * peak)
    # small children of a large model ran far from the peak, and their hours hold more than training
    assert (0.04 if "distilled" in row.note else 0.15) < share < 0.6
    if row.reported_mfu is not None:
        assert share < row.reported_mfu * 1.05, "a run cannot beat its own steps"
    if row.devices is not None and row.days is not None:
        assert row.devices * row.days * 24 == pytest.approx(row.device_hours, rel=0.03)


# Shares of the peak over the whole run, 6ND over device-hours, as published analyses print them.
@pytest.mark.parametrize(
    ("name", "percent"),
    [
        ("llama-65b", 47.7),
        ("llama-2-7b", 39.1),
        ("llama-2-70b", 42.8),
        ("llama-3.1-405b", 34.6),
        ("palm-540b", 30.4),
        ("deepseek-v3", 34.6),
    ],
)
def test_run_level_share_of_peak(name, percent):
    row = next(row for row in catalog.published_runs() if row.id == name)
    peak = catalog.accelerator(row.accelerator).peak_flops("bf16")
    assert 100 * row.flops / (row.device_hours * 3600 * peak) == pytest.approx(percent, abs=0.1)


@pytest.mark.parametrize("day", catalog.serving_ledgers(), ids=lambda day: day.id)
def test_the_ledger_of_a_service_adds_up(day):
    assert day.devices * day.hours * day.price_per_device_hour == day.reported_cost
    fresh = day.input_tokens - day.cached_input_tokens
    income = (
        fresh * day.price_input
        + day.cached_input_tokens * day.price_cached_input
        + day.output_tokens * day.price_output
    )
    assert income / 1e6 == pytest.approx(day.reported_income, rel=1e-3)


def test_published_decoding_never_beats_the_memory_bus():
    size = {"bf16": 2, "fp16": 2, "int8": 1, "int4": 0.5}
    for row in catalog.serving_results("decode"):
        bus = catalog.accelerator(row.accelerator).bandwidth_gbs * 1e9 * row.devices
        assert row.value * catalog.model(row.model).active_params * size[row.precision] < bus, row


def test_serving_results_name_known_models_and_chips():
    for row in catalog.serving_results():
        assert catalog.model(row.model)
        assert row.accelerator is None or catalog.accelerator(row.accelerator)


# --- display and import


def test_as_rows_gives_plain_dictionaries_and_keeps_none():
    rows = catalog.as_rows(catalog.accelerators())
    assert [row["id"] for row in rows] == [chip.id for chip in catalog.accelerators()]
    assert rows[0]["fp8_tflops"] is None
    assert catalog.as_rows(catalog.accelerator("t4")) == rows[:1]
    assert catalog.as_rows([]) == []
    for wrong in (["t4"], [catalog.Price]):
        with pytest.raises(ValueError, match="table must hold rows"):
            catalog.as_rows(wrong)


def test_importing_the_catalog_imports_no_torch():
    code = (
        "import sys, costlab.catalog as c; c.prices(); c.models(); "
        "print(*[m for m in ('torch', 'numpy', 'matplotlib') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == ""
