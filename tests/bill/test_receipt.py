"""Bills as receipts, tables and JSON: what varies is marked as such, and nothing else is."""

import configparser
import json
import re
import sys
from dataclasses import fields, replace
from html import escape
from html.parser import HTMLParser
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costlab.bill import Bill, Ledger, Machine, receipt
from costlab.bill.records import Receipt, Workload

VOLATILE = {
    "ttft_seconds", "latency_seconds", "tokens_per_second", "scored_per_second",
    "peak_memory_bytes", "mfu", "share_of_peak", "bandwidth_share", "dollars_per_million_tokens",
    "dollars_per_million_scored", "parses",
}  # fmt: skip
FIGURES = [f.name for f in fields(Bill) if f.name not in ("workload", "machine", "name")]
STEADY = [name for name in FIGURES if name not in VOLATILE]
OTHER_MACHINE = {
    "name": 'Ünlike "any" <other>', "cores": 64, "threads": 32, "peak_flops": 3e13,
    "price_per_hour": 12.5, "assumed": True, "sheet_flops": None,
}  # fmt: skip


def sanitized(text: str) -> str:
    """What nbval compares: by the project's own rule."""
    rule = configparser.RawConfigParser()
    rule.read(Path(__file__).parents[1] / "nbval_sanitize.cfg", encoding="utf-8")
    return re.sub(rule["measured"]["regex"], rule["measured"]["replace"], text)


def forms(bill: Bill, other: Bill) -> list[str]:
    """Every way in which bills are shown."""
    ledger = Ledger((bill, other))
    return [
        str(bill), repr(bill), bill._repr_html_(), str(bill.since(other)), repr(other.since(bill)),
        bill.since(other)._repr_html_(), str(ledger), repr(ledger), ledger._repr_html_(),
    ]  # fmt: skip


def faster(bill, **changes):
    """A bill that differs in every volatile figure and in the machine; two are unknown there."""
    values = {name: getattr(bill(), name) * 3.7 for name in VOLATILE}
    return bill(**values | {"mfu": None, "peak_memory_bytes": None, "on": OTHER_MACHINE} | changes)


def test_times_and_machines_are_forgiven_in_every_form(bill):
    variant = {"name": "variant", "bits_per_byte": 1.5, "parameters": 5_000_000}
    here = forms(bill(), bill(**variant, latency_seconds=0.001))
    there = forms(faster(bill), faster(bill, **variant))
    for a, b in zip(here, there, strict=True):
        assert a != b
        assert sanitized(a) == sanitized(b)


@pytest.mark.parametrize("field", STEADY)
def test_nothing_else_is_forgiven(bill, field):
    changed = {field: getattr(bill(), field) * 1.1}
    other = bill(name="variant")
    for at in (0, 2):  # the receipt as text and as HTML
        a, b = forms(bill(), other)[at], forms(bill(**changed), other)[at]
        assert sanitized(a) != sanitized(b)
    shown_in_tables = field not in ("nonzero_parameters", "flops_per_token")
    for at in (6, 8):
        a, b = forms(bill(), other)[at], forms(bill(**changed), other)[at]
        assert (sanitized(a) != sanitized(b)) == shown_in_tables


def test_a_digit_of_bits_per_byte_is_seen(bill):
    a, b = bill(bits_per_byte=1.43), bill(bits_per_byte=1.44)
    assert all(sanitized(x) != sanitized(y) for x, y in zip(forms(a, a), forms(b, b), strict=True))


def test_every_volatile_figure_stands_on_a_measured_line(bill):
    lines = str(bill()).splitlines()
    for line in receipt.COST + receipt.TOTAL + receipt.QUALITY:
        row = next(row for row in lines if f" {line.label} ." in f" {row}")
        assert row.startswith("[measured] ") == (line.field in VOLATILE), row
        assert row.endswith(line.write(getattr(bill(), line.field)))
    assert lines[-1].startswith("[measured] a processor")
    quick = faster(bill, on={})
    assert max(map(len, str(quick.since(bill())).splitlines())) <= 90


def test_html_measured_elements_hold_the_volatile_figures(bill):
    html = bill()._repr_html_()
    for line in receipt.COST + receipt.TOTAL + receipt.QUALITY:
        row = re.search(rf'<div class="([^"]*)"><dt>{escape(line.label)}</dt>', html)
        assert ("measured" in row[1].split()) == (line.field in VOLATILE)


def test_unknown_figures_have_no_line_and_are_never_zero():
    machine = Machine("m", "cpu", 1, 1, "float32", 1e9, 1e9, None, 0.1, "", True)
    empty = Bill(Workload(), machine, parameters=10)
    text = str(empty)
    assert "bits per byte" not in text
    assert "PER MILLION" not in text
    assert " 0" not in text.replace("$0.1 ", "")
    assert "(assumed)" in text
    assert re.search(r"^\[measured\] peak memory \.+ unknown$", text, re.M)
    assert all(getattr(empty, name) is None for name in FIGURES if name != "parameters")


class Reader(HTMLParser):
    """Collects tags, attributes and the text between them."""

    def __init__(self, html):
        super().__init__()
        self.tags, self.words, self.open = [], [], []
        self.feed(html)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, {name for name, _ in attributes}))
        if tag not in ("br", "img"):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.words.append(data)


def test_hostile_names_are_text(bill):
    name = '"><script>alert(1)</script><b onload=x> & </td>'
    hostile = bill(name=name, on={"name": name})
    for html in (hostile._repr_html_(), Ledger((hostile, hostile))._repr_html_()):
        read = Reader(html)
        assert not read.open
        assert {tag for tag, _ in read.tags}.isdisjoint({"script", "b"})
        assert not any("onload" in names for _, names in read.tags)
        assert any(name in words for words in read.words)


def test_changes_carry_a_shape_and_what_they_mean(bill):
    before = bill()
    after = bill(parameters=3_250_000, tokens_per_second=952.0, bits_per_byte=1.5752, parses=0.405)
    text = str(after.since(before))
    assert re.search(r"parameters \.+ 3\.25 M  ▼ 50 %", text)
    assert re.search(r"tokens per second \.+ 952  ▲ 100 %", text)
    assert re.search(r"bits per byte \.+ 1\.58  ▲ 10 %", text)
    html = after.since(before)._repr_html_()
    assert re.search(r'3\.25 M <span class="saved">▼ 50 %', html)
    assert re.search(r'952 <span class="saved">▲ 100 %', html)
    assert re.search(r'1\.58 <span class="spent">▲ 10 %', html)
    assert re.search(r'40 % <span class="spent">▼ 50 %', html)
    assert "▲" not in str(before.since(before))
    assert "▼" not in str(before.since(before))
    assert isinstance(after.since(before), Receipt)


def test_a_timing_within_the_noise_is_not_shown_as_a_change(bill):
    now = bill().tokens_per_second
    assert "▲" not in str(bill(tokens_per_second=1.09 * now).since(bill()))
    assert "▲ 11 %" in str(bill(tokens_per_second=1.11 * now).since(bill()))
    assert "▲ 1 %" in str(bill(bits_per_byte=1.01 * bill().bits_per_byte).since(bill()))


def test_bills_of_other_requests_machines_or_prices_are_not_compared(bill):
    here = bill()
    for what, value in (("batch", 4), ("prompt", 64), ("generate", 1), ("scored", "the data")):
        other = replace(here, workload=replace(here.workload, **{what: value}))
        for refuse in (lambda o=other: here.since(o), lambda o=other: Ledger((here, o))):
            with pytest.raises(
                ValueError, match=f"different workloads are not compared: {what} is"
            ):
                refuse()
    for what, value in (("name", "other"), ("threads", 7), ("price_per_hour", 9.0)):
        with pytest.raises(ValueError, match=f"different machines are not compared: {what} is"):
            Ledger((here, bill(on={what: value})))
    naive = replace(here, workload=replace(here.workload, kv_cache=False))
    assert here.since(naive)  # the requests are the same


def test_a_change_of_a_negative_quality_points_the_right_way(bill):
    text = str(bill(quality=-2.0).since(bill(quality=-1.0)))
    assert re.search(r"quality \.+ -2  ▼ 100 %", text)


@pytest.mark.parametrize(
    ("flips", "shown"), [(1.0, "100 %"), (0.0345, "3.5 %"), (0.0004, "0.04 %")]
)
def test_a_share_of_flips_has_two_figures_and_no_exponent(bill, flips, shown):
    assert re.search(rf"flipped likeliest tokens \.+ {shown}$", str(bill(flips=flips)), re.M)


def test_a_change_from_nothing_has_no_percentage(bill):
    assert "inf" not in str(bill(flips=0.1).since(bill(flips=0.0)))
    assert "nan" not in str(bill(flips=0.0).since(bill(flips=0.0)))
    assert str(bill(flips=None).since(bill())) == str(bill(flips=None).since(bill(flips=None)))


@pytest.mark.parametrize(
    ("write", "value", "text"),
    [
        (receipt.count, 1_234_567, "1.23 M"),
        (receipt.count, 999_900, "1 M"),
        (receipt.count, 999.6, "1 k"),
        (receipt.count, 1000, "1 k"),
        (receipt.count, 12, "12"),
        (receipt.count, 1.5e15, "1500 T"),
        (receipt.size, 512, "512 B"),
        (receipt.size, 13_000_000, "13 MB"),
        (receipt.memory, 1010 * 2**20, "1010 MiB"),
        (receipt.memory, 3 * 2**30, "3 GiB"),
        (receipt.seconds, 0.0021, "2.1 ms"),
        (receipt.seconds, 1234.0, "1234 s"),
        (receipt.seconds, 0.9999, "1 s"),
        (receipt.seconds, 3e-5, "30 µs"),
        (receipt.dollars, 1234.5, "$1,234.50"),
        (receipt.dollars, 0.21, "$0.21"),
        (receipt.percent, 12.34, "1234 %"),
        (receipt.percent, 0.0345, "3.45 %"),
    ],
)
def test_how_figures_are_written(write, value, text):
    assert write(value) == text


number = st.one_of(
    st.none(), st.floats(allow_nan=False, allow_infinity=False), st.integers(0, 10**18)
)


@given(*[st.fixed_dictionaries(dict.fromkeys(FIGURES, number)) for _ in range(2)], st.text())
def test_no_finite_figure_upsets_any_form(values, others, name):
    machine = Machine("m", "cpu", 1, 1, "float32", 1e9, 1e9, None, 0.1, "", True)
    a, b = Bill(Workload(), machine, name, **values), Bill(Workload(), machine, "b", **others)
    assert all(forms(a, b))
    assert Bill.from_json(a.to_json()) == a


def test_json_round_trip(bill):
    for one in (bill(), faster(bill), bill(quality=None, divergence=None)):
        assert Bill.from_json(one.to_json()) == one
        assert Bill.from_dict(one.to_dict()) == one
    ledger = Ledger((bill(), bill(name="other")))
    assert Ledger.from_json(ledger.to_json()) == ledger
    assert set(json.loads(bill().to_json())) == {f.name for f in fields(Bill)}


def test_fields_of_a_bill_are_the_contract():
    assert {
        "bits_per_byte", "divergence", "flips", "parses", "parameters", "nonzero_parameters",
        "bytes_in_memory", "bytes_on_disk", "flops_per_token", "flops_per_token_with_attention",
        "latency_seconds", "ttft_seconds", "tokens_per_second", "peak_memory_bytes", "mfu",
        "share_of_peak", "bandwidth_share", "dollars_per_million_tokens",
        "dollars_per_million_scored", "workload", "machine", "quality",
    } <= {f.name for f in fields(Bill)}  # fmt: skip


def test_what_is_no_bill_is_refused(bill):
    good = bill().to_dict()
    for bad in (good | {"extra": 1}, {k: v for k, v in good.items() if k != "mfu"}, [], None):
        with pytest.raises(ValueError, match=r"^values must hold exactly the fields of a Bill"):
            Bill.from_dict(bad)
    with pytest.raises(ValueError, match=r"these differ: \['extra'\]$"):
        Bill.from_dict(good | {"extra": 1})
    for part in ("machine", "workload"):
        with pytest.raises(ValueError, match=f"^{part} must hold the fields of a "):
            Bill.from_dict(good | {part: good[part] | {"extra": 1}})
    with pytest.raises(ValueError, match=r"^workload must hold the fields of a Workload"):
        Bill.from_dict(good | {"workload": None})
    for text in ("[]", "{}", '{"bills": [], "x": 1}'):
        with pytest.raises(ValueError, match=r"key 'bills' alone$"):
            Ledger.from_json(text)
    with pytest.raises(ValueError, match="Expecting"):
        Bill.from_json("no json")


def test_a_ledger_is_asked_by_name(bill):
    ledger = Ledger((bill(), bill(name="other", bits_per_byte=1.6)))
    assert ledger["other"].bits_per_byte == 1.6
    assert [one.name for one in ledger] == ["base", "other"]
    assert len(ledger) == 2
    with pytest.raises(
        KeyError, match=r"no bill named 'third' in this ledger.*\['base', 'other'\]"
    ):
        ledger["third"]


def test_a_ledger_draws_dollars_against_quality(bill):
    matplotlib = pytest.importorskip("matplotlib")
    rows = (bill(), bill(name="int8", dollars_per_million_tokens=0.1), bill(name="x", parses=None))
    figure = Ledger(rows).figure(title="A point")
    assert isinstance(figure, matplotlib.figure.Figure)
    (ax,) = figure.axes
    assert "A point" in (ax.get_title(), ax.get_title(loc="left"))
    assert any("int8" in text.get_text() for text in ax.texts)
    unknown = bill(bits_per_byte=None, quality=0.4)
    assert Ledger((unknown, bill(name="b", quality=0.3, bits_per_byte=None))).figure()
    with pytest.raises(ValueError, match="no row has both dollars and quality"):
        Ledger((bill(dollars_per_million_tokens=None),)).figure()
    matplotlib.pyplot.close("all")


def test_drawing_is_imported_when_something_is_drawn():
    assert "costlab.bill.receipt" in sys.modules  # by this test; records alone does not
    source = (Path(receipt.__file__).parent / "records.py").read_text()
    assert not re.search(r"^from costlab.bill.receipt|^from costlab import figures", source, re.M)
