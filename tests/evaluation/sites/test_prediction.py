import numpy as np
import pytest
from scipy.stats import chi2, kstest

from fusion_ln.evaluation.sites.prediction import draw_variances, new_site_interval

# Trials of cisapride (Hartung & Knapp 2001): better and all patients, under it and under placebo.
BETTER, ALL = [15, 12, 29, 42, 14, 44, 14, 29, 10, 17, 38, 19, 21], [16, 16, 34, 56, 22, 54, 17, 58, 14, 26, 44, 29, 38]
PLACEBO, OTHERS = [9, 1, 18, 31, 6, 17, 7, 23, 3, 6, 12, 22, 19], [16, 16, 34, 56, 22, 55, 15, 58, 15, 27, 45, 30, 38]


def test_the_cisapride_trials_give_the_authors_interval():
    """Manual of the authors' R package pimeta: odds ratios of 0.533 to 33.692; theirs and ours are drawn."""
    a, n, c, m = np.array([BETTER, ALL, PLACEBO, OTHERS]) + np.array([[0.5], [1], [0.5], [1]])
    values, errors = np.log(a / (n - a) / (c / (m - c))), np.sqrt(1 / a + 1 / (n - a) + 1 / c + 1 / (m - c))
    assert new_site_interval(values, errors) == pytest.approx((np.log(0.533), np.log(33.692)), abs=0.06)
    assert new_site_interval(values, errors) == new_site_interval(values, errors)


def test_variances_follow_the_confidence_distribution(rng):
    """With equal errors Q scaled by their share of the variance is a chi-square with k - 1 degrees of freedom."""
    values, error, k = np.array([0.1, 0.9, 0.4, 1.6, -0.3, 0.7]), 0.4, 6
    q = float(np.square(values - values.mean()).sum()) / error**2
    drawn = draw_variances(values, np.full(k, error), rng.chisquare(1, (4000, k - 1)))
    assert np.mean(drawn == 0) == pytest.approx(chi2.sf(q, k - 1), abs=0.02)
    positive, at_zero = drawn[drawn > 0], chi2.sf(q, k - 1)

    def share(variance):
        return (chi2.sf(q * error**2 / (error**2 + variance), k - 1) - at_zero) / (1 - at_zero)

    assert kstest(positive, share).pvalue > 0.001


def test_sites_that_seem_alike_leave_room_for_a_variance_between_them():
    errors = np.full(8, 0.3)
    low, high = new_site_interval(1.5 + errors * np.linspace(-1.4, 1.4, 8), errors)  # Q = 6.7, below 7
    mean_alone = 2.365 * 0.3 / 8**0.5  # t with 7 degrees of freedom, if the variance were known to be 0
    assert high - 1.5 == pytest.approx(1.5 - low, abs=0.02)
    assert high - 1.5 > 1.3 * mean_alone
