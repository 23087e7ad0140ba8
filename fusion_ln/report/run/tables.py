"""The tables of a report, as they go into its CSV files; the page shows the same ones."""

from collections.abc import Iterator
from typing import Any

import pandas as pd

from fusion_ln.evaluation.compare import Comparison
from fusion_ln.evaluation.intervals import ALL_CLASSES, split_name
from fusion_ln.metrics import METRICS, PRIMARY, confusion
from fusion_ln.records import LateFusionRecord, TableRecord
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.checklists import CLAIM, TRIPOD_AI, checklist
from fusion_ln.report.run.evidence import Evidence
from fusion_ln.report.run.published import published_table
from fusion_ln.report.run.results import Model, Results, skipped_patients
from fusion_ln.terms import LABEL, MODALITY, PATIENT, SITE


def shown_metrics(results: Results) -> list[tuple[str, str, str]]:
    """Metric, class and heading of each column of the table of models."""
    shown = [metric.titles(results.cohort.classes) for metric in METRICS if metric.shown]
    return [(*split_name(name), title) for titles in shown for name, title in titles.items()]


def model_table(results: Results) -> pd.DataFrame:
    """One row per model, every metric followed by the ends of its 95 % interval."""
    rows = []
    for model in results.models:
        row: dict[str, Any] = {"model": model.name, "title": model.title, "patients": len(model.predictions.table)}
        row["inner_auc"] = model.inner_auc
        own = results.intervals[results.intervals["model"] == model.name]
        for metric, of_class, value, low, high in own[["metric", "class", "value", "ci_low", "ci_high"]].to_numpy():
            column = metric if of_class == ALL_CLASSES else f"{metric}:{of_class}"
            row |= {column: value, f"{column}_low": low, f"{column}_high": high}
        rows.append(row)
    return pd.DataFrame(rows)


def cohort_table(results: Results) -> pd.DataFrame:
    """Patients and pictures by class, in all and by site."""
    cohort = results.cohort
    patients = cohort.patients.assign(diagnosis=[cohort.classes[label] for label in cohort.patients[LABEL]])
    groups = patients.groupby("diagnosis", sort=False)
    table = pd.DataFrame({"patients": groups.size(), "share": groups.size() / len(patients)})
    if len(patients[SITE].unique()) > 1:
        for site, part in patients.groupby(SITE):
            table[f"site {site}"] = part.groupby("diagnosis").size()
    for modality in cohort.modalities:
        pictures = cohort.images.loc[cohort.images[MODALITY] == modality, PATIENT]
        table[f"pictures {modality}"] = pictures.map(patients.set_index(PATIENT)["diagnosis"]).value_counts()
    counts = table.columns.drop("share")
    table[counts] = table[counts].fillna(0).astype(int)
    return table.reindex(cohort.classes).rename_axis("class").reset_index()


def fold_table(results: Results) -> pd.DataFrame:
    """Macro AUC of every model in every held-out fold."""
    table = pd.DataFrame({m.name: m.auc_by_fold() for m in results.models}).T
    return table.rename(columns="fold {}".format).rename_axis("model").reset_index()


def confusion_table(results: Results) -> pd.DataFrame:
    """Patients by model, true class and predicted class."""
    rows = []
    for model in results.models:
        classes = model.predictions.classes
        counts = confusion(model.predictions.labels, model.predictions.probs, len(classes))
        rows += [
            (model.name, truth, said, counts[i, j]) for i, truth in enumerate(classes) for j, said in enumerate(classes)
        ]
    return pd.DataFrame(rows, columns=["model", "truth", "predicted", "patients"])


def attainable_table(results: Results) -> pd.DataFrame:
    """Achieved against attainable AUC; no row where the truth behind the pictures is not known."""
    rows = []
    for model in results.models:
        if found := results.attainable(model):
            achieved = results.interval(model, PRIMARY).value
            rows.append((model.name, achieved, found["cohort"], found["tables"], achieved / found["cohort"]))
    columns = ["model", "achieved_auc", "attainable_auc_these_patients", "attainable_auc_any_patients", "share"]
    return pd.DataFrame(rows, columns=columns)


def settings_table(results: Results) -> pd.DataFrame:
    """Every setting once: its value and the models that have it."""
    rows = [(key, str(value), m.name) for m in results.models for key, value in _flat(_own_settings(m))]
    table = pd.DataFrame(rows, columns=["setting", "value", "models"], dtype=str)
    return table.groupby(["setting", "value"], sort=False)["models"].agg(", ".join).reset_index()


def time_table(results: Results) -> pd.DataFrame:
    """Epochs, time and speed of every fit."""
    rows = [{"model": m.name, **fold.model_dump()} for m in results.models for fold in m.record.folds]
    return pd.DataFrame(rows)


def learnt_table(results: Results) -> pd.DataFrame:
    """The weight that each fusion with learnt weights gives each modality, by fold."""
    rows = []
    for model in results.fusions:
        learnt_by_fold = model.record.learnt if isinstance(model.record, LateFusionRecord) else None
        for fold, learnt in enumerate(learnt_by_fold or ()):
            if learnt and "weights" in learnt:
                rows.append((model.name, fold, *learnt["weights"]))
    members = next((len(row) - 2 for row in rows), 0)
    return pd.DataFrame(rows, columns=["model", "fold", *results.cohort.modalities[:members]])


def history_table(results: Results) -> pd.DataFrame:
    """Losses and scores of every epoch, fold and model."""
    tables = [m.history.assign(model=m.name) for m in results.models if m.history is not None]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def all_sheets(evidence: Evidence, question: str) -> dict[str, Sheet]:
    """Every table that has a row, by name."""
    results, comparison = evidence.results, evidence.results.comparison
    sheets = [
        Sheet("models", "Every metric of every model", model_table(results)),
        Sheet("comparison", "AUC of each model minus that of the reference", _part(comparison, "comparison")),
        Sheet("differences", "Every metric of each model minus that of the reference", results.differences),
        Sheet("tests", "Tests and corrections", _part(comparison, "tests")),
        Sheet("published", "Beside the paper", published_table(results)),
        Sheet("cohort", "Patients and pictures", cohort_table(results)),
        Sheet("auc_by_fold", "AUC by fold", fold_table(results)),
        Sheet("confusion", "Truth and prediction", confusion_table(results)),
        Sheet("disagreements", "Patients on whom the models disagree", evidence.disagreements),
        Sheet("reliability", "Predicted probability and observed share", evidence.reliability),
        Sheet("calibration", "Calibration error and the parts of the Brier score", evidence.calibration),
        Sheet("temperatures", "Temperature of each fold", evidence.temperatures),
        Sheet("decision_curves", "Net benefit", evidence.decisions),
        Sheet("operating_points", "Operating points", evidence.points),
        Sheet("conformal_coverage", "Coverage and size of conformal sets", evidence.coverage),
        Sheet("undecided", "Patients left undecided", evidence.undecided),
        Sheet("subgroups", "Metrics by subgroup", evidence.subgroup_metrics),
        Sheet("subgroup_spread", "How far subgroups lie apart", evidence.subgroup_spread),
        Sheet("subsets", "Metrics by the pictures given", evidence.subsets),
        Sheet("attainable", "Achieved and attainable AUC", attainable_table(results)),
        Sheet("settings", "Settings", settings_table(results)),
        Sheet("time", "Time and speed of every fit", time_table(results)),
        Sheet("learnt_weights", "Learnt weights", learnt_table(results)),
        Sheet("learning_curves", "Losses by epoch", history_table(results)),
        Sheet("skipped", "Patients without a prediction", skipped_patients(results)),
        Sheet("tripod_ai", "TRIPOD+AI", checklist(TRIPOD_AI, evidence, question)),
        Sheet("claim", "CLAIM", checklist(CLAIM, evidence, question)),
    ]
    return {sheet.name: sheet for sheet in sheets if len(sheet.table)}


def _part(comparison: Comparison | None, name: str) -> pd.DataFrame:
    table: pd.DataFrame = getattr(comparison, name) if comparison else pd.DataFrame()
    return table


def _own_settings(model: Model) -> dict[str, Any]:
    """Without what the model's name says already, and without the members of a fusion, which are runs of their own."""
    if isinstance(model.record, TableRecord):
        return {}
    return model.record.settings.model_dump(mode="json", exclude={"modality", "head", "members"})


def _flat(settings: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in settings.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value
