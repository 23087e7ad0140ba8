"""Limits of shares of patients, of their means, and of differences of anything that has limits of its own."""

from statistics import NormalDist

import numpy as np
import scipy  # its parts load when they are first used

LEVEL = 0.95
Z = NormalDist().inv_cdf((1 + LEVEL) / 2)
Limits = tuple[np.ndarray, np.ndarray]
MANY = 50  # patients, above which 3 are few


def student_quantile(freedom: np.ndarray | float) -> np.ndarray:
    """Compute the quantile of Student's t with so many degrees of freedom, which replaces `Z`; NaN without any."""
    return np.asarray(scipy.special.stdtrit(freedom, (1 + LEVEL) / 2))


def middle(draws: np.ndarray) -> Limits:
    """Compute the ends of the middle 95 % of the draws, over the first axis."""
    low, high = np.quantile(draws, [(1 - LEVEL) / 2, (1 + LEVEL) / 2], axis=0)
    return low, high


def wilson(hits: np.ndarray, of: np.ndarray) -> Limits:
    """Compute the limits of a share of patients (Wilson 1927); NaN where it is a share of nobody."""
    hits, of = np.asarray(hits, dtype=np.float64), np.asarray(of, dtype=np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = hits / of
        centre = (hits + Z**2 / 2) / (of + Z**2)
        half = Z * np.sqrt(of * share * (1 - share) + Z**2 / 4) / (of + Z**2)
    return np.minimum(centre - half, share).clip(min=0), np.maximum(centre + half, share).clip(max=1)


def wilson_of_few(hits: np.ndarray, of: np.ndarray) -> Limits:
    """Compute Wilson's limits, with Poisson's where the result is that of 1 to 3 patients or of all but those.

    The modified Wilson interval of Brown, Cai & DasGupta (2001, Statist. Sci. 16, 101): Wilson's own limits of a share
    near 0 or 1 leave out the true one too often, and so do those of sums in which such a share weighs most.
    """
    hits, of = np.broadcast_arrays(np.asarray(hits, dtype=np.float64), np.asarray(of, dtype=np.float64))
    low, high = wilson(hits, of)
    most = np.where(of > MANY, 3, 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        least_hits, least_rest = (
            np.where((count > 0.5) & (count < most + 0.5), scipy.special.gammaincinv(count, 1 - LEVEL) / of, np.inf)
            for count in (hits, of - hits)
        )
    return np.minimum(low, least_hits), np.maximum(high, 1 - least_rest)


def share_interval(hits: int, of: int) -> tuple[float, float]:
    """Compute the limits of one share of patients, see `wilson`."""
    low, high = wilson(np.array(hits), np.array(of))
    return float(low), float(high)


def mean_share_limits(shares: np.ndarray, of: np.ndarray) -> Limits:
    """Compute the limits of the mean of independent shares over the last axis, each a share of ``of`` patients.

    MOVER, the method of variance estimates recovery, from Wilson's limits (Zou & Donner 2008, Statist. Med. 27, 1693),
    but never inside Wilson's limits of the mean at its effective number of patients: near 1 MOVER alone held in 0.91 to
    0.92 of simulated cohorts.
    """
    of = np.asarray(of, dtype=np.float64)
    n, mean = shares.shape[-1], shares.mean(axis=-1)
    limits = wilson(shares * of, of)
    down, up = (np.sqrt(np.square(shares - end).sum(axis=-1)) / n for end in limits)
    with np.errstate(divide="ignore"):
        effective = n**2 / (1 / of).sum(axis=-1)
    low, high = wilson(mean * effective, effective)
    return np.minimum(mean - down, low), np.maximum(mean + up, high)


def difference_limits(a: np.ndarray, b: np.ndarray, limits_a: Limits, limits_b: Limits, r: np.ndarray) -> Limits:
    """Compute the limits of a - b from each one's limits and the correlation ``r`` of their estimates.

    MOVER for paired figures (Zou 2007, Psychol. Methods 12, 399); of two shares with Wilson's limits it is method 10
    of Newcombe 1998 (Statist. Med. 17, 2635) without a continuity correction.
    """
    (low_a, high_a), (low_b, high_b) = limits_a, limits_b
    down = _hypotenuse(a - low_a, high_b - b, r)
    up = _hypotenuse(high_a - a, b - low_b, r)
    return a - b - down, a - b + up


def mean_limits(values: np.ndarray, limits: Limits, r: np.ndarray) -> Limits:
    """Compute the limits of the mean of S figures from each one's limits and the correlations of their estimates.

    MOVER once more (Zou 2007): with equal figures and r = 1 the limits of one of them.

    Args:
        values: Shape (S, M).
        limits: Two of shape (S, M); where a figure has none, the mean has none.
        r: Shape (S, S, M).
    """
    down, up = (
        np.sqrt(np.einsum("im,jm,ijm->m", away, away, r).clip(min=0)) / len(values)
        for away in (values - limits[0], limits[1] - values)
    )
    mean = values.mean(axis=0)
    return mean - down, mean + up


def _hypotenuse(own: np.ndarray, other: np.ndarray, r: np.ndarray) -> np.ndarray:
    return np.asarray(np.sqrt(np.maximum(own**2 + other**2 - 2 * r * own * other, 0)))


def false_claim(a_alone: np.ndarray, b_alone: np.ndarray) -> np.ndarray:
    """Compute the probability that a model claimed to be right more often is not, from the patients who tell.

    ``a_alone`` patients are recognised by the claimed model alone, ``b_alone`` by the other alone. Each of the four
    cells of right and wrong has the same prior, Dirichlet(1, 1, 1, 1) (Christodoulou et al. 2025, arXiv 2505.04720);
    patients on whom the models agree then carry no weight.
    """
    return np.asarray(scipy.special.betainc(np.asarray(a_alone) + 1.0, np.asarray(b_alone) + 1.0, 0.5))
