"""Presence audit: does the pattern of which pictures exist predict the class?

A model that sees which pictures a patient has can read the answer off the examination instead of the node, if that
was cut short or extended with the diagnosis in mind.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.evaluation.limits.shares import LEVEL
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions
from fusion_ln.terms import MODALITY, PATIENT

LINKED_BELOW = 0.01  # p-value of the permutation test
RIDGE = 1.0  # penalty on standardised columns
_BLOCK = 1 << 22  # scores held at once


@dataclass(frozen=True)
class PresenceAudit:
    """Result of the audit.

    Attributes:
        columns: Columns of the model: ``has 2d``, or ``number of 2d pictures`` where that varies.
        auc, ci_low, ci_high: Macro one-vs-rest AUC of the model's out-of-fold scores, with its 95 % interval for
            other patients and other fits: the bootstrap's of the given fits, its standard error raised by the factor
            1/k + 1/(k - 1) over 1/k of Nadeau & Bengio (2003, Mach. Learn. 52, 239) for k folds.
        chance: Mean AUC over the permutations: with held-out patients below 0.5.
        p: One-sided p-value by permutation of the classes over the patients; never 0.
        patterns: ``pictures, patients`` and the share of each class among them, the most frequent pattern first.
    """

    columns: tuple[str, ...]
    auc: float
    ci_low: float
    ci_high: float
    chance: float
    p: float
    patterns: pd.DataFrame

    @property
    def linked(self) -> bool:
        """True if the pattern predicts the class beyond what chance explains."""
        return self.p < LINKED_BELOW


def count_views(images: pd.DataFrame, patients: Sequence[str], modalities: Sequence[str]) -> pd.DataFrame:
    """Count the pictures of each patient (rows) in each modality (columns), from a table with one row per picture."""
    counts = pd.crosstab(images[PATIENT], images[MODALITY])
    return counts.reindex(index=list(patients), columns=list(modalities), fill_value=0)


def audit_presence(
    views: pd.DataFrame,
    labels: np.ndarray,
    folds: np.ndarray,
    classes: Sequence[str],
    *,
    n_permutations: int = 999,
    n_resamples: int = 2000,
    seed: int = 0,
) -> PresenceAudit | None:
    """Cross-validate a model of which pictures exist: ridge regression of the classes, by the cohort's folds.

    Args:
        views: Number of pictures of each modality (columns) of each patient (rows).
        labels: True class 0..C-1. Shape (P,).
        folds: Outer fold. Shape (P,).
        classes: Names of the classes.
        n_permutations, n_resamples: Draws behind the p-value and behind the interval.
        seed: Same seed, same result.

    Returns:
        None where all patients have the same pictures, so that there is nothing to test.

    Raises:
        PredictionsError: If a class has fewer than 2 patients.
    """
    need_patients(labels, tuple(classes), at_least=2)
    columns = _columns(views)
    if not columns:
        return None
    values = np.stack(list(columns.values()), axis=1)
    rng = np.random.default_rng(seed)
    [observed], [scores] = _cross_validate(values, labels[None], folds, len(classes))
    step = max(1, _BLOCK // (len(labels) * len(classes)))
    by_chance: list[float] = []
    for start in range(0, n_permutations, step):
        permuted = rng.permuted(np.tile(labels, (min(step, n_permutations - start), 1)), axis=1)
        by_chance += _cross_validate(values, permuted, folds, len(classes))[0].tolist()
    ends = _interval(_compare_pairs(scores, labels, np.zeros(len(labels), dtype=int)), labels, n_resamples, seed)
    k = len(np.unique(folds))
    low, high = (observed + np.sqrt(1 + k / (k - 1)) * (np.array(ends) - observed)).clip(0, 1).tolist()
    # Equal scores may differ in the last bits, by the order of their sums; the observed order is one of the possible.
    as_good = 1 + sum(auc >= observed - 1e-12 for auc in by_chance)
    p = as_good / (n_permutations + 1)
    patterns = _patterns(views, labels, classes)
    return PresenceAudit(tuple(columns), float(observed), low, high, float(np.mean(by_chance)), p, patterns)


def pattern_of(views: pd.DataFrame) -> pd.Series:
    """Name the modalities that each patient has pictures of, as in ``2d+elastic``."""
    held = views > 0
    return pd.Series(["+".join(held.columns[row]) or "none" for row in held.to_numpy()], index=views.index)


@dataclass(frozen=True)
class SamePattern:
    """AUC of a model, plain and over pairs of patients with the same pattern alone, with 95 % intervals.

    Attributes:
        auc, auc_low, auc_high: Macro one-vs-rest AUC over all pairs of a patient of a class and one of another.
        same, same_low, same_high: The same over the pairs in which both have pictures of the same modalities. Each
            pair counts once: a pattern weighs by its number of pairs, within a class; then the mean over the classes.
        share: Share of all pairs that have the same pattern.
    """

    auc: float
    auc_low: float
    auc_high: float
    same: float
    same_low: float
    same_high: float
    share: float


def same_pattern_auc(
    predictions: Predictions, patterns: np.ndarray, *, n_resamples: int = 2000, seed: int = 0
) -> SamePattern:
    """Compare a model's AUC with the one over pairs of patients who have the same pattern.

    Args:
        predictions: The model's.
        patterns: Pattern of each of its patients. Shape (P,).
        n_resamples, seed: Draws behind the intervals; same seed, same intervals.

    Raises:
        PredictionsError: If a class has fewer than 2 patients, or none with the pattern of another class's patient.
    """
    labels, probs = predictions.labels, predictions.probs
    need_patients(labels, predictions.classes, at_least=2)
    codes = np.unique(patterns, return_inverse=True)[1]
    every, same = (_compare_pairs(probs, labels, of) for of in (np.zeros(len(labels), dtype=int), codes))
    for name, pairs in zip(predictions.classes, same, strict=True):
        if not pairs.weights.any():
            raise PredictionsError(f"no patient of class {name!r} has the pictures of a patient of another class")
    ones = np.ones((1, len(labels)))
    [plain], [within] = (_macro(pairs, ones) for pairs in (every, same))
    share = sum(p.weights.sum() for p in same) / sum(p.weights.sum() for p in every)
    return SamePattern(
        float(plain),
        *_interval(every, labels, n_resamples, seed),
        float(within),
        *_interval(same, labels, n_resamples, seed),
        float(share),
    )


def _columns(views: pd.DataFrame) -> dict[str, np.ndarray]:
    """Build the model's columns: of each modality whether there is a picture and how many, as far as they vary."""
    columns: dict[str, np.ndarray] = {}
    for modality in views:
        counts = views[modality].to_numpy(dtype=np.float64)
        if len(np.unique(counts > 0)) > 1:
            columns[f"has {modality}"] = (counts > 0).astype(np.float64)
        if len(np.unique(counts[counts > 0])) > 1:
            columns[f"number of {modality} pictures"] = np.log(np.maximum(counts, 1))
    return columns


def _cross_validate(
    values: np.ndarray, labels: np.ndarray, folds: np.ndarray, n_classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Regress the classes on the columns (P, K) outside each fold, for R orders of the labels (R, P), and score it.

    The intercept is left out of the scores: it holds the class shares of the training part alone, which fall where
    those of the held-out part rise.

    Returns:
        Macro AUCs (R,) and scores (R, P, C).
    """
    truth = np.eye(n_classes)[labels]  # (R, P, C)
    scores = np.zeros(truth.shape)
    for fold in np.unique(folds):
        held_out = folds == fold
        training = values[~held_out]
        mean, spread = training.mean(axis=0), training.std(axis=0)
        scale = np.divide(1, spread, out=np.zeros_like(spread), where=spread > 0)
        design = (training - mean) * scale
        solve = np.linalg.solve(design.T @ design + RIDGE * np.eye(design.shape[1]), design.T)  # (K, P)
        scores[:, held_out] = ((values[held_out] - mean) * scale) @ (solve @ truth[:, ~held_out])
    aucs = []
    for c in range(n_classes):
        positive = labels == c
        n = positive.sum(axis=1)
        ranks = rankdata(scores[..., c].round(12), axis=1)
        wins = (ranks * positive).sum(axis=1) - n * (n + 1) / 2
        aucs.append(wins / (n * (labels.shape[1] - n)))
    return np.mean(aucs, axis=0), scores


@dataclass(frozen=True)
class _Pairs:
    """Pairs of a patient of a class and one of another.

    Attributes:
        positive: Patients of the class. bool, shape (P,).
        wins: 1 where the first ranks higher, 0.5 at a tie, as far as the pair counts. Shape (positives, negatives).
        weights: 1 where the pair counts.
    """

    positive: np.ndarray
    wins: np.ndarray
    weights: np.ndarray


def _compare_pairs(scores: np.ndarray, labels: np.ndarray, strata: np.ndarray) -> list[_Pairs]:
    """Compare each class's patients with the others of their stratum. Scores (P, C), strata (P,)."""
    found = []
    for c in range(scores.shape[1]):
        positive = labels == c
        high, low = (scores[part, c].round(12)[:, None] for part in (positive, ~positive))
        weights = (strata[positive][:, None] == strata[~positive]).astype(np.float32)
        wins = ((high > low.T) + 0.5 * (high == low.T)).astype(np.float32) * weights
        found.append(_Pairs(positive, wins, weights))
    return found


def _macro(pairs: list[_Pairs], counts: np.ndarray) -> np.ndarray:
    """Average the AUC over the classes, in each resample (R, P); NaN where a class has no pair. Shape (R,)."""
    by_class = []
    for of_class in pairs:
        first, second = counts[:, of_class.positive], counts[:, ~of_class.positive]
        wins, weights = (((first @ each) * second).sum(axis=1) for each in (of_class.wins, of_class.weights))
        by_class.append(np.divide(wins, weights, out=np.full(len(counts), np.nan), where=weights > 0))
    return np.asarray(np.mean(by_class, axis=0))


def _interval(pairs: list[_Pairs], labels: np.ndarray, n_resamples: int, seed: int) -> tuple[float, float]:
    """Compute the percentile bootstrap interval, patients drawn within each class."""
    draws = np.concatenate([_macro(pairs, counts) for counts in resample_counts(labels, n_resamples, seed)])
    low, high = np.nanquantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def _patterns(views: pd.DataFrame, labels: np.ndarray, classes: Sequence[str]) -> pd.DataFrame:
    """Count the patients of each pattern and the shares of the classes among them."""
    counts = pd.crosstab(pattern_of(views).to_numpy(), labels).reindex(columns=range(len(classes)), fill_value=0)
    patients = counts.sum(axis=1)
    shares = counts.div(patients, axis=0).set_axis([str(name) for name in classes], axis=1)
    table = shares.rename_axis("pictures").reset_index()
    table.insert(1, "patients", patients.to_numpy())
    return table.sort_values("patients", ascending=False, kind="stable", ignore_index=True)
