"""ROC curves with bootstrap bands."""

import numpy as np
import pandas as pd

from fusion_ln.evaluation.limits.large import draws_by_sums
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.evaluation.limits.shares import middle
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions

FALSE_POSITIVE_RATES = np.linspace(0, 1, 101)
BINS, TOP_BINS = 2000, 200  # of the scores in a large sample


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
    curve = _curves(np.ones((1, len(positive)), dtype=np.float32), positive, order, last_of_ties)[0]
    if draws_by_sums(predictions.labels, predictions.clusters):
        drawn = _curves_of_bins(predictions.labels, label, scores, n_resamples, seed)
    else:
        blocks = resample_counts(predictions.labels, n_resamples, seed, predictions.clusters)
        drawn = np.concatenate([_curves(counts, positive, order, last_of_ties) for counts in blocks])
    low, high = middle(drawn)
    return pd.DataFrame(
        {"false_positive_rate": FALSE_POSITIVE_RATES, "sensitivity": curve, "ci_low": low, "ci_high": high}
    )


def _curves_of_bins(labels: np.ndarray, label: int, scores: np.ndarray, n: int, seed: int) -> np.ndarray:
    """Draw the curves of a large sample from numbers of patients by class and bin of the score. Shape (R, 101).

    Bins hold 1 of `BINS` of the others each, and one each of the highest, where the curve rises.
    """
    rng = np.random.default_rng(seed)
    others = np.sort(scores[labels != label])
    edges = np.unique(np.append(others[:: -(-len(others) // BINS)], others[-TOP_BINS:]))
    codes, sizes = np.unique(labels * (len(edges) + 1) + np.searchsorted(edges, scores), return_counts=True)
    classes, bins = np.divmod(codes, len(edges) + 1)
    counts = np.empty((n, len(codes)), dtype=np.float32)
    for c in np.unique(classes):
        own = classes == c
        counts[:, own] = rng.multinomial(sizes[own].sum(), sizes[own] / sizes[own].sum(), size=n)
    order = np.argsort(-bins, kind="stable")
    return _curves(counts, classes == label, order, np.append(np.diff(bins[order]) != 0, True))


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
