"""Random-effects meta-analysis of one figure over sites: heterogeneity, mean, and prediction interval of a new site."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import chi2, t
from statsmodels.stats.meta_analysis import combine_effects

from fusion_ln.evaluation.limits.shares import LEVEL
from fusion_ln.evaluation.sites.prediction import new_site_interval

FEWEST_SITES = 5  # for a prediction interval: with fewer the spread between sites is hardly known


@dataclass(frozen=True)
class PooledEstimate:
    """A figure over k sites, on the scale on which its errors are normal.

    Attributes:
        k: Number of sites.
        mean, low, high: Mean over all such sites, with its 95 % interval.
        q, p: Cochran's Q and its p-value.
        i2: Share of the spread that is more than chance (Higgins & Thompson 2002).
        tau2: Variance between sites.
        new_low, new_high: 95 % prediction interval of a new site; None under `FEWEST_SITES` sites.
    """

    k: int
    mean: float
    low: float
    high: float
    q: float
    p: float
    i2: float
    tau2: float
    new_low: float | None
    new_high: float | None


def pool(values: np.ndarray, errors: np.ndarray) -> PooledEstimate:
    """Pool the figures of at least two sites.

    The variance between sites is Paule and Mandel's (1982). The interval of the mean is Hartung and Knapp's (2001) with
    Student's t, its factor at least 1 (Rover et al. 2015); the prediction interval is `new_site_interval`'s.

    Args:
        values: Figure of each site. Shape (k,).
        errors: Its standard error, positive. Shape (k,).
    """
    k = len(values)
    found = combine_effects(values, errors**2, method_re="iterated", maxiter=200)
    tau2, mean = float(max(found.tau2, 0.0)), float(found.mean_effect_re)
    weights = 1 / (errors**2 + tau2)
    factor = max(1.0, float(weights @ (values - mean) ** 2) / (k - 1))
    variance = factor / float(weights.sum())
    half = float(t.ppf((1 + LEVEL) / 2, k - 1)) * np.sqrt(variance)
    fixed = 1 / errors**2
    q = float(fixed @ (values - fixed @ values / fixed.sum()) ** 2)
    new_low, new_high = new_site_interval(values, errors) if k >= FEWEST_SITES else (None, None)
    return PooledEstimate(
        k=k,
        mean=mean,
        low=float(mean - half),
        high=float(mean + half),
        q=q,
        p=float(chi2.sf(q, k - 1)),
        i2=max(0.0, 1 - (k - 1) / q) if q > 0 else 0.0,
        tau2=tau2,
        new_low=new_low,
        new_high=new_high,
    )
