"""The advisor: against the estimates and the catalog it answers from, and its properties."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab import advisor, catalog, cli, estimate
from costlab.advisor import compression, optimization
from costlab.advisor.records import Option, Recommendation, decide

CHIPS = ("l4", "a100-80gb", "h100-sxm")
LOAD = {"requests_per_s": 4.0, "prompt": 1000, "generate": 250}
ASKED = {
    "compute": {"chips": CHIPS, **LOAD},
    "storage": {"data_gb": 5000.0, "egress_gb": 100.0},
    "compression": LOAD,
    "parallelism": {"tokens": 1e10, "devices": (8, 16)},
    "optimization": LOAD,
}
each = pytest.mark.parametrize("question", advisor.QUESTIONS)


@each
def test_options_come_cheapest_first_with_their_range(question):
    answer = advisor.recommend(question, **ASKED[question])
    dollars = [option.dollars for option in answer.options]
    assert dollars == sorted(dollars)
    assert len(dollars) > 1
    for option in answer.options:
        assert option.low <= option.dollars <= option.high
    assert answer.best is answer.options[0]
    assert not {option.name for option in answer.options} & set(answer.left_out)


@each
def test_a_budget_that_cannot_be_met_says_what_would_have_to_give(question):
    asked = ASKED[question]
    least = advisor.recommend(question, **asked).options[0].dollars
    answer = advisor.recommend(question, budget=least * 0.7, **asked)
    assert answer.best is None
    assert "over the budget" in answer.reason
    assert answer.would_have_to_give
    assert advisor.recommend(question, budget=least * 1.001, **asked).best is not None
    assert str(answer).count("would keep to the budget") == len(answer.would_have_to_give)


@each
def test_the_answer_is_plain_json_and_readable(question):
    answer = advisor.recommend(question, **ASKED[question])
    assert json.loads(answer.to_json())["best"] == answer.options[0].name
    text = str(answer)
    assert answer.reason in text
    for name in [*(o.name for o in answer.options), *answer.left_out]:
        assert name in text


@pytest.mark.parametrize(
    ("question", "asked", "sentence"),
    [
        ("computing", {}, "question must be one of .* Did you mean 'compute'"),
        ("compute", {"requests_per_s": 0}, "requests_per_s must be a number above 0"),
        ("compute", {"prompt": 1.5}, "prompt must be a whole number"),
        ("compute", {"slo_tpot": -1}, "slo_tpot must be a number above 0"),
        ("compute", {"budget": 0}, "budget must be a number above 0"),
        ("compute", {"chips": ["h100"]}, "accelerator"),
        ("compute", {"model": "llama-9"}, "model"),
        ("storage", {}, "data_gb must be above zero"),
        ("storage", {"data_gb": 1, "at_once": "yes"}, "at_once must be True or False"),
        ("storage", {"data_gb": -1}, "data_gb must be a number from 0 to 1e\\+15, got -1"),
        ("compression", {"max_loss": "little"}, "max_loss must be a number"),
        ("compression", {"max_loss": -1e-10}, "max_loss must be a number from 0 to 10, got -1e-10"),
        ("optimization", {"max_loss": 11}, "max_loss must be a number from 0 to 10, got 11"),
        ("compression", {"student": "llama-9"}, "model"),
        ("parallelism", {"devices": 0}, "devices must be a whole number from 1"),
        ("parallelism", {"days": 0}, "days must be a number above 0"),
        ("parallelism", {"accelerator": "h20"}, "accelerator must be one with a known price"),
        ("optimization", {"fraction": 1}, "fraction must be a number above 0, at most 0.9"),
        ("optimization", {"months": 0}, "months must be a number above 0"),
    ],
)
def test_bad_input_gets_one_sentence(question, asked, sentence):
    with pytest.raises(ValueError, match=sentence) as caught:
        advisor.recommend(question, **asked)
    assert "\n" not in str(caught.value)


def test_a_keyword_of_another_question_is_named():
    with pytest.raises(TypeError, match=r"storage takes data_gb, .*, got 'slo_ttft'"):
        advisor.recommend("storage", slo_ttft=1)


# --- compute


def test_a_fleet_is_that_of_the_estimate_at_the_prices_of_the_catalog():
    answer = advisor.recommend("compute", chips=CHIPS, slo_tpot=0.05, **LOAD)
    assert {option.name for option in answer.options} == set(CHIPS)
    for option in answer.options:
        found = estimate.fleet("llama-3.1-8b", option.name, slo_tpot=0.05, **LOAD)
        price = catalog.price(option.name)
        assert option.figures["devices"] == found.devices
        assert option.dollars == pytest.approx(found.devices * 730 * price.median)
        slow = found.dollars_high / found.dollars
        assert option.high == pytest.approx(option.dollars * slow * price.high / price.median)
        assert option.figures["next tokens, s"] <= 0.05


@settings(max_examples=15, deadline=None)
@given(rate=st.floats(0.1, 50), chip=st.sampled_from(CHIPS), promise=st.floats(0.02, 0.2))
def test_more_load_and_a_tighter_promise_never_cost_less(rate, chip, promise):
    def rent(rate, promise):
        load = {"requests_per_s": rate, "prompt": 500, "generate": 100, "slo_tpot": promise}
        options = advisor.recommend("compute", chips=chip, **load).options
        return options[0].dollars if options else float("inf")

    base = rent(rate, promise)
    assert rent(2 * rate, promise) >= base
    assert rent(rate, promise / 1.5) >= base


def test_the_only_price_of_a_chip_says_whose_it_is_and_how_old():
    options = advisor.recommend("compute", chips="gh200-96gb", **LOAD).options
    words = next(option.words for option in options if option.name == "gh200-96gb")
    price = catalog.price("gh200-96gb").rows[0]
    assert f"{price.provider} on {price.as_of} (" in words
    assert words.endswith(" days old)")


def test_what_cannot_be_is_left_out_with_its_reason():
    answer = advisor.recommend("compute", "llama-3.1-70b", slo_tpot=1e-4, chips=("h20", "h100-sxm"))
    assert answer.options == ()
    assert answer.best is None
    assert answer.left_out["h20"] == "no price is known"
    assert "0.0001 s is promised" in answer.left_out["h100-sxm"]
    assert "No option is left" in str(answer)


def test_an_interface_competes_unless_latency_is_promised():
    asked = {"requests_per_s": 0.01, "prompt": 1000, "generate": 1000, "chips": "h100-sxm"}
    free = advisor.recommend("compute", **asked)
    sold = {o.name: o.dollars for o in free.options}
    month = 0.01 * 730 * 3600 * 1000
    price = lambda kind: catalog.price("llama-3.1-8b", kind=kind, provider="Groq").median  # noqa: E731
    assert sold["Groq, by the token"] == pytest.approx(
        month / 1e6 * (price("input") + price("output"))
    )
    assert free.best.name != "h100-sxm"
    strict = advisor.recommend("compute", slo_ttft=1, **asked)
    assert strict.best.name == "h100-sxm"
    assert "promises no latency" in strict.left_out["Groq, by the token"]


def test_the_load_that_a_budget_carries_is_carried():
    rent = 730 * catalog.price("h100-sxm").median
    asked = {**LOAD, "requests_per_s": 200.0, "chips": ("h100-sxm",), "slo_tpot": 0.05}
    answer = advisor.recommend("compute", budget=2.5 * rent, **asked)
    rate = next(t for t in answer.would_have_to_give if "requests a second instead" in t)
    less = {**asked, "requests_per_s": float(rate.split()[0].replace(",", "")) * 0.99}
    assert advisor.recommend("compute", budget=2.5 * rent, **less).best is not None


# --- storage


def test_storage_is_gigabytes_times_price():
    answer = advisor.recommend("storage", data_gb=1000)
    for option in answer.options:
        tier, provider = option.name.split(", ")
        price = catalog.price(tier, kind="storage", provider=provider).median
        assert option.dollars == pytest.approx(1000 * price)
    assert any("restored" in why for why in answer.left_out.values())


def test_reads_drive_data_out_of_tiers_that_charge_for_them():
    infrequent = "object-infrequent, AWS"
    few, many = (advisor.recommend("storage", data_gb=1000, reads_gb=r) for r in (0, 50_000))
    cost = {a.options[0].dollars for a in (few, many)}
    found = {o.name: o.dollars for o in many.options}
    assert found[infrequent] == pytest.approx(1000 * 0.0125 + 50_000 * 0.01)
    assert many.best.name.startswith("object-standard")
    assert len(cost) == 2
    assert "retrieval price" in many.left_out["object-cold, AWS"]


def test_an_archive_is_cheapest_where_reads_may_wait():
    assert "archive" in advisor.recommend("storage", data_gb=1000, at_once=False).best.name


# --- compression, optimization


def test_losses_are_those_of_the_published_tables():
    answer = advisor.recommend("compression", "llama-2-7b", max_loss=10, **LOAD)
    loss = {option.name: option.figures["loss"] for option in answer.options}
    assert loss["awq, 4 bits in groups of 128"] == pytest.approx(5.60 / 5.47 - 1, abs=1e-4)
    assert loss["gptq, 3 bits in groups of 128"] == pytest.approx(6.43 / 5.47 - 1, abs=1e-4)
    assert loss["as it is"] == 0


def test_no_loss_allowed_leaves_the_model_as_it_is():
    answer = advisor.recommend("compression", max_loss=0.0, **LOAD)
    assert [option.name for option in answer.options] == ["as it is"]
    assert "0.0% is allowed" in answer.left_out["awq, 4 bits in groups of 128"]


def test_of_equal_rents_the_one_that_loses_least_is_first():
    answer = advisor.recommend("compression", requests_per_s=0.01, prompt=100, generate=50)
    assert len({option.dollars for option in answer.options}) == 1
    assert answer.best.name == "as it is"
    assert "at the same price" in answer.reason


@pytest.mark.parametrize(
    ("model", "nearest"), [("llama-3.1-70b", "llama-2-70b"), ("llama-3.1-8b", "llama-3-8b")]
)
def test_the_nearest_published_model_speaks_for_a_model(model, nearest):
    rows = catalog.quality_results(technique="quantization", method="smoothquant")
    assert compression.nearest(rows, estimate.resolve_model(model)).model == nearest


def test_a_student_is_priced_with_its_teacher():
    said = advisor.recommend("compression", student="llama-3.2-1b", **LOAD)
    assert "the teacher's part included" in said.left_out["distillation"]


MODELS = [row.id for row in catalog.models()]


@settings(max_examples=40, deadline=None)
@given(model=st.sampled_from(MODELS), width=st.floats(0, 0.9), depth=st.floats(0, 0.9))
def test_sheared_shapes_are_smaller_and_whole(model, width, depth):
    whole = estimate.resolve_model(model)
    small = optimization.sheared(whole, width=width, depth=depth)
    assert small.params <= whole.params * 1.001
    assert small.layers == max(1, round(whole.layers * (1 - depth)))
    assert small.ffn % 8 == 0
    assert optimization.sheared(whole) == whole or whole.ffn % 8


def test_shearing_half_the_neurons_takes_half_the_feed_forward_weights():
    whole = estimate.resolve_model("llama-3.1-8b")
    small = optimization.sheared(whole, width=0.5)
    assert whole.params - small.params == 3 * 32 * 4096 * 14336 // 2


def test_what_nobody_published_is_left_out_where_a_loss_is_promised():
    free = advisor.recommend("optimization", **LOAD)
    strict = advisor.recommend("optimization", max_loss=0.05, **LOAD)
    assert sum("shearing" in o.name for o in free.options) == 2
    assert [o.name for o in strict.options] == ["as it is"]
    assert "nobody published" in strict.left_out["shearing 25% of the neurons"]


def test_healing_is_spread_over_the_months():
    short, long = (advisor.recommend("optimization", months=m, **LOAD) for m in (1, 100))
    cost = [{o.name: o.dollars for o in a.options} for a in (short, long)]
    name = "shearing 25% of the neurons"
    once = next(o.figures["once, $"] for o in short.options if o.name == name)
    assert cost[0][name] - cost[1][name] == pytest.approx(once * (1 - 1 / 100))
    assert cost[0]["as it is"] == cost[1]["as it is"]


# --- parallelism


def test_the_best_is_that_of_a_free_search():
    answer = advisor.recommend("parallelism", tokens=1e10, devices=16)
    best = estimate.search("llama-3.1-8b", "h100-sxm", devices=16, tokens=1e10, top=1).best[0]
    assert answer.best.dollars == pytest.approx(best.dollars)
    assert answer.best.figures["days"] == pytest.approx(best.wall_hours / 24)
    assert "GiB of 80" in answer.left_out["16 devices, data parallel"]


def test_a_deadline_rules_out_few_devices():
    answer = advisor.recommend("parallelism", tokens=1e11, devices=(8, 64), days=5)
    assert {o.name.split()[0] for o in answer.options} == {"64"}
    assert "5 are allowed" in answer.left_out["8 devices, gradient parallel"]


def test_a_batch_that_does_not_divide_is_a_reason_and_no_error():
    answer = advisor.recommend("parallelism", tokens=1e9, devices=7, global_batch=8)
    assert "does not divide" in answer.left_out["7 devices, data parallel"]


# --- words and shell


def test_an_overlap_of_prices_is_said():
    near = [Option("a", 100.0, 90, 110), Option("b", 120.0, 80, 200)]
    assert "20% more, cheaper where its own price is at its low end" in decide(near, "month", None)
    alike = [Option("a", 100.0, 50, 110), Option("b", 120.0, 60, 132)]
    assert "low end" not in decide(alike, "month", None)
    assert decide(near[:1], "month", 60.0).endswith("over the budget of $60.")


def test_equal_reasons_are_said_once():
    answer = Recommendation("compute", "month", None, (), {"a": "no", "b": "no"}, "None.")
    assert str(answer) == "None.\nleft out, a, b: no"


def test_advice_from_the_shell(capsys):
    assert cli.main(["advise", "storage", "--data-gb", "1000", "--at-once", "false"]) == 0
    assert "The cheapest is object-deep-archive, AWS, $0.99 a month" in capsys.readouterr().out
    asked = ["advise", "compute", "llama-3.1-8b", "--chips", "l4,h100-sxm", "--json"]
    assert cli.main(asked) == 0
    assert json.loads(capsys.readouterr().out)["question"] == "compute"
    assert cli.main(["advise", "storage", "--data-gb", "1000", "--budget", "0.5"]) == 1
    assert "would keep to the budget" in capsys.readouterr().out
    assert cli.main(["advise", "storag", "--data-gb", "1"]) == 2
    assert "Did you mean 'storage'" in capsys.readouterr().err
    assert cli.main(["advise"]) == 2
    assert "costlab advise {compute," in capsys.readouterr().out
