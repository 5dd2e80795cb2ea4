"""The calculators in a real browser: they say what Python says, and take whatever is typed."""

import json
import math
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
import test_browser as driving
from calculator_cases import CASES, cases
from test_browser import browser  # noqa: F401  a fixture

from costlab import estimate, levers, workload

pytestmark = pytest.mark.browser

COUNT, AT_ONCE = 200, 20
PAGES = dict.fromkeys(CASES, "calculators") | {"bill": "your_bill"}
HOSTILE = '<img src=x onerror="window.hacked=1">'
TEXT = "document.querySelector('article').innerText"
ASK = """JSON.stringify(%s.map((v) => costlab.estimates.%s(v)),
  (key, value) => value === Infinity ? "without end" : value)"""


@pytest.fixture(scope="module")
def home():
    if not (driving.HTML / "book/calculators.html").exists():
        driving.missing("There are no calculators in _build/html: run `make book`.")
    server, address = driving.serve(driving.HTML)
    yield address + "book/"
    server.shutdown()


@pytest.fixture
def visit(browser, home):  # noqa: F811
    """Open a page at a fragment; afterwards nothing may have complained or left the house."""
    seen = []

    def go(name, fragment="", theme="light", width=1280, axe=""):
        address = f"{home}{PAGES[name]}.html{fragment}"
        seen.append(browser.visit(address, theme, width, axe))
        return seen[-1]

    yield go
    for one in seen:
        assert not one["complaints"]
        assert not driving.foreign(one)
    heard = browser._heard()
    assert not heard["complaints"]
    assert not [url for url in heard["asked"] if not url.startswith(home[:-5])]


def typed(browser, name, field, text):  # noqa: F811
    """Type into a field, wait until the page has answered, and say what stands beside it."""
    return browser.run(f"""(async () => {{
      const field = document.getElementById({json.dumps(f"{name}-{field}")});
      field.value = {json.dumps(text)};
      field.dispatchEvent(new Event("input", {{ bubbles: true }}));
      await new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)));
      return {{ fault: document.getElementById(field.id + "-fault").textContent,
        invalid: field.getAttribute("aria-invalid") === "true",
        answer: document.querySelector("#calculator-{name} .answer").textContent,
        slip: document.querySelectorAll("#calculator-{name} .costlab-receipt").length }};
    }})()""")


def differences(want, got, where=""):
    """Where what the page found is not what Python found."""
    if isinstance(want, dict | list):
        keys = want.keys() if isinstance(want, dict) else range(len(want))
        if isinstance(want, list) and len(want) != len(got or []):
            return [(where, want, got)]
        return [d for k in keys for d in differences(want[k], got[k], f"{where}.{k}")]
    if isinstance(want, float) and math.isinf(want):
        want = "without end"
    same = got == want or (
        isinstance(want, int | float)
        and isinstance(got, int | float)
        and math.isclose(want, got, rel_tol=1e-9)
    )
    return [] if same else [(where, want, got)]


@pytest.mark.parametrize("name", CASES)
def test_the_page_says_what_python_says(browser, visit, name):  # noqa: F811
    visit(name)
    known = cases(name, COUNT)
    wrong = []
    for at in range(0, COUNT, AT_ONCE):
        asked = [values for values, _ in known[at : at + AT_ONCE]]
        found = json.loads(browser.run(ASK % (json.dumps(asked), name)))
        for (values, want), got in zip(known[at : at + AT_ONCE], found, strict=True):
            want = {key: value for key, value in want.items() if key != "model"}
            wrong += [(values, *one) for one in differences(want, got)]
    assert not wrong[:3], f"{len(wrong)} figures differ"


def test_differences_are_seen():
    assert differences({"a": [1.0, math.inf]}, {"a": [1.0, "without end"]}) == []
    assert differences({"a": 1.0}, {"a": 1.0 + 1e-6}) == [(".a", 1.0, 1.0 + 1e-6)]
    assert differences({"a": [1]}, {"a": []})
    assert differences({"fits": True}, {"fits": False})


def test_only_arithmetic_is_evaluated(browser, visit):  # noqa: F811
    visit("memory")
    right = {"-2**2": -4, "2**3**2": 512, "2-3-4": -5, "2/4/2": 0.25, "1e3*min(3,4/2)": 2000}
    for text, value in right.items():
        assert browser.run(f"costlab.compile({json.dumps(text)})({{}})") == value
    for text in ("alert(1)", "x.y", "x[0]", "1;2", "`a`", "1+", "(1", "min()", "a b", "a = 1"):
        attempt = (
            f"try {{ costlab.compile({json.dumps(text)}); }} catch (e) {{ return e.message; }}"
        )
        assert browser.run(f"(() => {{ {attempt} }})()").startswith("expression"), text


# --- a reader at work


def test_a_link_holds_its_values(browser, visit):  # noqa: F811
    visit("training", "#training?model=llama-3.1-70b&devices=512&tensor=8&tokens=2T&price=2.5")
    shown = browser.run("document.querySelector('#calculator-training .answer').textContent")
    e = estimate.training(
        "llama-3.1-70b", "h100-sxm", devices=512, tensor=8, zero=3, tokens=2e12, price=2.5
    )
    assert f"${e.dollars / 1e6:.3g}M" in shown
    assert f"{e.wall_hours / 24:.3g} days on 512" in shown
    typed(browser, "training", "devices", "1024")
    assert wait_for(browser, "location.hash.includes('devices=1024')")
    assert browser.run("location.hash").startswith("#training?model=llama-3.1-70b")


def wait_for(browser, condition):  # noqa: F811
    return any(browser.run(condition) or time.sleep(0.1) for _ in range(50))


def press(browser, key, code):  # noqa: F811
    for kind in ("keyDown", "keyUp"):
        browser.call(
            "Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=code
        )


def test_the_keyboard_is_enough(browser, visit):  # noqa: F811
    visit("serving")
    browser.run("document.getElementById('serving-devices').focus()")
    answer = "document.querySelector('#calculator-serving .answer').textContent"
    before = browser.run(answer)
    press(browser, "Tab", 9)
    assert browser.run("document.activeElement.getAttribute('aria-label')") == "Devices, slider"
    press(browser, "ArrowRight", 39)
    assert browser.run("document.getElementById('serving-devices').value") == "2"
    assert wait_for(browser, f"{answer} !== {json.dumps(before)}")
    spoken = "document.querySelector('#calculator-serving [role=status]').textContent"
    assert wait_for(browser, f"{spoken} === {answer}")
    reached = set()
    browser.run("document.getElementById('serving-model').focus()")
    for _ in range(30):
        reached.add(browser.run("document.activeElement.id || document.activeElement.textContent"))
        press(browser, "Tab", 9)
    fields = browser.run(
        "Object.values(costlab.running.serving.parts).map((part) => part.input.id)"
    )
    assert len(fields) == 12
    assert set(fields) <= reached
    assert {"Copy a link to these values", "The formulas, with these values"} <= reached


def test_the_formulas_are_shown_with_their_values(browser, visit):  # noqa: F811
    visit("memory")
    browser.run("document.querySelector('#calculator-memory .formulas').open = true")
    row = """[...document.querySelectorAll('#calculator-memory .formulas tr')]
      .map((r) => r.textContent).find((t) => t.startsWith('gib'))"""
    assert wait_for(browser, f"Boolean({row})")
    e = estimate.training("llama-3.1-8b", "h100-sxm", devices=64, zero=3)
    assert browser.run(row).startswith("gib(weights + gradients + optimizer")
    assert browser.run(row).endswith(f"{e.memory_gib_per_device:.6g}")


@pytest.mark.parametrize(
    ("name", "field", "text", "words"),
    [
        ("memory", "devices", "", "a whole number from 1 to 1,000,000, and nothing was given."),
        ("memory", "devices", "2.5", "“2.5” is not"),
        ("memory", "devices", "NaN", "“NaN” is not"),
        ("memory", "devices", "Infinity", "“Infinity” is not"),
        ("memory", "expert", "2", "must be 1: Llama 3.1 8B has no experts."),
        ("memory", "pipeline", "64", "must be at most the 32 layers of Llama 3.1 8B."),
        ("memory", "global_batch", "100", "a multiple of replicas × micro-batch (64), such as 64"),
        ("training", "tokens", "-1", "“-1” is not"),
        ("training", "tokens", "1e400", "must be a number above 0"),
        ("training", "price", "0", "Dollars per device-hour must be a number above 0"),
        ("serving", "rate", "many", "“many” is not"),
        ("serving", "cached_share", "1.5", "from 0 to 1"),
        ("rent", "slo_tpot", "1e-9", ""),
        ("storage", "retention_days", "1/0", "“1/0” is not"),
        ("bill", "peak", HOSTILE, "“<img src=x onerror="),
        ("bill", "requests_per_day", "alert(1)", "“alert(1)” is not"),
    ],
)  # fmt: skip
def test_bad_input_gets_a_sentence(browser, visit, name, field, text, words):  # noqa: F811
    visit(name)
    found = typed(browser, name, field, text)
    if name == "rent":  # the sentence stands beside the field that can be helped
        assert "too few" in browser.run("document.getElementById('rent-devices-fault').textContent")
    else:
        assert words in found["fault"]
        assert found["invalid"]
    assert found["slip"] == 0
    assert "sentence beside it" in found["answer"]
    whole = browser.run(TEXT)
    assert "NaN" not in whole.replace("“NaN”", "")
    assert "undefined" not in whole
    assert browser.run("window.hacked") is None


def test_a_fault_goes_away_with_its_cause(browser, visit):  # noqa: F811
    visit("memory")
    assert typed(browser, "memory", "devices", "x")["invalid"]
    found = typed(browser, "memory", "devices", "1,024")
    assert not found["fault"]
    assert found["slip"] == 1


def test_no_field_at_its_ends_shows_a_nan(browser, visit):  # noqa: F811
    """Every number at its least and at its most, one after the other."""
    for page in ("memory", "bill"):
        visit(page)
        bad = browser.run("""(async () => {
          const found = [];
          for (const one of Object.values(costlab.running)) {
            for (const { field, input } of Object.values(one.parts)) {
              const before = input.value;
              const ends = [field.above ? 1e-9 : field.least, field.most, ""];
              const tried = field.known ? field.known.map(([known]) => known) : ends;
              for (const value of tried) {
                input.value = value;
                one.update();
                const bad = /NaN|undefined/.test(one.place.innerText);
                if (bad) found.push([one.name, input.name, value]);
              }
              input.value = before;
            }
          }
          return found;
        })()""")
        assert not bad


def test_a_strange_link_is_survived(browser, visit):  # noqa: F811
    image = "%3Cimg%20src%3Dx%20onerror%3Dwindow.hacked%3D1%3E"
    visit(
        "memory",
        f"#memory?devices={image}&model=nope&constructor=1&__proto__=2",
    )
    assert browser.run("document.getElementById('memory-model').value") == "llama-3.1-8b"
    assert "is not" in browser.run("document.getElementById('memory-devices-fault').textContent")
    assert browser.run("window.hacked") is None
    assert browser.run("document.querySelectorAll('article img').length") == 0


# --- a pasted log


def log(*rows, head="timestamp,prompt_tokens,output_tokens,cached_tokens"):
    return "\n".join([head, *rows])


def test_a_log_becomes_five_numbers_and_a_bill(browser, visit):  # noqa: F811
    visit("bill")
    rows = [f"{at},{1000 + at % 7},{100 + at // 10 % 5},500" for at in range(0, 4 * 3600, 10)]
    rows += [f"{at},1000,100,500" for at in range(3600, 7200, 5)]  # a busier hour
    typed(browser, "bill", "log", log(*rows))
    value = {name: browser.run(f"document.getElementById('bill-{name}').value")
             for name in ("requests_per_day", "prompt", "generate", "shared", "peak")}  # fmt: skip
    hours = (4 * 3600 - 10) / 3600
    assert float(value["requests_per_day"]) == pytest.approx(len(rows) / hours * 24, rel=1e-3)
    assert float(value["peak"]) == pytest.approx(1080 / (len(rows) / hours), rel=1e-3)
    assert (value["prompt"], value["generate"]) == ("1002", "101")
    assert float(value["shared"]) == pytest.approx(0.5, abs=0.002)
    today, ranked = levers.levers(levers.Service(
        requests_per_day=float(value["requests_per_day"]), prompt=1002, generate=101,
        shared=float(value["shared"]), peak=float(value["peak"]), model="llama-3.1-70b",
    ))  # fmt: skip
    shown = browser.run("document.querySelector('#calculator-bill .answer').textContent")
    assert f"Today ${today[0]:,.0f}" in shown
    names = browser.run(
        "[...document.querySelectorAll('.levers strong')].map((s) => s.textContent)"
    )
    assert [name.split(":")[0] for name in names] == [lever.label for lever in ranked]
    assert "2026" not in browser.run("location.hash")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (log(), "column names alone"),
        (log("1,x,3,0"), "Line 2: tokens read must be a number from 1 to 10,000,000, and “x”"),
        (log("1,2,3,0", "2,5"), "Line 3: tokens written"),
        (log("yesterday,2,3,0"), "Line 2: the time must be a number of seconds or a date"),
        (log("1,1e99,3,0"), "Line 2: tokens read"),
        (log("1,2", head="a,b"), "must name a column of tokens read, such as prompt_tokens"),
        (log("1,2", head="prompt_tokens,b"), "must name a column of tokens written"),
        (log(f"1,{HOSTILE},3,0"), "“<img src=x onerror="),
        (log("1,=HYPERLINK(1),3,0"), "“=HYPERLINK(1)” is not"),
        (HOSTILE, "must name a column"),
        ("\0\0\n\0", "must name a column"),
    ],
)  # fmt: skip
def test_a_bad_log_gets_a_sentence(browser, visit, text, words):  # noqa: F811
    visit("bill")
    before = browser.run("document.querySelector('#calculator-bill .answer').textContent")
    found = typed(browser, "bill", "log", text)
    assert words in found["fault"]
    assert found["answer"] == before  # nothing is taken from a log that cannot be read
    assert browser.run("window.hacked") is None
    assert browser.run("document.querySelectorAll('article img').length") == 0


@pytest.mark.parametrize(
    ("head", "row"),
    [
        ("TIMESTAMP;ContextTokens;GeneratedTokens", "2023-11-16 18:17:03;900;30"),
        ("Timestamp\tModel\tRequest tokens\tResponse tokens", "5\tgpt\t900\t30"),
        ('"prompt_tokens","completion_tokens"', '"900","30"'),
        ("ChargePeriodStart,x_InputTokens,x_OutputTokens", "2026-11-02T09:00:00Z,900,30"),
    ],
)
def test_logs_of_several_services_are_understood(browser, visit, head, row):  # noqa: F811
    visit("bill")
    found = typed(browser, "bill", "log", f"{head}\r\n{row}\r\n\r\n")
    assert not found["fault"]
    assert browser.run("document.getElementById('bill-prompt').value") == "900"
    assert browser.run("document.getElementById('bill-generate').value") == "30"


def test_the_page_counts_a_log_as_the_package_does(browser, visit, tmp_path):  # noqa: F811
    rows = [f"{i * 700},{100 + i},{9 + i % 5},{i * 7}" for i in range(50)]
    text = "\n".join(["timestamp,prompt_tokens,output_tokens,cached_tokens", *rows])
    (tmp_path / "log.csv").write_text(text)
    want = workload.read_log(tmp_path / "log.csv")
    visit("bill")
    found = json.loads(browser.run(f"JSON.stringify(costlab.readLog({json.dumps(text)}))"))
    assert len(found) == 7
    assert found == {name: pytest.approx(getattr(want, name)) for name in found}


# --- for everyone


@pytest.mark.parametrize("view", [("light", 1280), ("dark", 1280), ("light", 390), ("dark", 390)])
@pytest.mark.parametrize("name", ["memory", "bill"])
def test_open_and_faulty_forms_shut_nobody_out(browser, visit, name, view):  # noqa: F811
    axe = driving.axe_source()
    seen = visit(name, "", *view, axe)
    assert not seen["faults"]
    assert seen["width"] <= seen["view"]
    browser.run("for (const one of document.querySelectorAll('details')) one.open = true")
    typed(browser, name, "price" if name == "bill" else "zero", "never")
    typed(browser, name, "prompt" if name == "bill" else "devices", "never")
    time.sleep(0.2)
    again = browser.run(driving.LOOK)
    assert not again["faults"]
    assert again["width"] <= again["view"]


def test_without_javascript_there_are_tables(browser, home):  # noqa: F811
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    try:
        for page, count in (("calculators", 6), ("your_bill", 1)):
            browser.call("Page.navigate", url=f"{home}{page}.html")
            tables = "[...document.querySelectorAll('.calculator table')]"
            rows = f"{tables}.map((t) => t.offsetHeight > 50 && t.rows.length)"
            ready = f"document.readyState === 'complete' && {tables}.length === {count}"
            assert wait_for(browser, ready)
            assert all(n > 3 for n in browser.run(rows))
    finally:
        browser.call("Emulation.setScriptExecutionDisabled", value=False)
