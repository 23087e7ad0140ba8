"""Folds: AUC of every model in each held-out fold."""

import pandas as pd

from fusion_ln.report.kit.figures import Plate, write_note
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import number
from fusion_ln.report.run.figures import colour_of, make_plate, model_rows
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

OF_NODES = WITHOUT_PATIENTS = True


def build(report: Report) -> Section:
    """Build the section."""
    results = report.results
    return Section(
        place=130,
        anchor="folds",
        link="Folds",
        title="Folds",
        subtitle="AUC in each held-out fold",
        template="performance/folds.html",
        plates=[draw_auc_by_fold(results)],
        sheets=[Sheet("auc_by_fold", "AUC by fold", fold_table(results))],
    )


def fold_table(results: Results) -> pd.DataFrame:
    """Make a row per model: the macro AUC in every held-out fold."""
    table = pd.DataFrame({m.name: m.auc_by_fold() for m in results.models}).T
    return table.rename(columns="fold {}".format).rename_axis("model").reset_index()


def draw_auc_by_fold(results: Results) -> Plate:
    """Draw the AUC of every held-out fold."""
    figure, axes = model_rows(results.models, results)
    for y, model in enumerate(results.models):
        folds = model.auc_by_fold().dropna()
        axes.scatter(folds, [y] * len(folds), s=26, color=colour_of(results, model), alpha=0.6, lw=0, zorder=3)
        axes.plot([folds.mean()] * 2, [y - 0.15, y + 0.15], color=colour_of(results, model), lw=2, zorder=4)
        write_note(axes, y, f"{number(folds.min(), 2)} to {number(folds.max(), 2)}")
    axes.set_xlim(right=1.0)
    axes.set_xlabel("AUC (mean of each class against the rest)")
    return make_plate("auc_by_fold", "AUC by fold", "Dot: one held-out fold. Line: mean of the folds.", figure, results)
