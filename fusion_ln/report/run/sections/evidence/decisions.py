"""Decisions: net benefit of telling malignant from benign, and operating points chosen on inner validation."""

import pandas as pd
from matplotlib.figure import Figure

from fusion_ln.evaluation.probabilities.decision import POOLED, decision_curve, operating_points
from fusion_ln.report.kit.figures import WIDE, Plate
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import INK, MUTED
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.results import Results, stack
from fusion_ln.report.run.section import Report, Section, attempt

SENSITIVITY = 0.95  # required of the operating point
HEADINGS = {
    "found": "Malignant, found",
    "positive": "Malignant, all",
    "spared": "Benign, spared",
    "negative": "Benign, all",
}
NO_BENIGN = "no class is named benign or normal, so there is no telling what to treat"


def build(report: Report) -> Section:
    """Build the section; without a benign class it holds the reason alone."""
    results = report.results
    reasons = [] if results.malignant else [NO_BENIGN]
    curves = net_benefit(results)
    points = Sheet("operating_points", "Operating points", points_of_models(results, missing := list[str]()), HEADINGS)
    return Section(
        place=90,
        anchor="decisions",
        link="Decisions",
        title="Decisions",
        subtitle=f"{' or '.join(results.malignant)} against the rest",
        template="decisions.html",
        plates=[draw_decisions(results, curves)] if len(curves) else [],
        sheets=[Sheet("decision_curves", "Net benefit", curves), points],
        left_out=[*reasons, *missing],
        values={"pooled": points.only(fold=POOLED, threshold=None) if len(points.table) else None},
    )


def net_benefit(results: Results) -> pd.DataFrame:
    """Make ``model, threshold, net_benefit, ci_low, ci_high, treat_all, treat_none``: malignant against benign."""
    if not results.malignant:
        return pd.DataFrame()
    return stack({m.name: decision_curve(m.predictions, results.malignant) for m in results.headline})


def points_of_models(results: Results, reasons: list[str]) -> pd.DataFrame:
    """Make ``model, fold, threshold, found, positive, sensitivity, ...``, the thresholds from inner validation."""
    tables = {}
    for model in results.models:
        if results.malignant and model.inner is not None:
            given = (model.predictions, model.inner, results.malignant)
            found = attempt(reasons, operating_points, *given, sensitivity=SENSITIVITY)
            if found is not None:
                tables[model.name] = found
    return stack(tables) if tables else pd.DataFrame()


def draw_decisions(results: Results, table: pd.DataFrame) -> Plate:
    """Draw net benefit over the threshold: the headline's models, treating everyone, treating no one."""
    figure = Figure(figsize=(WIDE, 3.0), layout="constrained")
    axes = figure.add_subplot()
    shared = table[table["model"] == table["model"].iloc[0]]
    axes.axhline(0, color=INK, lw=0.9, label="take no one for malignant")
    axes.plot(shared["threshold"], shared["treat_all"], color=MUTED, lw=1.1, ls=(0, (3, 1.5)), label="take everyone")
    for model in results.headline:
        own, colour = table[table["model"] == model.name], colour_of(results, model)
        axes.fill_between(own["threshold"], own["ci_low"], own["ci_high"], color=colour, alpha=0.13, lw=0)
        axes.plot(own["threshold"], own["net_benefit"], color=colour, lw=1.7, label=model.title)
    top = float(table["net_benefit"].max())
    axes.set(xlim=(0, 1), ylim=(-0.75 * top, 1.12 * top))
    axes.set_xlabel("Probability of malignancy from which one acts")
    axes.set_ylabel("Net benefit")
    axes.tick_params(labelcolor=MUTED, length=3)
    axes.legend(loc="lower left")
    caption = (
        "Net benefit: the share of patients rightly taken for malignant, less the share wrongly taken so, weighted by "
        "the odds of the threshold. Band: 95 % bootstrap interval."
    )
    return make_plate("decision_curves", "Malignant against benign", caption, figure, results)
