"""Metrics of a table of predictions, pooled over the folds and in each."""

from collections.abc import Iterable

import numpy as np

from fusion_ln.metrics import confusion, score
from fusion_ln.predictions import Predictions, by_patient
from fusion_ln.units import patient_of

OF_WHOLE_PATIENTS = ("by_patient", "patients")  # entries of metrics.json that follow from all units of the cohort


def score_folds(predictions: Predictions) -> dict[int, dict[str, float]]:
    """Compute every metric in each fold; NaN where a fold lacks the class that the metric needs."""
    labels, probs, folds = predictions.labels, predictions.probs, predictions.folds
    scores = {}
    for fold in np.unique(folds).tolist():
        part = folds == fold
        found = score(labels[part], probs[part], predictions.classes, np.ones((1, int(part.sum()))))
        scores[fold] = {name: float(value[0]) for name, value in found.items()}
    return scores


def describe_folds(predictions: Predictions, units: Iterable[str]) -> dict[str, object]:
    """Compute what metrics.json holds: every metric and the confusion matrix, pooled over the folds and in each.

    A metric that a fold leaves undefined, for want of patients of a class, is None there. Of nodes also every metric by
    patient, and how many patients it counts and leaves out, see `by_patient`.

    Args:
        predictions: Of held-out patients or nodes.
        units: Names of all units of the cohort.

    Raises:
        PredictionsError: If no fold has a patient of some class.
    """
    classes, labels, probs = predictions.classes, predictions.labels, predictions.probs
    parts = {fold: predictions.folds == fold for fold in np.unique(predictions.folds).tolist()}
    return {
        "pooled": {name: float(value[0]) for name, value in score(labels, probs, classes).items()},
        **_describe_patients(predictions, units),
        "folds": [
            {"fold": fold, "n": int(parts[fold].sum()), **_none_for_nan(scores)}
            for fold, scores in score_folds(predictions).items()
        ],
        "confusion": {
            "classes": list(classes),
            "pooled": confusion(labels, probs, len(classes)).tolist(),
            "folds": [confusion(labels[part], probs[part], len(classes)).tolist() for part in parts.values()],
        },
    }


def _describe_patients(predictions: Predictions, units: Iterable[str]) -> dict[str, object]:
    """Compute the entries `OF_WHOLE_PATIENTS` of metrics.json; none where the units are patients."""
    whole = by_patient(predictions, units)
    if whole is predictions:
        return {}
    n, n_known = len(whole.table), len({patient_of(unit) for unit in predictions.patients})
    scores = score(whole.labels, whole.probs, predictions.classes, np.ones((1, n))) if n else {}
    figures = _none_for_nan({name: float(value[0]) for name, value in scores.items()})
    return dict(zip(OF_WHOLE_PATIENTS, (figures, {"counted": n, "left_out": n_known - n}), strict=True))


def _none_for_nan(scores: dict[str, float]) -> dict[str, float | None]:
    return {name: value if np.isfinite(value) else None for name, value in scores.items()}
