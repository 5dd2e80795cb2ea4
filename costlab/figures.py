"""One look for every figure of the book, and the figures that several chapters share.

The palette here is the book's palette: its style sheets must name the same colors, and a test
compares them. Matplotlib is imported inside the functions, so importing this module costs nothing.

    from costlab import figures
    figures.use_style()
    fig, ax = plt.subplots()
    (line,) = ax.plot(batch, dollars, color=figures.SAVED)
    figures.label_line(ax, line, "int8")
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

LIGHT = {
    "paper": "#FBF9F4",
    "ink": "#1F1D1A",
    "muted": "#6B665E",
    "rule": "#D9D3C7",
    "saved": "#0B6E8A",
    "spent": "#B8500F",
    "slip": "#FFFEFB",
    "shade": "#F7F3EC",
}
DARK = {
    "paper": "#171614",
    "ink": "#ECE7DD",
    "muted": "#A49D91",
    "rule": "#3A3631",
    "saved": "#5CC3DE",
    "spent": "#F29A5B",
    "slip": "#232120",
    "shade": "#201E1C",
}
PAPER, INK, MUTED, RULE = (LIGHT[name] for name in ("paper", "ink", "muted", "rule"))
SAVED, SPENT = LIGHT["saved"], LIGHT["spent"]
# Further lines are told apart by lightness and dash, not by a third hue.
SERIES = (INK, SAVED, SPENT, MUTED, "#A39C90")
DASHES = ("-", "-", "-", "--", ":")
WIDTH, HEIGHT = 6.4, 3.6  # inches; at 100 CSS pixels an inch, the width of the reading column
DPI = 200  # of the PNG: two pixels to a CSS pixel, for sharp screens


def rc() -> dict[str, object]:
    """Return the matplotlib settings of the book's figures."""
    from cycler import cycler

    return {
        "figure.figsize": (WIDTH, HEIGHT),
        "figure.dpi": DPI,
        "figure.facecolor": PAPER,
        "figure.constrained_layout.use": True,
        "figure.constrained_layout.w_pad": 0.1,
        "figure.constrained_layout.h_pad": 0.1,
        "savefig.dpi": DPI,
        "savefig.facecolor": PAPER,
        "savefig.transparent": False,
        "axes.facecolor": PAPER,
        "axes.edgecolor": MUTED,
        "axes.labelcolor": MUTED,
        "axes.linewidth": 0.8,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.titlecolor": INK,
        "axes.titlelocation": "left",
        "axes.titlesize": 12,
        "axes.titleweight": "bold",
        "axes.titlepad": 10,
        "axes.labelsize": 10,
        "axes.prop_cycle": cycler(color=SERIES) + cycler(linestyle=DASHES),
        "font.family": "sans-serif",
        "font.sans-serif": ["DejaVu Sans"],  # ships with matplotlib: the same picture everywhere
        "font.size": 10,
        "text.color": INK,
        "grid.color": RULE,
        "grid.linewidth": 0.6,
        "legend.frameon": False,
        "lines.linewidth": 1.8,
        "lines.markersize": 6,
        "xtick.color": MUTED,
        "ytick.color": MUTED,
        "xtick.labelsize": 9.5,
        "ytick.labelsize": 9.5,
        "hatch.color": PAPER,
    }


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw in the book's style inside a ``with`` block, and leave matplotlib as it was."""
    import matplotlib as mpl

    with mpl.rc_context(rc()):
        yield


def use_style() -> None:
    """Draw in the book's style from here on: what each notebook calls once.

    In a notebook it also keeps matplotlib from cropping pictures, so that all have one width.
    """
    import matplotlib as mpl

    mpl.rcParams.update(rc())
    try:
        from IPython import get_ipython
        from matplotlib_inline.config import InlineBackend
    except ImportError:
        return
    if get_ipython() is not None:
        InlineBackend.instance().print_figure_kwargs = {"bbox_inches": None}


def label_line(ax: Axes, line: Line2D, text: str, *, at: float | None = None) -> None:
    """Write a line's name beside it, in its color, instead of in a legend.

    ``at`` is the x (in data units) where the name stands above the line; by default it stands
    to the right of the line's last finite point, and the axis gets the room it needs.
    """
    points = [
        (float(x), float(y))
        for x, y in zip(line.get_xdata(), line.get_ydata())
        if math.isfinite(float(x)) and math.isfinite(float(y))
    ]
    if not points:
        raise ValueError(f"line: {text!r} has no finite point to stand beside")
    nearest = points[-1] if at is None else min(points, key=lambda point: abs(point[0] - at))
    ax.annotate(
        text,
        nearest,
        xytext=(6, 0) if at is None else (0, 6),
        textcoords="offset points",
        ha="left" if at is None else "center",
        va="center" if at is None else "bottom",
        color=line.get_color(),
        fontsize=10,
        annotation_clip=False,
    )


def lines(
    series: dict[str, tuple[Sequence, Sequence]],
    *,
    title: str,
    xlabel: str,
    ylabel: str,
    log: str = "",
) -> Axes:
    """Draw named lines, {name: (x, y)}, each with its name at its right end.

    ``log`` names the logarithmic axes: "", "x", "y" or "xy". Returns the axes, to add to.
    """
    import matplotlib.pyplot as plt

    _, ax = plt.subplots()
    few = max(len(x) for x, _ in series.values()) <= 50  # more points would hide the line
    drawn = [ax.plot(x, y, marker="o" if few else "", ms=4)[0] for x, y in series.values()]
    ax.set(xlabel=xlabel, ylabel=ylabel, title=title)
    for axis in log:
        getattr(ax, f"set_{axis}scale")("log")
    if len(drawn) > 1:
        _label_ends(ax, drawn, list(series))
    return ax


def _label_ends(ax: Axes, drawn: list[Line2D], names: list[str]) -> None:
    """Name lines at their right ends, moved up where two names would touch."""
    ax.figure.canvas.draw()
    ends = [(line.get_xdata()[-1], line.get_ydata()[-1]) for line in drawn]
    heights = [ax.transData.transform(end)[1] * 72 / ax.figure.dpi for end in ends]
    taken = -math.inf
    for height, end, line, name in sorted(zip(heights, ends, drawn, names), key=lambda t: t[0]):
        shift = max(0.0, taken + 13 - height)  # points: one line of text
        taken = height + shift
        place = {"xytext": (8, shift), "textcoords": "offset points", "va": "center"}
        ax.annotate(name, end, color=line.get_color(), annotation_clip=False, **place)


def money_vs_quality(
    rows: Sequence[dict],
    *,
    title: str | None = None,
    money: str = "dollars per million bytes generated",
    quality: str = "bits per byte on validation text",
) -> Figure:
    """Draw the book's standard figure: what each variant costs against how good it still is.

    ``rows`` are dicts with ``name``, ``dollars`` (> 0, drawn on a log axis) and ``quality``
    (lower is better). The first row is where the reader started; a line leads from it to each
    other row: blue with a ▼ where that is cheaper, vermilion with a ▲ where it costs more.
    A row whose ``dollars`` or ``quality`` is ``None`` is left out. Taught in ``01_the_bill``.
    """
    import matplotlib.pyplot as plt

    kept = [row for row in rows if row["dollars"] is not None and row["quality"] is not None]
    _check_rows(kept)
    with style():
        fig, ax = plt.subplots()
        ax.set_xscale("log")
        _draw_points(ax, kept)
        _set_range(ax, kept)
        ax.set_xlabel(f"← cheaper      {money} (log scale)")
        ax.set_ylabel(f"{quality}\n← better")
        ax.set_title(title or _point_of(kept))
        ax.grid(axis="both", alpha=0.6)
        ax.set_axisbelow(True)
    return fig


def _check_rows(rows: Sequence[dict]) -> None:
    if not rows:
        raise ValueError("rows: no row has both dollars and quality; give at least one")
    for row in rows:
        if not (row["dollars"] > 0 and math.isfinite(row["dollars"])):
            raise ValueError(
                f"rows: dollars of {row['name']!r} is {row['dollars']}; it must be above 0"
            )


def _draw_points(ax: Axes, rows: Sequence[dict]) -> None:
    """Draw the start as an open circle, every other row as an arrow and a triangle, all named."""
    start = rows[0]
    ax.plot(start["dollars"], start["quality"], "o", color=INK, mfc=PAPER, mew=1.8, ms=8, zorder=4)
    _name_point(ax, start, start["name"], INK, above=False)
    for row in rows[1:]:
        cheaper = row["dollars"] < start["dollars"]
        color = SAVED if cheaper else SPENT
        here, there = (start["dollars"], start["quality"]), (row["dollars"], row["quality"])
        arrow = {"arrowstyle": "-", "color": color, "alpha": 0.45, "lw": 1.2, "shrinkA": 6}
        ax.annotate("", there, here, arrowprops=arrow)
        ax.plot(*there, "v" if cheaper else "^", color=color, ms=8, zorder=4)
        change = 100 * (row["dollars"] / start["dollars"] - 1)
        sign = "▼" if cheaper else "▲"
        _name_point(ax, row, f"{row['name']}  {sign} {abs(change):.0f} %", color)


def _name_point(ax: Axes, row: dict, text: str, color: str, *, above: bool = True) -> None:
    ax.annotate(
        text,
        (row["dollars"], row["quality"]),
        xytext=(0, 9 if above else -9),
        textcoords="offset points",
        color=color,
        ha="center",
        va="bottom" if above else "top",
    )


def _set_range(ax: Axes, rows: Sequence[dict]) -> None:
    """Leave room for the names, and never blow a tiny difference in quality up to a cliff."""
    dollars = [row["dollars"] for row in rows]
    quality = [row["quality"] for row in rows]
    ax.set_xlim(min(dollars) / 1.6, max(dollars) * 1.6)
    middle = (max(quality) + min(quality)) / 2
    half = max(max(quality) - min(quality), 0.1 * abs(middle), 1e-9) * 0.75
    ax.set_ylim(middle - half, middle + half)
    ax.xaxis.set_major_formatter(lambda value, _: f"${value:g}")
    ax.xaxis.set_minor_formatter(lambda value, _: "")
    ticks = _log_ticks(*ax.get_xlim())
    ax.set_xticks(ticks)
    ax.minorticks_off()


def _log_ticks(low: float, high: float) -> list[float]:
    """Return 1-2-5 steps inside a range of dollars."""
    decades = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    steps = [step * 10.0**decade for decade in decades for step in (1, 2, 5)]
    return [step for step in steps if low <= step <= high]


def _point_of(rows: Sequence[dict]) -> str:
    """Say what the figure shows: the cheapest row, and what it did to the quality."""
    start, best = rows[0], min(rows, key=lambda row: row["dollars"])
    if best is start:
        return f"Nothing here is cheaper than {start['name']}"
    saved = 100 * (1 - best["dollars"] / start["dollars"])
    lost = 100 * (best["quality"] / start["quality"] - 1)
    return f"{best['name']} saves {saved:.0f} % of the dollars, quality {lost:+.1f} %"
