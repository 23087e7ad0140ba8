"""Prediction interval of a new site from few sites, with what is not known of the variance between them."""

import numpy as np
from scipy.stats import norm, t

from fusion_ln.evaluation.limits.shares import LEVEL

VARIANCE_DRAWS, GRID = 20_000, 96  # of the confidence distribution; variances at which Q is evaluated


def new_site_interval(values: np.ndarray, errors: np.ndarray) -> tuple[float, float]:
    """Find the 95 % prediction interval of a new site's figure (Nagashima, Noma & Furukawa 2019, algorithm 1).

    The variance between sites is drawn from its confidence distribution, which Cochran's Q gives, and the figure of a
    new site given each draw: so it allows for a variance that was estimated as 0 by chance (Stat. Methods Med. Res. 28,
    1689). The draws are always the same.

    Args:
        values: Figure of each site. Shape (k,).
        errors: Its standard error, positive. Shape (k,).
    """
    k, rng = len(values), np.random.default_rng(0)
    tau2 = draw_variances(values, errors, rng.chisquare(1, (VARIANCE_DRAWS, k - 1)))
    # Evenly spaced quantiles in random order: less noise than draws.
    levels = (np.arange(VARIANCE_DRAWS) + 0.5) / VARIANCE_DRAWS
    between, within = norm.ppf(rng.permutation(levels)), t.ppf(rng.permutation(levels), k - 1)
    weights = 1 / (errors**2 + tau2[:, None])
    means = (weights @ values) / weights.sum(axis=1)
    spread = (weights * np.square(values - means[:, None])).sum(axis=1) / (k - 1) / weights.sum(axis=1)
    new = means + between * np.sqrt(tau2) + within * np.sqrt(spread)
    low, high = np.quantile(new, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


def draw_variances(values: np.ndarray, errors: np.ndarray, squares: np.ndarray) -> np.ndarray:
    """Draw variances between sites from their confidence distribution P(Q >= observed Q | variance).

    Given the variance, Q is a sum of independent chi-squares whose weights are eigenvalues (Biggerstaff & Jackson
    2008) that grow with it; each draw is the variance at which this sum is the observed Q, or 0.

    Args:
        values, errors: See `new_site_interval`.
        squares: Chi-squares with one degree of freedom. Shape (N, k - 1).
    """
    fixed = 1 / errors**2
    observed = float(fixed @ np.square(values - fixed @ values / fixed.sum()))
    form = np.diag(fixed) - np.outer(fixed, fixed) / fixed.sum()
    scale = float(len(fixed) / fixed.sum())
    grid = np.append(0, scale * np.geomspace(1e-4, 1e5 * (1 + observed), GRID - 1))
    roots = [np.sqrt(errors**2 + variance) for variance in grid]
    weights = np.stack([np.linalg.eigvalsh(root[:, None] * form * root)[1:] for root in roots])
    sums = squares @ weights.T  # (N, GRID), growing along the grid
    above = (sums < observed).sum(axis=1).clip(1, GRID - 1)
    rows = np.arange(len(squares))
    low, high = sums[rows, above - 1], sums[rows, above]
    share = ((observed - low) / (high - low)).clip(0, 1)
    drawn: np.ndarray = grid[above - 1] + share * (grid[above] - grid[above - 1])
    return drawn
