"""Achieved and attainable AUC, on a phantom."""

import pandas as pd

from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

OF_NODES = WITHOUT_PATIENTS = True
HEADINGS = {
    "achieved_auc": "Achieved AUC",
    "attainable_auc_these_patients": "Attainable AUC, these patients",
    "attainable_auc_any_patients": "Attainable AUC, any patients",
    "share": "Achieved / attainable",
}


def build(report: Report) -> Section | None:
    """Build the section where the truth behind the pictures is known."""
    table = attainable_table(report.results)
    if table.empty:
        return None
    return Section(
        place=150,
        anchor="attainable",
        link="Attainable",
        title="Achieved and attainable AUC",
        subtitle="known because the patients are simulated",
        text="The attainable AUC is that of the exact probability of each class given the findings that the pictures "
        "show. Nothing that reads these pictures can be expected to exceed it. For a recall there is no such bound: it "
        "moves with what is missed elsewhere.",
        sheets=[Sheet("attainable", "Achieved and attainable AUC", table, HEADINGS)],
    )


def attainable_table(results: Results) -> pd.DataFrame:
    """Set achieved against attainable AUC; no row where the truth behind the pictures is not known."""
    rows = []
    for model in results.models:
        if found := results.attainable(model):
            achieved = results.interval(model, PRIMARY)
            rows.append((model.name, *achieved, found["cohort"], found["tables"], achieved.value / found["cohort"]))
    columns = [
        "model",
        "achieved_auc",
        "ci_low",
        "ci_high",
        "attainable_auc_these_patients",
        "attainable_auc_any_patients",
        "share",
    ]
    return pd.DataFrame(rows, columns=columns)
