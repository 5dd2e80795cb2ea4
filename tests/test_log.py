"""Request logs: counted as by hand, in every dialect, and refused in one sentence."""

import csv
import io
import math
from statistics import fmean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from costlab.workload import Log, read_log

DAY = """timestamp,prompt_tokens,output_tokens,cached_tokens
2026-11-02T09:00:00Z,100,10,50
2026-11-02T09:30:00Z,200,20,0
2026-11-02T11:00:00Z,300,33,
2026-11-02T13:00:00Z,400,37,500
"""


@pytest.fixture
def log(tmp_path):
    def read(text, encoding="utf-8"):
        path = tmp_path / "log.csv"
        path.write_bytes(text.encode(encoding))
        return read_log(path)

    return read


def test_a_log_is_counted_as_by_hand(log):
    assert log(DAY) == Log(
        requests=4, prompt=250, generate=25, shared=450 / 1000, billed=None,
        requests_per_day=24.0, hours=4.0, peak=2.0, by_hour=(2, 0, 1, 0, 1),
    )  # fmt: skip


@pytest.mark.parametrize("sign", [";", "\t"])
def test_other_signs_marks_and_line_ends(log, sign):
    assert log(DAY.replace(",", sign)) == log(DAY)
    assert log("\ufeff\n" + DAY.replace("\n", "\r\n") + "\r\n\r\n") == log(DAY)


def test_quoted_cells_and_thousands_are_read(log):
    text = '"Prompt Tokens","note","OutputTokens"\n"1,500","a ""b"", c\nd",3\n'
    assert (log(text).prompt, log(text).generate) == (1500, 3)


def test_focus_columns_are_read_and_their_dollars_added(log):
    text = (
        "ChargePeriodStart,ChargeCategory,BilledCost,x_InputTokens,x_OutputTokens\n"
        "2026-11-02T09:00:00+00:00,Usage,0.25,100,10\n"
        "2026-11-02T10:00:00,Usage,0.5,300,30\n"
        "2026-11-02T10:00:00Z,Tax,7,,\n"
    )
    found = log(text)
    assert (found.requests, found.prompt, found.generate) == (2, 200, 20)
    assert (found.billed, found.hours, found.peak) == (0.75, 1.0, None)


@pytest.mark.parametrize(
    "cells", ["0 3600", "1700000000 1700003600", "1700000000000 1700003600000"]
)
def test_times_are_seconds_or_milliseconds(log, cells):
    first, last = cells.split()
    assert log(f"time,input,output\n{first},1,1\n{last},1,1\n").hours == 1.0


def test_milliseconds_say_so_in_their_name(log):
    assert log("arrival_milliseconds,input,output\n0,1,1\n3600000,1,1\n").hours == 1.0


def test_without_times_a_log_is_a_day(log):
    found = log("input_tokens,output_tokens\n5,0\n")
    assert found == Log(1, 5, 1, None, None, 1.0)


ROWS = st.tuples(
    st.integers(0, 10**6), st.integers(1, 9999), st.integers(1, 999), st.integers(0, 9999)
)


@settings(max_examples=40, deadline=None)
@given(rows=st.lists(ROWS, min_size=1, max_size=30), sign=st.sampled_from(",;\t"))
def test_means_are_those_of_the_columns(tmp_path_factory, rows, sign):
    held = io.StringIO()
    csv.writer(held, delimiter=sign).writerows([("time", "prompt", "output", "cached"), *rows])
    path = tmp_path_factory.mktemp("log") / "log.csv"
    path.write_text(held.getvalue())
    found = read_log(path)
    times, read, written, cached = zip(*rows)
    assert abs(found.prompt - fmean(read)) <= 0.5
    assert abs(found.generate - fmean(written)) <= 0.5
    assert found.shared == pytest.approx(sum(map(min, cached, read)) / sum(read))
    assert sum(found.by_hour) == (len(rows) if max(times) > min(times) else 0)
    if found.peak is not None:
        assert found.peak >= 1
        assert found.peak == max(1, max(found.by_hour) / (len(rows) / found.hours))


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "is empty: it needs column names"),
        ("\n \n", "is empty: it needs column names"),
        ("a,b\n1,2\n", "must name a column of tokens read, such as prompt_tokens"),
        ("prompt,b\n1,2\n", "must name a column of tokens written, such as output_tokens"),
        ("prompt,output\n", "holds no request"),
        ("prompt,output\n1,2\nx,2\n", "line 3 of log .*: prompt must be a number from 1 to .*'x'"),
        ("prompt,output\n0,2\n", "line 2 of log .*: prompt must be a number from 1 to"),
        ("prompt,output\n1,nan\n", "output must be a number from 0 to 10,000,000, got 'nan'"),
        ("prompt,output\n1,inf\n", "output must be a number from 0 to 10,000,000, got 'inf'"),
        ("prompt,output\n1\n", "output must be a number from 0 to 10,000,000, got ''"),
        (
            "prompt,output,time\n1,2,soon\n",
            "time must be a number of seconds or a date, got 'soon'",
        ),
        ("prompt,output\n" + "9" * 40 + ",1\n", "prompt must be a number .* got '9{30}'"),
        ("prompt,output\n__import__('os').abort(),1\n", "prompt must be a number"),
    ],
)
def test_bad_logs_get_one_sentence(log, text, sentence):
    with pytest.raises(ValueError, match=sentence) as error:
        log(text)
    assert "\n" not in str(error.value)


def test_what_is_no_file_or_no_text_gets_one_sentence(tmp_path, log):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(ValueError, match="cannot be read"):
            read_log(path)
    with pytest.raises(ValueError, match="must name a column"):
        log("caf\u00e9\x00,b\n1,2", "latin-1")


def test_hours_far_apart_stay_few(log):
    found = log("time,input,output\n0,1,1\n99999999999,1,1\n")
    assert len(found.by_hour) <= 24 * 366
    assert math.isfinite(found.requests_per_day)
