"""Whole patients: of a cohort of nodes, the figures of patients by their worst and most suspicious node."""

import numpy as np
import pandas as pd

from fusion_ln.evaluation.intervals import metric_intervals, paired_differences
from fusion_ln.evaluation.swaps import name_test, swap_test
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import by_patient
from fusion_ln.records.kinds import TableRecord
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.results import Results, columns_first
from fusion_ln.report.run.section import Report, Section, attempt
from fusion_ln.report.run.sections.performance.models import shown_metrics
from fusion_ln.terms import PATIENT
from fusion_ln.units import patient_of

OF_NODES = True
FIGURE_TITLES = {"n": "Patients", "left_out": "Left out"}


def build(report: Report) -> Section | None:
    """Build the section where the units are nodes."""
    results, reasons = report.results, list[str]()
    if not results.cohort.of_nodes:
        return None
    figures = differences = pd.DataFrame()
    if units_are_known(results):
        figures, differences = patient_figures(results, reasons), patient_differences(results, reasons)
    else:
        reasons.append("The cohort's folder is not at hand, so the class of a node that no model predicted is unknown.")
    sheets = [
        Sheet("whole_patients", "Each model by patient", figures, FIGURE_TITLES),
        Sheet("whole_patient_differences", "Differences by patient", differences, {"n": "Patients"}),
        Sheet("nodes_of_patients", "Nodes of a patient", count_nodes(results), {"nodes": "Nodes", "n": "Patients"}),
    ]
    test = f" p of an AUC: {name_test(int(differences['n'].iloc[0]))}." if len(differences) else ""
    return Section(
        place=15,
        anchor="whole-patients",
        link="Whole patients",
        title="Whole patients",
        subtitle="the class of a patient is that of the worst node",
        text="One row per patient: the truth is the class of the worst node, the prediction that of the node least "
        "likely to be harmless. A patient of whom a model did not predict every node is left out of its figures: the "
        "node without a prediction may be the worst. Every other section counts nodes. Left out where patients have "
        "several nodes are the sections whose intervals do not take a patient's nodes together: decisions, costs, "
        "prevalence, subgroups, sites, readers, missing pictures, clinical columns and checklists." + test,
        sheets=sheets,
        left_out=reasons,
        is_open=True,
    )


def units_are_known(results: Results) -> bool:
    """Test whether the cohort, which may have been rebuilt from predictions, holds every node."""
    records = [model.record for model in results.models if not isinstance(model.record, TableRecord)]
    return all(record.cohort.n_units == len(results.cohort.patients) for record in records)


def patient_figures(results: Results, reasons: list[str]) -> pd.DataFrame:
    """Make ``model, n, left_out, metric, ...`` of the metrics that the table of models shows.

    ``left_out`` counts the patients of whom the model predicted some nodes, but not all.
    """
    shown, tables = {(metric, of_class) for metric, of_class, _ in shown_metrics(results)}, []
    units = results.cohort.patients[PATIENT]
    for model in results.models:
        whole = by_patient(model.predictions, units)
        table = attempt(reasons, metric_intervals, whole, n_resamples=results.n_resamples)
        if table is not None:
            kept = [key in shown for key in zip(table["metric"], table["class"], strict=True)]
            n, known = len(whole.table), len({patient_of(unit) for unit in model.predictions.patients})
            table = table[kept].assign(model=model.name, n=n, left_out=known - n)
            tables.append(columns_first(table, "model", "n", "left_out"))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def patient_differences(results: Results, reasons: list[str]) -> pd.DataFrame:
    """Make ``model, reference, n, metric, class, difference, ci_low, ci_high, p`` of the headline's two models."""
    a, b = results.candidate, results.reference
    if a is None or b is None:
        return pd.DataFrame()
    whole = [by_patient(model.predictions, results.cohort.patients[PATIENT]) for model in (a, b)]
    common = set(whole[0].patients) & set(whole[1].patients)
    pair = [each.of(common) for each in whole]
    table = attempt(reasons, paired_differences, *pair, n_resamples=results.n_resamples)
    p_values = attempt(reasons, swap_test, *([each] for each in pair))
    if table is None or p_values is None:
        return pd.DataFrame()
    table = table[table["metric"].isin([PRIMARY, "accuracy", "recall"])]
    own_p = np.where(table["metric"] == PRIMARY, p_values[-1], np.nan)
    named = table.assign(model=a.name, reference=b.name, n=len(common), p=own_p)
    columns = ["model", "reference", "n", "metric", "class", "difference", "ci_low", "ci_high", "p"]
    return named[columns].reset_index(drop=True)


def count_nodes(results: Results) -> pd.DataFrame:
    """Count the patients by the number of their nodes that the main model predicted."""
    clusters = results.main.predictions.clusters
    n = len(results.main.predictions.table)
    counts = pd.Series(np.bincount(np.arange(n) if clusters is None else clusters)).value_counts().sort_index()
    return pd.DataFrame({"nodes": counts.index, "n": counts.to_numpy()})
