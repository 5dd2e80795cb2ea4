"""Twins of the claims of the validation page: the same figures of a rule that knows nothing."""

from statistics import median

from costlab import catalog, results
from costlab.estimate import rules, validation

RECORD = results.read("cost_model")


def one_share_for_all() -> float:
    """A constant share of the peak instead of the model."""
    return RECORD["errors"]["source dense constant"]["median"]


def the_nearest_row() -> float:
    """A look-up instead of the model."""
    return RECORD["errors"]["source low nearest"]["median"]


def itself() -> float:
    """The rule beside itself: no better."""
    return 1.0


def ranges_without_width() -> float:
    """A range of nothing but the prediction holds no row."""
    return 0.8


def states_alone() -> float:
    """Activations forgotten."""
    errors = []
    for row in (row for row in catalog.memory_peaks() if row.adapters is None):
        model = validation.shape_of(row)
        gib = rules.states_alone(model, validation.layout_of(row, model))
        errors.append(abs(gib * 2**30 / 1e9 / row.peak_gb - 1))
    return median(errors)


def old_tables_alone() -> float:
    """The tables from before, instead of those since."""
    old = [
        row["chip_out"]["model"]
        for row, m in zip(RECORD["rows"], validation.measured(), strict=True)
        if m.kept and m.row.as_of < validation.FUSED
    ]
    return validation.percentile(validation.relative(old), 0.9)


def scores_of_no_bytes() -> float:
    """The old tables beside themselves: nothing was added."""
    return 1.0


TWINS = {
    "Half of the dense runs in 16 bits are predicted within a tenth, their source unseen": (
        one_share_for_all
    ),
    "Half of the runs in 8 bits or with experts are predicted within 15 %, their source unseen": (
        the_nearest_row
    ),
    "On a chip it never saw, the model errs by less than a constant share of the peak": itself,
    "With the bytes of their scores, the old tables are missed by far less": scores_of_no_bytes,
    "Tables since fused attention keep to the quarter, their chip unseen": old_tables_alone,
    "The ranges hold between seven and nine of ten rows, source or chip unseen": (
        ranges_without_width
    ),
    "Half of the published peaks of memory are predicted within a tenth": states_alone,
}
