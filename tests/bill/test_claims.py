"""Claims fail when they are false, and code is shown as it stands."""

import math

import pytest

import costlab
from costlab.bill import ClaimError, claim, source
from costlab.bill.claims import Source


@pytest.mark.parametrize(
    ("op", "true", "false"),
    [("<", [1], [2, 3]), ("<=", [1, 2], [3]), (">", [3], [1, 2]), (">=", [2, 3], [1]),
     ("==", [2], [1, 3])],
)  # fmt: skip
@pytest.mark.parametrize("kind", ["exact", "measured", "recorded"])
def test_every_operator(op, true, false, kind, capsys):
    for value in true:
        assert claim("a true thing", value, op, 2, kind=kind) is None
        assert capsys.readouterr().out.startswith(f"claim holds ({kind}): a true thing\n")
    for value in false:
        with pytest.raises(ClaimError, match=r"^claim does not hold: a false thing \[") as error:
            claim("a false thing", value, op, 2, kind=kind)
        assert isinstance(error.value, AssertionError)
        assert capsys.readouterr().out == ""


@pytest.mark.parametrize(
    ("value", "op", "holds"),
    [(2.4, ">", False), (2.6, ">", True), (2.5, ">=", True), (2.4, ">=", False),
     (1.6, "<", False), (1.4, "<", True), (1.5, "<=", True), (1.6, "<=", False)],
)  # fmt: skip
def test_noise_is_taken_at_its_unlucky_end(value, op, holds):
    claim("without noise", value, op, 2)
    if holds:
        claim("with noise", value, op, 2, noise=0.5)
    else:
        with pytest.raises(ClaimError, match=r"\(noise 0\.5\)"):
            claim("with noise", value, op, 2, noise=0.5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ((1, "!=", 2, {}), "op must be one of <, <=, >, >=, ==, got '!='"),
        ((1, "<", 2, {"kind": "guess"}), "kind must be one of exact, measured, recorded, got"),
        ((math.nan, "<", 2, {}), "value must be a number, got nan"),
        ((1, "<", math.nan, {}), "bound must be a number, got nan"),
        ((1, "<", 2, {"noise": math.nan}), "noise must be a number, got nan"),
        (("1", "<", 2, {}), "value must be a number, got '1'"),
        ((None, "<", 2, {}), "value must be a number, got None"),
        ((1, "<", 2, {"noise": -0.1}), "noise must be at least 0"),
        ((1, "==", 1, {"noise": 0.1}), "noise must be at least 0, and neither '==' nor"),
        ((1, "<", 2, {"noise": 0.1, "kind": "exact"}), "noise must be at least 0, and neither"),
    ],
)
def test_what_is_no_claim_is_refused(arguments, sentence, capsys):
    value, op, bound, options = arguments
    with pytest.raises(ValueError, match=f"^{sentence}"):
        claim("text", value, op, bound, **options)
    assert capsys.readouterr().out == ""


def test_only_measured_figures_stand_on_a_measured_line(capsys):
    claim("it is faster", 1.234567, ">", 1.1, noise=0.05)
    assert capsys.readouterr().out == (
        "claim holds (measured): it is faster\n[measured] 1.235 > 1.1 (noise 0.05)\n"
    )
    for kind in ("exact", "recorded"):
        claim("it is so", 5, "==", 5, kind=kind)
        assert capsys.readouterr().out == f"claim holds ({kind}): it is so\n  5 == 5\n"


def test_source_of_a_function_a_class_and_a_module():
    shown = source(costlab.measure)
    assert shown.title == "costlab/bill/measure.py · measure"
    assert shown.code.startswith("def measure(")
    assert str(shown) == f"# {shown.title}\n{shown.code}"
    assert shown._repr_markdown_().startswith(f"`{shown.title}`\n\n```python\ndef measure(")
    assert source(costlab.Bill).code.startswith("@dataclass(frozen=True)\nclass Bill:")
    assert source(costlab.Bill.to_json).title == "costlab/bill/records.py · Bill.to_json"
    assert source(costlab.bill.claims).title == "costlab/bill/claims.py"
    decorated = source(costlab.prox_l1_)  # by torch.no_grad, whose file is another
    assert decorated.title == "costlab/optimize/regularization.py · prox_l1_"
    assert "def source(" in source(costlab.bill.claims).code
    assert isinstance(shown, Source)


@pytest.mark.parametrize("what", [3, "text", len, int, object()])
def test_what_has_no_source_gets_a_sentence(what):
    with pytest.raises(TypeError, match=r"^obj must be a function, class or module with source"):
        source(what)


def test_code_from_elsewhere_is_named_by_its_file():
    assert source(test_every_operator).title.startswith("test_claims.py")
