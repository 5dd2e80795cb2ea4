"""The workload: its day of traffic, its texts, its bill."""

import math
import runpy
import subprocess
import sys
from dataclasses import FrozenInstanceError
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.workload import (
    SERVICE,
    Request,
    Trace,
    day,
    month,
    monthly_bill,
    text_for,
)
from costlab.workload import trace as traces
from costlab.workload.trace import COLUMNS, CONTEXT_TOKENS, DAY_FILE, NO_PREFIX, SECONDS_PER_DAY

TRAFFIC = runpy.run_path(str(Path(__file__).parents[1] / "tools" / "traffic.py"))
generate, write = TRAFFIC["generate"], TRAFFIC["write"]
few = settings(max_examples=30, deadline=None)
CORPUS = b"".join(b"line %d of a corpus\n" % n for n in range(400))


def same(a: Trace, b: Trace) -> bool:
    return all(np.array_equal(getattr(a, name), getattr(b, name)) for name in COLUMNS)


def tiny(arrival=(0.0, 30.0, 90.0), **changes) -> Trace:
    """Three requests in two minutes: 10 + 1, 20 + 2 and 30 + 3 tokens, two with one header."""
    columns = {
        "prompt_tokens": [10, 20, 30],
        "output_tokens": [1, 2, 3],
        "prefix_id": [7, 7, NO_PREFIX],
        "prefix_tokens": [5, 5, 0],
        "tenant": [0, 0, 1],
        "sample_of": 10,
        "stop": 120,
    }
    return Trace(arrival, **columns | changes)


# The day of traffic


def test_shipped_day_is_what_the_generator_draws():
    assert same(day(), generate(0))
    assert DAY_FILE.stat().st_size <= 150_000


def test_day_stands_for_all_requests_of_the_service():
    trace = day()
    assert len(trace) == 10_000
    assert len(trace) * trace.sample_of == SERVICE.requests_per_day
    assert generate(3).sample_of == trace.sample_of


def test_seeds_decide():
    assert same(generate(5, 500), generate(5, 500))
    assert not same(generate(5, 500), generate(6, 500))


@few
@given(seed=st.integers(0, 10**6), rows=st.integers(1, 400))
def test_every_day_is_well_formed(seed, rows):
    trace = generate(seed, rows)
    assert len(trace) == rows
    assert (np.diff(trace.arrival_seconds) >= 0).all()
    assert trace.arrival_seconds[0] >= 0
    assert trace.arrival_seconds[-1] < SECONDS_PER_DAY
    assert (trace.prompt_tokens + trace.output_tokens <= CONTEXT_TOKENS).all()
    assert trace.output_tokens.min() >= 1
    assert (trace.prefix_tokens < trace.prompt_tokens).all()
    assert ((trace.prefix_id == NO_PREFIX) == (trace.prefix_tokens == 0)).all()


def test_a_header_has_one_length_and_one_tenant():
    trace = day()
    has = trace.prefix_id != NO_PREFIX
    rows = np.stack([trace.prefix_id, trace.prefix_tokens, trace.tenant])[:, has]
    assert np.unique(rows, axis=1).shape[1] == len(np.unique(rows[0]))


def test_shapes_follow_the_sources():
    trace = day()
    numbers = trace.summary()
    assert numbers["prompt_tokens_median"] == pytest.approx(200, rel=0.03)
    assert numbers["output_tokens_median"] == pytest.approx(32, rel=0.05)
    assert np.log(trace.output_tokens).std() == pytest.approx(0.85, rel=0.1)
    assert (trace.prompt_tokens == trace.prompt_tokens.max()).mean() == pytest.approx(
        0.05, abs=0.01
    )
    hours = trace.per_window(3600) / SERVICE.requests_per_day
    assert np.corrcoef(hours, TRAFFIC["HOURLY_PERCENT"])[0, 1] > 0.9
    ranks = np.sort(np.bincount(trace.tenant))[::-1]
    assert ranks[0] / ranks[9] == pytest.approx(10**1.1, rel=0.25)


def test_arrivals_are_burstier_than_a_poisson_process():
    """Counts of a Poisson process in ten seconds vary like their mean; ours vary more."""
    counts = day().slice(10 * 3600, 12 * 3600).per_window(10) / day().sample_of
    assert counts.var() > 1.5 * counts.mean()


def test_file_round_trip_is_exact_and_repeatable(tmp_path, monkeypatch):
    first, second = tmp_path / "a.csv.gz", tmp_path / "b.csv.gz"
    trace = generate(9, 300)
    size = write(trace, first)
    write(trace, second)
    assert size == first.stat().st_size
    assert first.read_bytes() == second.read_bytes()
    monkeypatch.setattr(traces, "DAY_FILE", first)
    assert same(day(), trace)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["a.csv.gz", "b.csv.gz"]


@pytest.mark.parametrize("bad", [{"seed": -1}, {"seed": 1.5}, {"seed": 0, "rows": 0}])
def test_generator_refuses(bad):
    with pytest.raises(ValueError, match="must be an integer of at least"):
        generate(**bad)


# The trace


def test_requests_are_the_rows():
    trace = day()
    requests = list(trace.requests())
    assert len(requests) == len(trace)
    assert sum(r.prompt_tokens for r in requests) == trace.prompt_tokens.sum()
    assert requests[17].tenant == trace.tenant[17]
    assert type(requests[0].prompt_tokens) is int
    with pytest.raises(FrozenInstanceError):
        requests[0].tenant = 3


def test_columns_are_copies_that_cannot_be_changed():
    arrival = np.array([1.0, 2.0, 3.0])
    trace = tiny(arrival)
    arrival[0] = 99
    assert trace.arrival_seconds[0] == 1.0
    with pytest.raises(ValueError):
        trace.prompt_tokens[0] = 1


@few
@given(cut=st.floats(1, SECONDS_PER_DAY - 1))
def test_slices_partition_the_day(cut):
    trace = day()
    early, late = trace.slice(0, cut), trace.slice(cut, SECONDS_PER_DAY)
    assert len(early) + len(late) == len(trace)
    assert (early.arrival_seconds < cut).all()
    assert (late.arrival_seconds >= cut).all()
    assert early.stop == late.start == cut


@few
@given(load=st.floats(0.01, 5), seed=st.integers(0, 100))
def test_scaling_keeps_the_rate_within_sampling_error(load, seed):
    trace = day()
    scaled = trace.scaled(load, seed=seed)
    left = load - int(load)
    five_sigma = 5 * math.sqrt(len(trace) * left * (1 - left))
    assert abs(len(scaled) - load * len(trace)) <= five_sigma + 1
    assert same(scaled, trace.scaled(load, seed=seed))


def test_scaling_by_whole_numbers_is_exact():
    trace = day()
    assert same(trace.scaled(1), trace)
    twice = trace.scaled(2)
    assert len(twice) == 2 * len(trace)
    assert twice.output_tokens.sum() == 2 * trace.output_tokens.sum()
    # Repeats do not arrive with their originals, which would be bursts nobody sent.
    assert (np.diff(twice.arrival_seconds) == 0).mean() < 0.01


def test_a_smaller_load_is_part_of_a_larger_one():
    small, large = (set(day().scaled(load).requests()) for load in (0.2, 0.5))
    assert small < large < set(day().requests())


@few
@given(start=st.floats(0, 80_000), length=st.floats(0.5, 300), load=st.floats(0.1, 4))
def test_scaled_slices_stay_in_their_stretch(start, length, load):
    part = day().slice(start, start + length)
    part.scaled(load)  # a Trace checks itself


def test_summary_by_hand():
    numbers = tiny().summary()
    per_day = 10 * SECONDS_PER_DAY / 120
    assert numbers["rows"] == 3
    assert numbers["requests"] == 30
    assert numbers["prompt_tokens_median"] == 20
    assert numbers["prompt_tokens_p95"] == 30
    assert numbers["output_tokens_median"] == 2
    assert numbers["output_tokens_p95"] == 3
    assert numbers["requests_in_busiest_minute"] == 20
    assert numbers["requests_in_busiest_hour"] == 30
    assert numbers["mean_requests_per_second"] == 30 / 120
    assert numbers["peak_requests_per_second"] == 20 / 60
    assert numbers["shared_prefix_share"] == 10 / 60
    assert numbers["repeated_prefix_share"] == 5 / 60
    assert numbers["read_tokens_per_day"] == 60 * per_day
    assert numbers["generated_tokens_per_month"] == 6 * per_day * SERVICE.days_per_month
    assert numbers["tenants"] == 2
    assert numbers["busiest_tenant_share"] == 2 / 3


def test_a_header_sent_once_is_not_shared():
    numbers = tiny(prefix_id=[7, 8, NO_PREFIX]).summary()
    assert numbers["shared_prefix_share"] == numbers["repeated_prefix_share"] == 0


def test_windows_add_up():
    trace = day().slice(5_000, 9_999)
    assert trace.per_window(60).sum() == len(trace) * trace.sample_of
    assert len(trace.per_window(3600)) == 2


def test_prints_its_numbers():
    text = str(day())
    assert f"{SERVICE.requests_per_day:,} (10,000 rows of" in text
    assert f"{day().summary()['generated_tokens_per_day']:,} tokens" in text
    assert "no requests from 00:00 to 00:01" in str(_empty())


def _empty() -> Trace:
    return Trace([], [], [], [], [], [], stop=60)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"tenant": [0]}, "one length"),
        ({"arrival": (5.0, 1.0, 2.0)}, "sorted"),
        ({"arrival": (0.0, 1.0, 120.0)}, "arrival_seconds"),
        ({"arrival": (0.0, 1.0, math.nan)}, "arrival_seconds"),
        ({"prompt_tokens": [10, 20, 510]}, "at most 512; got 513"),
        ({"output_tokens": [1, 0, 1]}, "at least 1"),
        ({"prefix_tokens": [11, 5, 0]}, "prefix_tokens"),
        ({"sample_of": 0}, "sample_of"),
        ({"stop": 90_000}, "start and stop"),
    ],
)
def test_a_broken_trace_says_why(changes, message):
    with pytest.raises(ValueError, match=message):
        tiny(**changes)


@pytest.mark.parametrize("load", [0, -1, math.nan, math.inf, "2"])
def test_scaled_refuses(load):
    with pytest.raises(ValueError, match="load must be a positive number"):
        day().scaled(load)


@pytest.mark.parametrize("window", [(5, 5), (9, 5), (-1, 5), (0, 86_401), (math.nan, 5)])
def test_slice_refuses(window):
    with pytest.raises(ValueError, match="start and stop"):
        day().slice(*window)


def test_an_empty_trace_has_no_summary():
    with pytest.raises(ValueError, match="at least one request"):
        _empty().summary()


# The texts


def test_prompts_have_their_length_and_share_their_header():
    headers = {}
    for request in day().slice(30_000, 40_000).requests():
        text = text_for(request, CORPUS)
        assert len(text) == request.prompt_tokens
        header = text[: request.prefix_tokens]
        assert headers.setdefault(request.prefix_id, header) == header
        assert header in CORPUS
        assert text[len(header) :] in CORPUS
    assert len(set(headers.values())) > 0.9 * len(headers)


def test_bodies_differ_and_repeat():
    one, two = (Request(t, 200, 10, 4, 60, 0) for t in (1.0, 2.0))
    assert text_for(one, CORPUS) == text_for(one, CORPUS)
    assert text_for(one, CORPUS) != text_for(two, CORPUS)
    assert text_for(one, CORPUS)[:60] == text_for(two, CORPUS)[:60]
    assert text_for(one, CORPUS)[59:64] == b"\nline"


@few
@given(corpus=st.binary(min_size=50, max_size=80), prefix=st.integers(0, 50), t=st.floats(0, 9))
def test_any_corpus_that_is_long_enough_will_do(corpus, prefix, t):
    text = text_for(Request(t, 50, 1, 3, prefix, 0), corpus)
    assert len(text) == 50
    assert text[:prefix] in corpus


def test_texts_refuse():
    request = Request(1.0, 200, 10, NO_PREFIX, 0, 0)
    with pytest.raises(ValueError, match="at least the prompt's 200 bytes; got 5"):
        text_for(request, b"short")
    with pytest.raises(TypeError, match="must be bytes; got str"):
        text_for(request, "a" * 500)


# The bill

TIMES = {"seconds_per_prompt_token": 0.1, "seconds_per_output_token": 2.0, "price": 0.5}


def test_average_bill_by_hand():
    bill = monthly_bill(tiny(), **TIMES)
    machines = (60 * 0.1 + 6 * 2.0) * 10 / 120
    assert bill.machines == pytest.approx(machines)
    assert bill.utilization == pytest.approx(1)
    dollars = machines * 0.5 * 24 * SERVICE.days_per_month
    assert bill.dollars_per_month == pytest.approx(dollars)
    generated = 6 * 10 * 720 * SERVICE.days_per_month  # 720 stretches of two minutes a day
    assert bill.dollars_per_million_tokens == pytest.approx(dollars / generated * 1e6)


def test_peak_bill_by_hand():
    bill = monthly_bill(tiny(), **TIMES, provision="peak", window=60)
    # First minute: (30 * 0.1 + 3 * 2) * 10 = 90 machine-seconds; second minute the same.
    assert bill.machines == 2
    assert bill.utilization == pytest.approx(180 / 240)
    assert bill.dollars_per_month == pytest.approx(2 * 0.5 * 24 * SERVICE.days_per_month)


def test_peak_does_not_buy_a_machine_for_rounding():
    trace = tiny((0.0, 1.0, 2.0), prompt_tokens=[200] * 3, sample_of=1)
    assert 3 * (200 * 1.1) / 60 > 11  # though 660 / 60 is 11
    free = {"seconds_per_output_token": 0.0, "price": 1.0, "provision": "peak", "window": 60}
    assert monthly_bill(trace, seconds_per_prompt_token=1.1, **free).machines == 11
    assert monthly_bill(trace, seconds_per_prompt_token=1.1001, **free).machines == 12


def test_peak_refuses_a_window_that_is_longer_than_the_trace():
    with pytest.raises(ValueError, match="window must be above 0 and at most the trace's 120 s"):
        monthly_bill(tiny(), **TIMES, provision="peak")


@few
@given(prompt=st.floats(0, 1e-2), output=st.floats(1e-6, 1), price=st.floats(0, 100))
def test_peak_costs_no_less_than_average(prompt, output, price):
    times = {"seconds_per_prompt_token": prompt, "seconds_per_output_token": output}
    average = monthly_bill(day(), **times, price=price)
    peak = monthly_bill(day(), **times, price=price, provision="peak")
    assert peak.machines == int(peak.machines) >= average.machines * (1 - 1e-9)
    assert peak.dollars_per_month >= average.dollars_per_month * (1 - 1e-9)
    assert peak.utilization * peak.machines == pytest.approx(average.machines)
    tokens = day().summary()["generated_tokens_per_month"]
    million = average.dollars_per_million_tokens * tokens / 1e6
    assert million == pytest.approx(average.dollars_per_month)


def test_twice_the_traffic_costs_twice():
    one, two = (monthly_bill(t, **TIMES) for t in (day(), day().scaled(2)))
    assert two.dollars_per_month == pytest.approx(2 * one.dollars_per_month)
    assert two.dollars_per_million_tokens == pytest.approx(one.dollars_per_million_tokens)


@pytest.mark.parametrize("name", list(TIMES))
@pytest.mark.parametrize("value", [-1, math.nan, math.inf, "free", None])
def test_bill_refuses_numbers(name, value):
    with pytest.raises(ValueError, match=f"{name} must be a finite number of at least 0"):
        monthly_bill(tiny(), **TIMES | {name: value})


def test_bill_refuses_the_rest():
    with pytest.raises(ValueError, match="'average' or 'peak'; got 'median'"):
        monthly_bill(tiny(), **TIMES, provision="median")
    with pytest.raises(ValueError, match="at least one request; got an empty one"):
        monthly_bill(_empty(), **TIMES)
    with pytest.raises(ValueError, match="must not both be 0"):
        monthly_bill(tiny(), seconds_per_prompt_token=0, seconds_per_output_token=0, price=1)


# The service and the package


def test_service_is_frozen_and_prints_its_promise():
    with pytest.raises(FrozenInstanceError):
        SERVICE.name = "Other"
    assert SERVICE.name in str(SERVICE)
    assert f"{SERVICE.promise.ttft_seconds:g} s" in str(SERVICE)


def test_imports_are_lazy_and_never_torch():
    code = (
        "import sys, costlab.workload as w; w.SERVICE; assert 'numpy' not in sys.modules;"
        "w.monthly_bill(w.day(), seconds_per_prompt_token=1, seconds_per_output_token=1, price=1);"
        "w.text_for; assert 'numpy' in sys.modules and 'torch' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_unknown_names_raise():
    import costlab.workload

    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        costlab.workload.nothing  # noqa: B018
    assert "day" in dir(costlab.workload)


def test_a_month_at_the_speed_of_a_bill_charges_shares():
    load = SimpleNamespace(batch=4, prompt=100, generate=50)
    bill = SimpleNamespace(
        workload=load, ttft_seconds=2.0, tokens_per_second=20.0,
        machine=SimpleNamespace(price_per_hour=0.5),
    )  # fmt: skip
    ours = month(bill, "average")
    # 200 tokens in 10 s, 2 of them for 400 prompt tokens
    theirs = monthly_bill(
        day(), price=0.5, seconds_per_prompt_token=0.005, seconds_per_output_token=0.04
    )
    assert ours.dollars_per_month == pytest.approx(theirs.dollars_per_month)
