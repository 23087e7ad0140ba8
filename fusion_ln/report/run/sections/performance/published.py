"""Beside the paper: figures of Jiang et al. 2025 (Front. Oncol. 15:1542265) on the same patients beside ours."""

import pandas as pd

from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.metrics import PRIMARY
from fusion_ln.report.kit.sheets import Sheet
from fusion_ln.report.kit.style import spread
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.section import Report, Section

WITHOUT_PATIENTS = True
SOURCE = "cv4lymphnode"  # the cohort that the figures belong to
PROTOCOL = "published, other protocol"
# Metric, class, modality (None: the paper's best model), value. The recall is derived from its Figure 5.
PUBLISHED_METRICS = (
    (PRIMARY, ALL_CLASSES, "2d", 0.906),
    (PRIMARY, ALL_CLASSES, "cdfi", 0.896),
    (PRIMARY, ALL_CLASSES, "elastic", 0.925),
    ("accuracy", ALL_CLASSES, None, 0.792),
    ("f1", ALL_CLASSES, None, 0.745),
    ("mcc", ALL_CLASSES, None, 0.657),
    ("recall", "lymphoma", None, 0.48),
)
TITLES = {PRIMARY: "AUC", "accuracy": "accuracy", "f1": "macro F1", "mcc": "MCC", "recall": "recall of lymphoma"}


def build(report: Report) -> Section | None:
    """Build the section where the cohort is the paper's."""
    table = published_table(report.results)
    if table.empty:
        return None
    return Section(
        place=30,
        anchor="published",
        link="Beside the paper",
        title="Beside the paper",
        subtitle="Jiang et al. 2025: published, other protocol",
        text="The paper’s figures are of the same pictures under another protocol: it stopped training on the fold "
        "that it reports. The two columns do not compare like with like. The recall is derived from its Figure 5.",
        sheets=[Sheet("published", "Beside the paper", table, {"our_model": "Our model"})],
        is_open=True,
    )


def published_table(results: Results) -> pd.DataFrame:
    """Make ``figure, of, published, ours, interval, our_model``; empty unless the cohort is the paper's.

    The paper stopped training on the fold that it reports and split by picture, so the two columns do not compare like
    with like.
    """
    if results.cohort.source != SOURCE:
        return pd.DataFrame()
    rows = []
    for metric, of_class, modality, value in PUBLISHED_METRICS:
        ours = _ours(results, modality)
        if ours is not None and (of_class == ALL_CLASSES or of_class in results.cohort.classes):
            row = results.interval(ours, metric, of_class)
            interval = spread(row.ci_low, row.ci_high)
            rows.append((TITLES[metric], modality or "best single modality", value, row.value, interval, ours.title))
    columns = ["figure", "of", PROTOCOL.replace(" ", "_"), "ours", "95_%_interval", "our_model"]
    return pd.DataFrame(rows, columns=columns)


def _ours(results: Results, modality: str | None) -> Model | None:
    if modality is None:
        return results.best_single
    return next((m for m in results.singles if m.modalities == (modality,)), None)
