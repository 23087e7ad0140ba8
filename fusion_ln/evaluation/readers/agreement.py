"""Agreement of calls beyond chance: Cohen's kappa of two, Fleiss' kappa of all readers."""

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd
from scipy import stats

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.limits.shares import LEVEL
from fusion_ln.predictions import Predictions

# Patients below which an interval of two raters, or of all, held too seldom
# (``experiments/evidence/readers_intervals.py``).
FEWEST_OF_TWO, FEWEST_OF_ALL = 20, 100
MODEL = "model"
ALL_READERS = "all readers"
ValueWithLimits = tuple[float, float, float]


def agreement(predictions: Predictions, readers: Sequence[Reader]) -> pd.DataFrame:
    """Score the agreement of every two readers, of each reader with the model, and of all readers.

    Returns:
        ``a, b, patients, kappa, ci_low, ci_high``; ``b`` is empty in the row of all readers (Fleiss 1971). The interval
        is the jackknife's over patients; none where fewer than `FEWEST_OF_TWO` or `FEWEST_OF_ALL` were read, or where
        it has no width.
    """
    names = list(predictions.classes)
    calls = {reader.name: reader.calls.map(names.index) for reader in readers if len(reader.calls)}
    model = pd.Series(predictions.probs.argmax(axis=1), index=predictions.patients)
    pairs = [(a, b, calls[a], calls[b]) for a, b in combinations(calls, 2)]
    pairs += [(name, MODEL, own, model) for name, own in calls.items()]
    rows: list[list[object]] = []
    for a, b, one, other in pairs:
        both = pd.concat([one, other], axis=1, join="inner").to_numpy(dtype=int)
        if len(both) > 1:
            rows.append([a, b, len(both), *cohen_kappa(both[:, 0], both[:, 1], len(names))])
    if len(calls) > 2:
        everyone = pd.concat(list(calls.values()), axis=1, join="inner").to_numpy(dtype=int)
        if len(everyone) > 1:
            rows.append([ALL_READERS, "", len(everyone), *fleiss_kappa(everyone, len(names))])
    return pd.DataFrame(rows, columns=["a", "b", "patients", "kappa", "ci_low", "ci_high"])


def cohen_kappa(a: np.ndarray, b: np.ndarray, n_classes: int) -> ValueWithLimits:
    """Score Cohen's unweighted kappa of two raters' classes (P,), with its interval."""
    table = np.zeros((n_classes, n_classes))
    np.add.at(table, (a, b), 1)
    of_a, of_b, same, n = table.sum(axis=1), table.sum(axis=0), a == b, len(a)
    products = float(of_a @ of_b)
    kappa = _beyond_chance(same.mean(), products / n**2)
    # Leaving a patient out takes one call from each rater's counts.
    chance = (products - of_b[a] - of_a[b] + same) / (n - 1) ** 2
    return _jackknife(kappa, _beyond_chance((same.sum() - same) / (n - 1), chance), FEWEST_OF_TWO)


def fleiss_kappa(calls: np.ndarray, n_classes: int) -> ValueWithLimits:
    """Score Fleiss' kappa of the classes that R raters gave the same patients (P, R), with its interval."""
    n, raters = calls.shape
    counts = np.stack([(calls == label).sum(axis=1) for label in range(n_classes)], axis=1)
    agree = ((counts**2).sum(axis=1) - raters) / (raters * (raters - 1))
    total = counts.sum(axis=0)
    kappa = _beyond_chance(agree.mean(), ((total / (n * raters)) ** 2).sum())
    chance = (((total - counts) / ((n - 1) * raters)) ** 2).sum(axis=1)
    return _jackknife(kappa, _beyond_chance((agree.sum() - agree) / (n - 1), chance), FEWEST_OF_ALL)


def _beyond_chance(observed: np.ndarray, chance: np.ndarray | float) -> np.ndarray:
    """Relate agreement to what chance leaves to gain; NaN where it leaves nothing, as with one class for all."""
    gain = 1 - np.asarray(chance, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(gain > 0, (observed - chance) / gain, np.nan)


def _jackknife(value: np.ndarray, without: np.ndarray, fewest: int) -> ValueWithLimits:
    """Make an interval from the values without each patient (P,), on the scale of Fisher's z."""
    n, kappa = len(without), float(value)
    error = float(np.sqrt((n - 1) / n * ((without - without.mean()) ** 2).sum()))
    if n < fewest or not error > 0 or not abs(kappa) < 1:
        return kappa, np.nan, np.nan
    half = float(stats.t.ppf((1 + LEVEL) / 2, n - 1)) * error / (1 - kappa**2)
    return kappa, float(np.tanh(np.arctanh(kappa) - half)), float(np.tanh(np.arctanh(kappa) + half))
