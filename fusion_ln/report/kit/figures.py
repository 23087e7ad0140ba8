"""Parts of every figure: its plate, rows with a title, intervals, notes, forest plots."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from fusion_ln.files.names import as_file_name
from fusion_ln.report.kit.style import CARD, INK, LINE, MUTED
from fusion_ln.terms import SIMULATED

WIDE, NARROW = 4.1, 3.3  # inches
ROW = 0.46  # inches per model
TEXT_ABOVE = 0.3  # rows between a model's name and its interval


@dataclass(frozen=True)
class Plate:
    """A figure with its name, title and caption.

    Attributes:
        name: Name of its PNG file.
        title: A few words; a screen reader reads them.
        caption: A sentence or two; may be empty.
        figure: The figure.
    """

    name: str
    title: str
    caption: str
    figure: Figure


def mark_simulated(figure: Figure, simulated: bool) -> None:
    """Mark a figure of simulated patients as such at its foot."""
    if simulated:
        figure.supxlabel(f"{SIMULATED} patients", x=0.99, ha="right", fontsize=6.5, color=MUTED, style="italic")


def mark_plate(name: str, title: str, caption: str, figure: Figure, simulated: bool) -> Plate:
    """Make a plate of a figure: a name fit for a file and, on a phantom, the word that says so."""
    mark_simulated(figure, simulated)
    return Plate(as_file_name(name), title, caption, figure)


def empty_rows(rows: Sequence[tuple[str, bool]]) -> tuple[Figure, Axes]:
    """Draw an empty chart with one row per title (and whether it is bold), which stands above the row."""
    figure = Figure(figsize=(WIDE, 0.65 + ROW * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    axes.set_ylim(len(rows) - 0.55, -0.65)
    axes.set_yticks([])
    axes.tick_params(axis="x", length=0)
    axes.grid(axis="x")
    axes.xaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
    axes.spines[["left", "bottom"]].set_visible(False)
    for y, (title, bold) in enumerate(rows):
        _write_above(axes, 0, y, title, bold=bold)
    return figure, axes


@dataclass(frozen=True)
class ForestRow:
    """A row of a forest plot.

    Attributes:
        by_seed: The value of each seed.
        note: Text at the right end.
        tick: The value that could be reached, marked by an upright tick; None: no tick.
    """

    title: str
    colour: str
    value: float
    low: float
    high: float
    by_seed: tuple[float, ...]
    note: str
    fused: bool = False
    bold: bool = False
    tick: float | None = None


def draw_forest(rows: Sequence[ForestRow], *, zero: bool = False) -> tuple[Figure, Axes]:
    """Draw a row per value with its interval and, as small dots, its seeds; ``zero``: values are differences."""
    figure, axes = empty_rows([(row.title, row.bold) for row in rows])
    for y, row in enumerate(rows):
        draw_interval(axes, y, row.value, row.low, row.high, row.colour, fused=row.fused)
        axes.scatter(row.by_seed, [y + 0.16] * len(row.by_seed), s=9, color=row.colour, lw=0)
        write_note(axes, y, row.note, bold=row.bold)
        if row.tick is not None:
            draw_tick(axes, y, row.tick)
    if zero:
        show_zero(axes)
    return figure, axes


def calibration_axes() -> tuple[Figure, Axes, Axes]:
    """Make the axes of a calibration curve, with the diagonal, and below them those of `draw_frequencies`."""
    figure = Figure(figsize=(NARROW, NARROW + 0.5), layout="constrained")
    axes, below = figure.subplots(2, height_ratios=(1, 0.16), sharex=True)
    axes.plot([0, 1], [0, 1], color=MUTED, lw=0.9, ls=":", zorder=1)
    axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), yticks=[0, 0.5, 1])
    axes.set_ylabel("Observed share")
    below.set(yticks=[], xticks=[0, 0.25, 0.5, 0.75, 1])
    below.spines["left"].set_visible(False)
    below.set_xlabel("Predicted probability")
    for each in (axes, below):
        each.tick_params(labelcolor=MUTED, length=3)
    return figure, axes, below


def draw_shares(axes: Axes, curve: pd.DataFrame, bins: pd.DataFrame, colour: str) -> None:
    """Draw the band of a calibration curve, and the bins with their intervals (``predicted, observed, ci_*``)."""
    axes.fill_between(curve["predicted"], curve["ci_low"], curve["ci_high"], color=colour, alpha=0.16, lw=0)
    axes.vlines(bins["predicted"], bins["ci_low"], bins["ci_high"], color=colour, lw=0.8, alpha=0.5)
    axes.plot(bins["predicted"], bins["observed"], color=colour, lw=0, marker="o", ms=3.2)


def draw_frequencies(below: Axes, probs: np.ndarray, events: np.ndarray) -> None:
    """Draw how often each probability is given, upwards to patients of the class. Shapes (P,), bool (P,)."""
    edges = np.linspace(0, 1, 31)
    for part, sign, colour in ((events, 1, INK), (~events, -1, LINE)):
        below.bar(edges[:-1], sign * np.histogram(probs[part], edges)[0], 1 / 30, align="edge", color=colour, lw=0)


def start_of_axis(values: Iterable[float]) -> float:
    """Choose where an axis of shares begins: a step of 0.05 below the least value; 0.5 where none is finite.

    A value without interval has NaN limits.
    """
    least = min((value for value in values if np.isfinite(value)), default=0.5 + 0.01)
    return float(np.floor(20 * (least - 0.01)) / 20)


def show_zero(axes: Axes) -> None:
    """Draw the line of no difference, with room on both sides; call it when everything else is drawn."""
    axes.axvline(0, color=INK, lw=0.9, zorder=1)
    reach = 1.08 * max(abs(x) for x in axes.dataLim.intervalx) or 0.01
    axes.set_xlim(min(-reach / 4, 1.08 * axes.dataLim.x0), max(reach / 4, 1.08 * axes.dataLim.x1))


def draw_tick(axes: Axes, y: float, x: float) -> None:
    """Draw an upright tick at the attainable value."""
    axes.plot([x] * 2, [y - 0.17, y + 0.17], color=INK, lw=1.8, solid_capstyle="butt", zorder=4)


def draw_interval(axes: Axes, y: float, value: float, low: float, high: float, colour: str, *, fused: bool) -> None:
    """Draw a dot, or a diamond for a fusion, on the line of its interval."""
    axes.plot([low, high], [y, y], color=colour, lw=2.4, alpha=0.5, solid_capstyle="butt", zorder=2)
    axes.scatter([value], [y], s=40, color=colour, marker="D" if fused else "o", lw=0, zorder=3)


def write_note(axes: Axes, y: float, text: str, *, bold: bool = False) -> None:
    """Write a note at the right end of a row."""
    _write_above(axes, 1, y, text, bold=bold)


def _write_above(axes: Axes, x: float, y: float, text: str, *, bold: bool) -> None:
    """Write text above a row, from its left end (x = 0) or up to its right one."""
    axes.text(
        x,
        y - TEXT_ABOVE,
        text,
        transform=axes.get_yaxis_transform(),
        ha="right" if x else "left",
        va="center",
        fontsize=8.5,
        fontweight="bold" if bold else "normal",
        bbox={"facecolor": CARD, "linewidth": 0, "pad": 1.2},
    ).set_in_layout(False)
