"""Differences between the cohort that a model learnt from and another one: classes, pictures, findings, gaps."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from fusion_ln.evaluation.external.profile import FEATURES, CohortProfile, Distribution
from fusion_ln.evaluation.limits.resampling import resample_counts
from fusion_ln.evaluation.limits.shares import Z, middle, share_interval

NONE_HELD = "none"
DEVIATION_FLOOR = 1e-6  # deviation below which nothing varies but rounding
_SHARES = ["n_model", "share_model", "n_other", "share_other", "share_other_low", "share_other_high"]
_STEPS = 200


def compare_classes(model: Mapping[str, int], other: Mapping[str, int]) -> pd.DataFrame:
    """Compare class shares: ``class`` and the columns `_SHARES`."""
    rows = [(name, *_shares(model[name], sum(model.values()), other[name], sum(other.values()))) for name in model]
    return pd.DataFrame(rows, columns=["class", *_SHARES])


def compare_presence(model: CohortProfile, other: CohortProfile) -> pd.DataFrame:
    """Compare who has which pictures: ``pictures`` and the columns `_SHARES`."""
    names = dict.fromkeys([*model.presence, *other.presence])
    rows = [
        (
            name or NONE_HELD,
            *_shares(model.presence.get(name, 0), model.patients, other.presence.get(name, 0), other.patients),
        )
        for name in names
    ]
    return pd.DataFrame(rows, columns=["pictures", *_SHARES])


def _shares(n_model: int, of_model: int, n_other: int, of_other: int) -> tuple[float, ...]:
    """Make the cells of `_SHARES`; the interval is Wilson's."""
    return n_model, n_model / of_model, n_other, n_other / of_other, *share_interval(n_other, of_other)


def compare_pictures(model: CohortProfile, other: CohortProfile) -> pd.DataFrame:
    """Compare the pictures that both cohorts have.

    Returns:
        ``modality, feature, mean_model, mean_other, difference, difference_low, difference_high``: standardised
        differences (other less model, over the model's cohort's standard deviation), see `_standardised`.
    """
    rows = [
        (modality, feature, ours[feature].mean, theirs[feature].mean, *_standardised(ours[feature], theirs[feature]))
        for modality, ours in model.pictures.items()
        if (theirs := other.pictures.get(modality))
        for feature in FEATURES
    ]
    columns = ["modality", "feature", "mean_model", "mean_other"]
    return pd.DataFrame(rows, columns=[*columns, "difference", "difference_low", "difference_high"])


def compare_findings(model: CohortProfile, other: CohortProfile) -> pd.DataFrame:
    """Compare the clinical columns that both cohorts have.

    Returns:
        ``finding, level, known_model, model, known_other, other, difference, difference_low, difference_high``: means
        of numbers and shares of levels, and of numbers the standardised difference, see `_standardised`.
    """
    rows: list[tuple[object, ...]] = []
    for name, ours in model.numbers.items():
        if theirs := other.numbers.get(name):
            rows.append((name, "mean", ours.n, ours.mean, theirs.n, theirs.mean, *_standardised(ours, theirs)))
    for name, levels in model.categories.items():
        if (shares := other.categories.get(name)) is None:
            continue
        for level in dict.fromkeys([*levels, *shares]):
            found = (levels.get(level), other.known[name], shares.get(level))
            rows.append((name, level, model.known[name], *found, None, None, None))
    columns = ["finding", "level", "known_model", "model", "known_other", "other"]
    table = pd.DataFrame(rows, columns=[*columns, "difference", "difference_low", "difference_high"])
    return table.astype(dict.fromkeys(columns[3::2] + list(table.columns[6:]), "float64"))


def _standardised(model: Distribution, other: Distribution) -> tuple[float | None, float | None, float | None]:
    """Compute (other - model) / deviation of the model's cohort, with limits that take the pictures as independent."""
    if model.deviation < DEVIATION_FLOOR:
        return None, None, None
    value = (other.mean - model.mean) / model.deviation
    ratio = (other.deviation / model.deviation) ** 2
    half = Z * float(np.sqrt(1 / model.n + ratio / other.n + value**2 / (2 * model.n)))
    return value, value - half, value + half


def predicted_classes(classes: Sequence[str], probs: np.ndarray, shares: np.ndarray) -> pd.DataFrame:
    """Compare calibrated probabilities with the class shares of the model's study; labels are not looked at.

    Args:
        classes: Names, in label order.
        probs: Calibrated for the study's shares. Shape (P, C).
        shares: Class shares of the study. Shape (C,).

    Returns:
        ``class, share_model, likeliest`` (patients with this class the likeliest) ``, mean_probability, estimated,
        estimated_low, estimated_high``: the class share at which the probabilities are consistent, should pictures of
        a class look alike in both places (Saerens et al. 2002), with its 95 % bootstrap interval.
    """
    everyone = np.zeros(len(probs), dtype=np.int64)
    draws = [_consistent_shares(probs, shares, counts) for counts in resample_counts(everyone, 500, 0)]
    low, high = middle(np.concatenate(draws))
    return pd.DataFrame(
        {
            "class": list(classes),
            "share_model": shares,
            "likeliest": np.bincount(probs.argmax(axis=1), minlength=len(classes)),
            "mean_probability": probs.mean(axis=0),
            "estimated": _consistent_shares(probs, shares, np.ones((1, len(probs))))[0],
            "estimated_low": low,
            "estimated_high": high,
        }
    )


def _consistent_shares(probs: np.ndarray, shares: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Find, by EM, the class shares of weighted samples (R, P) that reproduce themselves. Shape (R, C)."""
    weights = counts / counts.sum(axis=1, keepdims=True)
    likelihoods = probs / shares  # up to a factor by patient
    found = np.tile(shares, (len(counts), 1))
    for _ in range(_STEPS):
        evidence = likelihoods @ found.T  # (P, R)
        new = found * ((weights / evidence.T) @ likelihoods)
        moved = np.abs(new - found).max()
        found = new
        if moved < 1e-6:
            break
    return np.asarray(found)


def set_sizes(member: np.ndarray) -> pd.DataFrame:
    """Count the sets by their number of classes: ``classes, n, share, share_low, share_high``."""
    sizes = np.bincount(member.sum(axis=1), minlength=member.shape[1] + 1)
    rows = [(size, int(n), n / len(member), *share_interval(int(n), len(member))) for size, n in enumerate(sizes)]
    return pd.DataFrame(rows, columns=["classes", "n", "share", "share_low", "share_high"])
