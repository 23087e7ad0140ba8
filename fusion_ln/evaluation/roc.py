"""ROC curves with bootstrap bands."""

import numpy as np
import pandas as pd

from fusion_ln.evaluation.limits.shares import middle
from fusion_ln.evaluation.resampling import resample_counts
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions

FALSE_POSITIVE_RATES = np.linspace(0, 1, 101)


def roc_band(predictions: Predictions, of_class: str, *, n_resamples: int = 500, seed: int = 0) -> pd.DataFrame:
    """Compute the ROC curve of one class against the rest and its pointwise 95 % band.

    Vertical averaging (Fawcett 2006): each bootstrap resample of the patients, drawn within classes, gives a curve;
    the band holds the middle 95 % of the curves at each false positive rate, apart from the others.

    Returns:
        One row per rate in `FALSE_POSITIVE_RATES`: ``false_positive_rate, sensitivity`` (of the sample) ``, ci_low,
        ci_high``.

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    need_patients(predictions.labels, predictions.classes, at_least=2)
    label = predictions.classes.index(of_class)
    positive, scores = predictions.labels == label, predictions.probs[:, label]
    order = np.argsort(-scores, kind="stable")
    last_of_ties = np.append(np.diff(scores[order]) != 0, True)
    curves = [_curves(np.ones((1, len(positive)), dtype=np.float32), positive, order, last_of_ties)]
    curves += [
        _curves(counts, positive, order, last_of_ties)
        for counts in resample_counts(predictions.labels, n_resamples, seed, predictions.clusters)
    ]
    drawn = np.concatenate(curves)
    low, high = middle(drawn[1:])
    return pd.DataFrame(
        {"false_positive_rate": FALSE_POSITIVE_RATES, "sensitivity": drawn[0], "ci_low": low, "ci_high": high}
    )


def _curves(counts: np.ndarray, positive: np.ndarray, order: np.ndarray, last_of_ties: np.ndarray) -> np.ndarray:
    """Interpolate the sensitivity at `FALSE_POSITIVE_RATES` in resamples with these counts (R, P). Shape (R, 101)."""
    ordered, diseased = counts[:, order], positive[order]
    found, alarms = (np.cumsum(ordered * of, axis=1)[:, last_of_ties] for of in (diseased, ~diseased))
    curves = np.empty((len(counts), len(FALSE_POSITIVE_RATES)))
    for row, (hits, false) in enumerate(zip(found, alarms, strict=True)):
        rates, sensitivities = np.append(0, false) / false[-1], np.append(0, hits) / hits[-1]
        # The curve is upright where the rate stands still: what it reaches there counts.
        keep = np.append(np.diff(rates) > 0, True)
        curves[row] = np.interp(FALSE_POSITIVE_RATES, rates[keep], sensitivities[keep])
    return curves
