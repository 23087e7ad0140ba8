"""Parts of figures that the pages of runs and of evaluations share: ROC, net benefit and subgroups."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from fusion_ln.report.kit.figures import NARROW, WIDE, draw_interval, empty_rows, start_of_axis, write_note
from fusion_ln.report.kit.style import INK, LINE, MUTED, number

Interval = tuple[float, float, float]  # value, low, high


def roc_axes(height: float = NARROW) -> tuple[Figure, Axes]:
    """Make the axes of ROC curves, with the diagonal."""
    figure = Figure(figsize=(NARROW, height), layout="constrained")
    axes = figure.add_subplot()
    axes.plot([0, 1], [0, 1], color=LINE, lw=0.9, zorder=1)
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01), aspect="equal", xticks=[0, 0.5, 1], yticks=[0, 0.5, 1])
    axes.set_xlabel("1 − specificity")
    axes.set_ylabel("Sensitivity")
    axes.tick_params(labelcolor=MUTED, length=3)
    return figure, axes


def threshold_axes(label: str) -> tuple[Figure, Axes]:
    """Make the axes of curves over the threshold probability."""
    figure = Figure(figsize=(WIDE, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlim(0, 1)
    axes.set_xlabel(label)
    axes.tick_params(labelcolor=MUTED, length=3)
    return figure, axes


def net_benefit_axes(label: str, table: pd.DataFrame) -> tuple[Figure, Axes]:
    """Make the axes of decision curves (``threshold, net_benefit, treat_all``), with treating everyone and no one."""
    figure, axes = threshold_axes(label)
    shared = table.drop_duplicates("threshold")
    axes.axhline(0, color=INK, lw=0.9, label="act on no one")
    axes.plot(shared["threshold"], shared["treat_all"], color=MUTED, lw=1.1, ls=(0, (3, 1.5)), label="act on everyone")
    top = max(float(table["net_benefit"].max()), 0.0) or 0.01
    axes.set_ylim(-0.75 * top, 1.12 * top)
    axes.set_ylabel("Net benefit")
    return figure, axes


def draw_net_benefit(axes: Axes, curve: pd.DataFrame, colour: str, label: str) -> None:
    """Draw a model's decision curve (``threshold, net_benefit, ci_low, ci_high``) with its band."""
    axes.fill_between(curve["threshold"], curve["ci_low"], curve["ci_high"], color=colour, alpha=0.13, lw=0)
    axes.plot(curve["threshold"], curve["net_benefit"], color=colour, lw=1.8, label=label)


@dataclass(frozen=True)
class LevelScores:
    """A model's scores by the level of a variable; a level that was not scored is not there."""

    by_level: Mapping[str, Interval]
    colour: str
    fused: bool


def draw_levels(counts: pd.DataFrame, models: Sequence[LevelScores], scale: Iterable[Interval]) -> Figure:
    """Draw AUCs by the level of a variable (``level, n``); ``scale`` holds all intervals that the axis must show."""
    levels = counts["level"].tolist()
    figure, axes = empty_rows([(f"{level} ({n})", False) for level, n in zip(levels, counts["n"], strict=True)])
    for y, level in enumerate(levels):
        for place, model in enumerate(models):
            if level in model.by_level:
                draw_interval(axes, y + 0.04 + 0.22 * place, *model.by_level[level], model.colour, fused=model.fused)
        found = [model.by_level[level] for model in models if level in model.by_level]
        few = any(np.isnan(low) for _, low, _ in found)
        values = " · ".join(number(value, 2) for value, _, _ in found) or "too few to score"
        write_note(axes, y, values + (", too few for an interval" if few else ""))
    axes.set_xlim(start_of_axis(value if np.isnan(low) else low for value, low, _ in scale), 1.0)
    axes.set_ylim(len(levels) - 0.4, -0.65)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    return figure
