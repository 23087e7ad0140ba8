"""Subsets of the pictures: a fusion's AUC where pictures are missing."""

import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES, metric_intervals
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.figures import Plate, draw_interval, draw_tick, empty_rows, write_note
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import number, spread
from fusion_ln.report.run.figures import colour_of, make_plate
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results, columns_first
from fusion_ln.report.run.section import Report, Section, attempt
from fusion_ln.terms import short_title

OF_NODES = WITHOUT_PATIENTS = True


def build(report: Report) -> Section | None:
    """Build the section where a model was given subsets of its pictures."""
    results, table = report.results, subset_metrics(report.results)
    if table.empty:
        return None
    scored = set(table["model"])
    models = [model for model in report.first_models if model.name in scored]
    return Section(
        place=120,
        anchor="subsets",
        link="Subsets",
        title="Subsets of the pictures",
        subtitle="what if one is missing?",
        template="evidence/subsets.html",
        plates=[draw_subsets(results, table, model) for model in models],
        sheets=[Sheet("subsets", "Metrics by the pictures given", table)],
        is_open=True,
    )


def subset_metrics(results: Results) -> pd.DataFrame:
    """Make ``model, modalities, patients, metric, class, value, ci_low, ci_high`` by the pictures that were given."""
    tables = []
    for model in results.models:
        for name, predictions in model.subsets.items():
            table = attempt([], metric_intervals, predictions, n_resamples=results.n_resamples)
            if table is not None:
                table = table.assign(model=model.name, modalities=name, patients=len(predictions.table))
                tables.append(columns_first(table, "model", "modalities", "patients"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def draw_subsets(results: Results, table: pd.DataFrame, model: Model) -> Plate:
    """Draw the AUC of one model from every subset of the modalities and, on a phantom, the attainable one."""
    own = table[(table["model"] == model.name) & (table["metric"] == PRIMARY) & (table["class"] == ALL_CLASSES)]
    figure, axes = empty_rows([(_subset_title(name), "+" not in name) for name in own["modalities"]])
    found = results.cohort.details.attainable.cohort
    values = own[["value", "ci_low", "ci_high"]].to_numpy(dtype=float)
    for y, (name, (value, low, high)) in enumerate(zip(own["modalities"], values, strict=True)):
        draw_interval(axes, y, value, low, high, colour_of(results, model), fused=model.is_fusion)
        write_note(axes, y, f"{number(value)} ({spread(low, high)})")
        if name in found:
            draw_tick(axes, y, found[name]["auc"])
    axes.set_xlim(right=1.0)
    axes.set_xlabel("AUC (mean of each class against the rest), 95 % interval")
    caption = "The same trained model, given only these pictures of each patient."
    if found:
        caption += " Upright tick: the AUC attainable from them."
    return make_plate(f"subsets_{model.name}", model.title, caption, figure, results)


def _subset_title(name: str) -> str:
    return " + ".join(short_title(part) for part in name.split("+"))
