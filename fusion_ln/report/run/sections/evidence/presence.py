"""Presence: whether the pattern of which pictures exist predicts the class, and the AUC where it cannot help."""

import pandas as pd

from fusion_ln.evaluation.presence import count_views, pattern_of, same_pattern_auc
from fusion_ln.report.cohort.presence import audit_cohort, describe_presence
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section, attempt

WITHOUT_PATIENTS = True
HEADINGS = {"auc": "AUC, all pairs", "same": "AUC, same pictures", "share": "Pairs with the same pictures"}
PAIR_WEIGHTS = (
    "The AUC over patients with the same pictures compares a patient of a class only with patients of other classes "
    "who have pictures of the same modalities, so what is missing cannot help. Each such pair counts once, so a "
    "pattern weighs by its number of pairs; then the mean over the classes."
)


def build(report: Report) -> Section | None:
    """Build the section where the cohort's pictures are known and a model reads several modalities."""
    results = report.results
    several = [model for model in results.models if len(model.modalities) > 1]
    if results.cohort.images.empty or not several:
        return None
    reasons: list[str] = []
    audit = attempt(reasons, audit_cohort, results.cohort)
    text = "" if reasons else describe_presence(audit)
    table, untold = same_pattern_table(results, several) if audit else (pd.DataFrame(), [])
    return Section(
        place=125,
        anchor="presence",
        link="Which pictures exist",
        title="Which pictures exist",
        subtitle="does the pattern predict the class?",
        template="evidence/presence.html",
        sheets=[
            Sheet("same_pattern", "AUC over patients with the same pictures", table, HEADINGS),
            Sheet("presence", "Classes by which pictures exist", audit.patterns if audit else pd.DataFrame()),
        ],
        alarm=text if audit and audit.linked else "",
        left_out=[*reasons, *untold],
        is_open=bool(audit and audit.linked),
        values={
            "text": text,
            "model": f"Ridge regression of the class on: {', '.join(audit.columns)}; by the folds." if audit else "",
            "weights": PAIR_WEIGHTS if len(table) else "",
        },
    )


def same_pattern_table(results: Results, models: list[Model]) -> tuple[pd.DataFrame, list[str]]:
    """Make ``model, auc, same`` with their intervals and the share of pairs, where patients' pictures differ.

    Returns:
        The table, and the reasons why a model has no row.
    """
    rows, reasons = [], []
    for model in models:
        predicted = model.predictions.patients
        patterns = pattern_of(count_views(results.cohort.images, predicted, model.modalities))
        if len(patterns.unique()) > 1:
            reason: list[str] = []
            found = attempt(
                reason, same_pattern_auc, model.predictions, patterns.to_numpy(), n_resamples=results.n_resamples
            )
            reasons += [f"AUC over the same pictures of {model.title}, since {each}" for each in reason]
            if found is not None:
                rows.append({"model": model.name, **vars(found)})
    return pd.DataFrame(rows), reasons
