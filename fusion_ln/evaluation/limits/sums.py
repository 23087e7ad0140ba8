"""Limits of sums over the classes of what their patients add, such as a net benefit or a mean cost, and of ratios."""

from collections.abc import Callable

import numpy as np

from fusion_ln.evaluation.limits.shares import Limits, wilson_of_few

_HALVINGS = 40


def sum_limits(shares: np.ndarray, worths: np.ndarray, of: np.ndarray) -> Limits:
    """Compute the limits of the sum over classes and outcomes of worth x share of the class's patients.

    MOVER (Zou 2007) from each share's `wilson_of_few`: so a share of 0 or 1 has its uncertainty, too, which a
    bootstrap does not see. Patients of different classes are independent, outcomes of one class exclude each other.

    Args:
        shares: Share of each class's patients with each outcome. Shape (..., C, V).
        worths: What an outcome adds; an outcome without worth may be left out. Shape (..., C, V).
        of: Number of patients of each class. Shape (C,).
    """
    of = np.maximum(of, 1)[:, None]
    low, high = wilson_of_few(shares * of, of)
    gained = worths > 0
    total = (shares * worths).sum(axis=(-2, -1))
    with np.errstate(divide="ignore", invalid="ignore"):
        odds = np.where(shares < 1, np.sqrt(shares / (1 - shares)), 0) * np.sign(worths)
    limits = []
    for direction, nearer, further in ((-1, low, high), (1, high, low)):
        away = np.abs(worths * (np.where(gained, nearer, further) - shares))
        # The correlation of two shares of one class is -sqrt(odds x odds).
        joint = away * odds
        square = (away**2).sum(axis=-1) - joint.sum(axis=-1) ** 2 + (joint**2).sum(axis=-1)
        limits.append(total + direction * np.sqrt(square.clip(min=0).sum(axis=-1)))
    return limits[0], limits[1]


def value_limits(values: np.ndarray, possible: list[np.ndarray], weights: np.ndarray, labels: np.ndarray) -> Limits:
    """Compute the limits of the sum over classes of weight x mean value of the class's patients.

    Args:
        values: What each patient adds, one of the class's possible values. Shape (P, K).
        possible: Values that a patient of each class may have; those that nobody has count, too.
        weights: Weight of each class. Shape (C,).
        labels: True class. Shape (P,).
    """
    widest = max(len(each) for each in possible)
    shares = np.zeros((values.shape[1], len(possible), widest))
    worths, base = np.zeros((len(possible), widest)), 0.0
    for c, each in enumerate(possible):
        own = values[labels == c]
        found = np.isclose(own[..., None], each).mean(axis=0)  # (K, V)
        usual = each[found.mean(axis=0).argmax()]  # adds nothing, the others what they are above or below it
        shares[:, c, : len(each)] = found
        worths[c, : len(each)] = (each - usual) * weights[c]
        base += usual * weights[c]
    low, high = sum_limits(shares, worths, np.bincount(labels, minlength=len(possible)))
    return low + base, high + base


def ratio_limits(value: float, difference: Callable[[float], Limits]) -> tuple[float, float]:
    """Compute the limits of a share that solves an equation, such as a predictive value (Fieller 1954).

    Args:
        value: The share found.
        difference: Limits of what is 0 at the true share, for any share.

    Returns:
        The ends of the shares whose limits hold 0; NaN for a share that is NaN.
    """
    if np.isnan(value):
        return np.nan, np.nan
    ends = []
    for end in (0.0, 1.0):
        outside, inside = end, value
        for _ in range(_HALVINGS):
            middle = (outside + inside) / 2
            low, high = difference(middle)
            outside, inside = (outside, middle) if low <= 0 <= high else (middle, inside)
        ends.append(inside)
    return ends[0], ends[1]
