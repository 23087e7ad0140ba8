"""Figures of an evaluation: ROC curves, calibration, operating points, net benefit, subgroups, and what differs."""

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from fusion_ln.evaluation.external.figures import Figures
from fusion_ln.evaluation.external.points import Rate
from fusion_ln.report.kit.curves import LevelScores, draw_levels, draw_net_benefit, net_benefit_axes, roc_axes
from fusion_ln.report.kit.figures import (
    ForestRow,
    Plate,
    calibration_axes,
    draw_forest,
    draw_frequencies,
    draw_interval,
    draw_shares,
    empty_rows,
    mark_plate,
    start_of_axis,
    write_note,
)
from fusion_ln.report.kit.style import LIGHT, LINE, MUTED, number, percent, signed, spread
from fusion_ln.terms import short_title

MODEL_COLOUR, INSIDE = LIGHT["fusion"], MUTED


def draw_aucs(figures: Figures, simulated: bool, attainable: float | None) -> Plate:
    """Draw the AUC of all classes and of each, with its interval."""
    rows = [("Mean of the classes", figures.auc_ovr), *figures.auc.items()]
    drawn = []
    for place, (title, found) in enumerate(rows):
        value, low, high = (np.nan if each is None else each for each in (found.value, found.low, found.high))
        note = f"{number(value)} ({spread(low, high)})"
        tick = attainable if place == 0 else None
        drawn.append(
            ForestRow(title, MODEL_COLOUR, value, low, high, (), note, fused=place == 0, bold=place == 0, tick=tick)
        )
    figure, axes = draw_forest(drawn)
    axes.set_xlim(start_of_axis(end for row in drawn for end in (row.low, row.value)), 1.0)
    axes.set_xlabel("AUC, each class against the rest, 95 % interval")
    known = " Upright tick: attainable from these pictures, known because they are simulated." if attainable else ""
    return mark_plate(
        "auc", "AUC on the other cohort", f"DeLong intervals on the logit scale.{known}", figure, simulated
    )


def draw_roc(of_class: str, band: pd.DataFrame, auc: float | None, simulated: bool) -> Plate:
    """Draw the ROC curve of a class against the rest, from `roc_band`."""
    figure, axes = roc_axes()
    rates = band["false_positive_rate"]
    axes.fill_between(rates, band["ci_low"], band["ci_high"], color=MODEL_COLOUR, alpha=0.14, lw=0)
    axes.plot(rates, band["sensitivity"], color=MODEL_COLOUR, lw=1.9)
    axes.text(0.98, 0.05, f"AUC {number(np.nan if auc is None else auc)}", ha="right", fontsize=9)
    return mark_plate(f"roc_{of_class}", f"{of_class} against the rest", "", figure, simulated)


def draw_calibration(
    of_class: str, curve: pd.DataFrame, bins: pd.DataFrame, probs: np.ndarray, events: np.ndarray, simulated: bool
) -> Plate:
    """Draw the observed share of a class over its predicted probability, and how often each is given.

    Args:
        of_class: The class.
        curve: Its rows of `calibration_curves`; may be empty.
        bins: Its rows of `reliability`.
        probs: Its calibrated probability. Shape (P,).
        events: Patients of the class. bool, shape (P,).
        simulated: Whether the patients are.
    """
    figure, axes, below = calibration_axes()
    draw_shares(axes, curve, bins, MODEL_COLOUR)
    axes.plot(curve["predicted"], curve["observed"], color=MODEL_COLOUR, lw=2)
    draw_frequencies(below, probs, events)
    return mark_plate(f"calibration_{of_class}", of_class, "", figure, simulated)


def draw_points(figures: Figures, simulated: bool) -> Plate:
    """Draw sensitivity and specificity of each frozen point: chosen on (grey) and found on the other cohort."""
    rows = [
        (f"{each.point.title}: {name}", getattr(each.point, name), getattr(each, name))
        for each in figures.operating_points
        for name in ("sensitivity", "specificity")
    ]
    figure, axes = empty_rows([(title, False) for title, _, _ in rows])
    ends = []
    for y, (_, chosen, found) in enumerate(rows):
        _draw_rate(axes, y + 0.22, chosen, INSIDE)
        _draw_rate(axes, y, found, MODEL_COLOUR)
        write_note(axes, y, f"{percent(found.value)}  (was {percent(chosen.value)})")
        ends += [chosen.low, found.low]
    axes.set_xlim(start_of_axis(ends), 1.0)
    axes.set_ylim(len(rows) - 0.4, -0.65)
    axes.set_xlabel("Share of patients, 95 % interval")
    caption = "Upper: the other cohort. Lower, grey: the patients on whom the threshold was chosen (out of fold)."
    return mark_plate("operating_points", "Frozen operating points", caption, figure, simulated)


def _draw_rate(axes: Axes, y: float, rate: Rate, colour: str) -> None:
    draw_interval(axes, y, rate.value, rate.low, rate.high, colour, fused=False)


def draw_decisions(table: pd.DataFrame, positive: str, thresholds: list[float], simulated: bool) -> Plate:
    """Draw net benefit over the threshold, with the frozen thresholds; ``positive`` names the classes acted on."""
    figure, axes = net_benefit_axes("Threshold probability", table)
    draw_net_benefit(axes, table, MODEL_COLOUR, "model")
    for threshold in thresholds:
        axes.axvline(threshold, color=LINE, lw=1.0, zorder=0)
    figure.legend(loc="outside upper left", ncols=3)
    caption = (
        "Share of patients rightly acted on, less the share wrongly acted on, weighted by the odds of the threshold. "
        "Band: 95 % interval at each threshold by itself. Upright lines: frozen thresholds."
    )
    return mark_plate("decision_curve", f"{positive} against the rest", caption, figure, simulated)


def draw_subgroups(variable: str, counts: pd.DataFrame, aucs: pd.DataFrame, simulated: bool) -> Plate:
    """Draw the AUC by level: ``counts`` of `Subgroups`, ``aucs`` its macro AUCs (``level, value, ci_low, ci_high``)."""
    ends = aucs[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    scored = {level: (value, low, high) for level, (value, low, high) in zip(aucs["level"], ends, strict=True)}
    figure = draw_levels(counts, [LevelScores(scored, MODEL_COLOUR, fused=True)], scored.values())
    return mark_plate(f"subgroups_{variable}", f"By {variable}", "Patients in brackets.", figure, simulated)


def draw_differences(table: pd.DataFrame, simulated: bool) -> Plate:
    """Draw the standardised differences of pictures, from `compare_pictures`."""
    rows = []
    shown = table.dropna(subset=["difference"])
    ends = shown[["difference", "difference_low", "difference_high"]].to_numpy(dtype=np.float64)
    for modality, feature, (value, low, high) in zip(shown["modality"], shown["feature"], ends, strict=True):
        colour = LIGHT.get(str(modality), LIGHT["other-1"])
        rows.append(ForestRow(f"{short_title(modality)}, {feature}", colour, value, low, high, (), signed(value)))
    figure, axes = draw_forest(rows, zero=True)
    axes.set_xlabel("Difference in standard deviations of the model’s own pictures")
    caption = "To the right: more of it on the other cohort. Lines: 95 % intervals over pictures."
    return mark_plate("pictures", "Pictures, other cohort less the model’s own", caption, figure, simulated)
