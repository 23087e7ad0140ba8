"""Decisions: net benefit of telling malignant from benign, and operating points chosen on inner validation."""

import pandas as pd
from matplotlib.axes import Axes

from fusion_ln.evaluation.probabilities.decision import (
    POOLED,
    TARGET_SENSITIVITY,
    decision_curve,
    net_benefit_difference,
    operating_points,
)
from fusion_ln.evaluation.repeats import GIVEN
from fusion_ln.report.kit.curves import draw_net_benefit, net_benefit_axes, threshold_axes
from fusion_ln.report.kit.figures import Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import INK, MUTED
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results, stack
from fusion_ln.report.run.section import Report, Section, attempt
from fusion_ln.report.run.sections.evidence.calibration import CALIBRATED, UNCALIBRATED

WITHOUT_PATIENTS = True
SHOWN = [0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.8, 0.9]  # thresholds of the table on the page
HEADINGS = {
    "found": "Malignant, found",
    "positive": "Malignant, all",
    "spared": "Benign, spared",
    "negative": "Benign, all",
    "net_benefit_a": "Net benefit",
    "net_benefit_b": "Net benefit of the reference",
}
THRESHOLD = "Probability of malignancy from which one acts"
NO_BENIGN = "no class is named benign or normal, so there is no telling what to treat"


def build(report: Report) -> Section:
    """Build the section; without a benign class it holds the reason alone."""
    results = report.results
    reasons = [] if results.malignant else [NO_BENIGN]
    curves, gains = net_benefit(results), gain_over_reference(results)
    points = Sheet("operating_points", "Operating points", points_of_models(results, missing := list[str]()), HEADINGS)
    differences = Sheet("net_benefit_difference", "Difference in net benefit", gains, HEADINGS)
    plates = [draw_decisions(results, curves)] if len(curves) else []
    plates += [draw_gain(results, gains)] if len(gains) else []
    return Section(
        place=90,
        anchor="decisions",
        link="Decisions",
        title="Decisions",
        subtitle=f"{' or '.join(results.malignant)} against the rest",
        template="evidence/decisions.html",
        plates=plates,
        sheets=[Sheet("decision_curves", "Net benefit", curves), differences, points],
        left_out=[*reasons, *missing],
        values={
            "pooled": points.only(fold=POOLED, threshold=None) if len(points.table) else None,
            "differences": differences.only(threshold=SHOWN) if len(gains) else None,
            "uncalibrated": [model.uncalibrated for model in results.headline if not model.calibrated],
        },
    )


def net_benefit(results: Results) -> pd.DataFrame:
    """Make ``model, probabilities, threshold, net_benefit, ci_low, ci_high, treat_all, treat_none`` of the headline.

    Malignant against benign, from calibrated and from raw probabilities.
    """
    tables = []
    for model in results.headline if results.malignant else ():
        stages = {UNCALIBRATED: model.predictions} | (
            {CALIBRATED: model.calibrated.predictions} if model.calibrated else {}
        )
        for stage, predictions in stages.items():
            table = decision_curve(predictions, results.malignant)
            table.insert(0, "probabilities", stage)
            table.insert(0, "model", model.name)
            tables.append(table)
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def gain_over_reference(results: Results) -> pd.DataFrame:
    """Make ``model, reference, threshold, net_benefit_a, net_benefit_b, difference, ci_low, ci_high``: calibrated.

    Empty where the headline has one model, or one of the two has no calibrated probabilities.
    """
    a, b = results.candidate, results.reference
    if not (results.malignant and a and b and a.calibrated and b.calibrated):
        return pd.DataFrame()
    pair = (a.calibrated.predictions, b.calibrated.predictions)
    table = net_benefit_difference(*pair, results.malignant)
    table.insert(0, "reference", b.name)
    table.insert(0, "model", a.name)
    return table


def points_of_models(results: Results, reasons: list[str]) -> pd.DataFrame:
    """Make ``model, fold, threshold, found, positive, sensitivity, ...``, the thresholds from inner validation."""
    tables = {}
    for model in results.models:
        if results.malignant and model.calibrated:
            given = (model.calibrated.predictions, model.calibrated.inner, results.malignant)
            found = attempt(reasons, operating_points, *given, sensitivity=TARGET_SENSITIVITY)
            if found is not None:
                tables[model.name] = found
        elif results.malignant:
            reasons[:] = [model.uncalibrated]
    return stack(tables) if tables else pd.DataFrame()


def draw_decisions(
    results: Results, table: pd.DataFrame, name: str = "decision_curves", title: str = "Malignant against benign"
) -> Plate:
    """Draw net benefit over the threshold: the headline's models, treating everyone, treating no one."""
    figure, axes = net_benefit_axes(THRESHOLD, table)
    for model in results.headline:
        _draw_model(axes, table[table["model"] == model.name], model, colour_of(results, model))
    figure.legend(loc="outside upper left", ncols=2)
    raw = " Thin: the same from raw probabilities." if {UNCALIBRATED, CALIBRATED} <= set(table["probabilities"]) else ""
    caption = (
        "Net benefit: the share of patients rightly taken for malignant, less the share wrongly taken so, weighted by "
        f"the odds of the threshold. Band: 95 % interval {GIVEN}.{raw}"
    )
    return make_plate(name, title, caption, figure, results)


def _draw_model(axes: Axes, own: pd.DataFrame, model: Model, colour: str) -> None:
    """Draw a model's curve, with its band; of two, the raw one thin and without."""
    stages = list(dict.fromkeys(own["probabilities"]))
    for stage in stages:
        curve = own[own["probabilities"] == stage]
        if stage == UNCALIBRATED and len(stages) > 1:
            axes.plot(curve["threshold"], curve["net_benefit"], color=colour, lw=0.7, ls=(0, (4, 2)))
            continue
        label = model.title if stage == CALIBRATED else f"{model.title}, raw"
        draw_net_benefit(axes, curve, colour, label)


def draw_gain(results: Results, table: pd.DataFrame) -> Plate:
    """Draw the difference in net benefit over the threshold, candidate less reference."""
    assert results.candidate
    assert results.reference
    figure, axes = threshold_axes(THRESHOLD)
    colour = colour_of(results, results.candidate)
    axes.axhline(0, color=INK, lw=0.9)
    axes.fill_between(table["threshold"], table["ci_low"], table["ci_high"], color=colour, alpha=0.16, lw=0)
    axes.plot(table["threshold"], table["difference"], color=colour, lw=1.8)
    inner = table[table["threshold"].between(0.02, 0.8)]
    reach = 1.15 * float(inner[["ci_low", "ci_high"]].abs().max().max()) or 0.01
    axes.set_ylim(-reach, reach)
    axes.set_ylabel("Difference in net benefit")
    axes.text(
        0.02, 0.97, f"{results.candidate.title} better", transform=axes.transAxes, va="top", color=MUTED, size=7.5
    )
    axes.text(0.02, 0.03, f"{results.reference.title} better", transform=axes.transAxes, color=MUTED, size=7.5)
    caption = (
        "Paired by patient, calibrated probabilities. Band: 95 % interval at each threshold by itself; where "
        "it holds 0, either may be the better one to act on."
    )
    title = f"{results.candidate.title} less {results.reference.title}"
    return make_plate("net_benefit_difference", title, caption, figure, results)
