"""Every metric of a model, in one table: of the sample itself, or of many weighted resamples of it at once.

A new metric is an entry of `METRICS`: scores, intervals, comparisons, reports and studies all read that table.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from fusion_ln.errors import PredictionsError
from fusion_ln.resamples import Resamples, Summary

PRIMARY = "auc_ovr"  # the metric by which models are chosen and compared


@dataclass(frozen=True)
class Metric:
    """A metric over all classes or, where ``per_class``, of each class against the rest.

    Attributes:
        name: In every table; of a class ``<name>:<class>``.
        title: Heading of its column on a page.
        compute: Its values. Shape (R,), or (R, C) where ``per_class``; NaN where a resample lacks the class.
        lower_is_better: The direction in which a study searches.
        shown: The table of models on a page has it, not the CSV file alone.
        of: Patients that the metric is a share of, shaped as ``compute``; None where it is no share.
        needs: Patients of each class from which on resampling gives an interval that holds, by simulation
            (``experiments/evidence/evidence_calibration.py``); of no account where the interval has a closed form.
        caveat: Why it has no interval; empty where it may have one.
    """

    name: str
    title: str
    compute: Callable[[Summary], np.ndarray]
    per_class: bool = False
    lower_is_better: bool = False
    shown: bool = False
    of: Callable[[Summary], np.ndarray] | None = None
    needs: int = 20
    caveat: str = ""

    def titles(self, classes: tuple[str, ...]) -> dict[str, str]:
        """Title each value by its name: one entry, or one per class."""
        if not self.per_class:
            return {self.name: self.title}
        return {f"{self.name}:{each}": f"{self.title}, {each}" for each in classes}


# Metrics of a class that are averaged over the classes have two entries.
METRICS: tuple[Metric, ...] = (
    Metric(PRIMARY, "AUC, one vs rest", lambda r: r.one_vs_rest.mean(axis=1), shown=True),
    Metric("auc_ovo", "AUC, one vs one", lambda r: r.one_vs_one, shown=True),
    Metric("auc", "AUC", lambda r: r.one_vs_rest, per_class=True),
    Metric(
        "accuracy",
        "Accuracy",
        lambda r: r.accuracy,
        of=lambda r: r.confusion.sum(axis=(1, 2)),
        shown=True,
    ),
    Metric("mcc", "MCC", lambda r: r.mcc, shown=True),
    Metric("precision", "Precision", lambda r: r.precision.mean(axis=1), shown=True),
    Metric("recall", "Recall", lambda r: r.recall.mean(axis=1), shown=True),
    Metric("f1", "F1", lambda r: r.f1.mean(axis=1), shown=True),
    Metric("precision", "Precision", lambda r: r.precision, of=lambda r: r.confusion.sum(axis=1), per_class=True),
    Metric("recall", "Recall", lambda r: r.recall, of=lambda r: r.confusion.sum(axis=2), per_class=True, shown=True),
    Metric("f1", "F1", lambda r: r.f1, per_class=True),
    Metric("brier", "Brier score", lambda r: r.brier, lower_is_better=True, needs=100),
    Metric("log_loss", "Log loss", lambda r: r.log_loss, lower_is_better=True, needs=100),
    Metric(
        "ece",
        "Calibration error",
        lambda r: r.calibration_error,
        lower_is_better=True,
        caveat="The calibration error of a sample is larger than the model's, the more so the fewer the patients: "
        "no interval holds the model's value often enough.",
    ),
)


def score(
    labels: np.ndarray,
    probs: np.ndarray,
    classes: tuple[str, ...],
    counts: np.ndarray | None = None,
    *,
    ranking: np.ndarray | None = None,
    metrics: Sequence[Metric] = METRICS,
) -> dict[str, np.ndarray]:
    """Compute every metric of the sample, or of each of R resamples of it.

    Args:
        labels, probs: See `Resamples`.
        classes: Names of the C classes.
        counts: See `Resamples`. None: the sample.
        ranking: Scores to rank for the AUC in place of ``probs``.
        metrics: The metrics to compute.

    Returns:
        Values by name, ``<name>:<class>`` for a metric per class; each of shape (R,), R = 1 for the sample. NaN where
        a resample lacks the class that the metric needs.

    Raises:
        PredictionsError: If the sample has no patient of some class.
    """
    if counts is None:
        need_patients(labels, classes)
        counts = np.ones((1, len(labels)))
    return score_summary(
        Resamples(labels, probs, counts, probs if ranking is None else ranking), classes, metrics=metrics
    )


def score_summary(
    summary: Summary, classes: tuple[str, ...], *, metrics: Sequence[Metric] = METRICS
) -> dict[str, np.ndarray]:
    """Compute every metric of what is known of R samples, see `score`."""
    scores: dict[str, np.ndarray] = {}
    with np.errstate(invalid="ignore", divide="ignore"):
        for metric in metrics:
            values = metric.compute(summary)
            scores |= zip(metric.titles(classes), values.T if metric.per_class else [values], strict=True)
    return scores


def need_patients(
    labels: np.ndarray, classes: tuple[str, ...], at_least: int = 1, clusters: np.ndarray | None = None
) -> None:
    """Refuse a sample that has fewer than ``at_least`` patients with some class; ``clusters`` as in the predictions.

    Raises:
        PredictionsError: With the class and its count.
    """
    for c, name in enumerate(classes):
        of_class = labels == c if clusters is None else np.bincount(clusters, labels == c) > 0
        if (count := int(np.sum(of_class))) < at_least:
            raise PredictionsError(
                f"class {name!r} has {count} of the {len(of_class)} patients; at least {at_least} of each class "
                f"({', '.join(classes)}) must be there.",
                "Take predictions of a larger cohort, or leave the class out of the cohort.",
            )


def confusion(labels: np.ndarray, probs: np.ndarray, n_classes: int) -> np.ndarray:
    """Count patients by true class (rows) and most probable class (columns). Shape (C, C)."""
    cells = labels * n_classes + probs.argmax(axis=1)
    return np.bincount(cells, minlength=n_classes**2).reshape(n_classes, n_classes)
