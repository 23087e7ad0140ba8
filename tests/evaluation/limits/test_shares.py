import numpy as np
import pytest
from scipy.stats import beta, binom, chi2, t
from statsmodels.stats.proportion import proportion_confint

from fusion_ln.evaluation.limits.shares import (
    difference_limits,
    false_claim,
    mean_share_limits,
    student_quantile,
    wilson,
    wilson_of_few,
)


@pytest.mark.parametrize(("hits", "of"), [(0, 10), (48, 48), (17, 40), (1, 3)])
def test_wilson_agrees_with_statsmodels(hits, of):
    low, high = wilson(np.array(hits), np.array(of))
    assert (low, high) == pytest.approx(proportion_confint(hits, of, method="wilson"))


def test_a_few_patients_have_poissons_limits():
    low, high = wilson_of_few(np.array([2, 3, 3, 19]), np.array([40, 40, 60, 20]))
    found = [proportion_confint(hits, of, method="wilson") for hits, of in ((2, 40), (3, 40), (3, 60), (19, 20))]
    fewest = [chi2.ppf(0.05, 2 * hits) / 2 / of for hits, of in ((2, 40), (3, 60), (1, 20))]
    assert low == pytest.approx([fewest[0], found[1][0], fewest[1], found[3][0]])
    assert high == pytest.approx([*(pair[1] for pair in found[:3]), 1 - fewest[2]])


def test_the_limits_of_shares_near_1_hold_them():
    """Coverage by the binomial law itself: Wilson's own limits hold 0.995 of 20 patients in 0.905 of the cases."""
    for share in np.linspace(0.9, 0.999, 34):
        for of in (20, 52, 130):
            hits = np.arange(of + 1)
            low, high = wilson_of_few(hits, np.full(of + 1, of))
            held = binom.pmf(hits, of, share)[(low <= share) & (share <= high)].sum()
            assert held > 0.915, (share, of)


def test_a_share_of_nobody_has_no_limits():
    assert np.isnan(wilson(np.array([0]), np.array([0]))).all()


def test_paired_shares_give_newcombes_method_10():
    """Newcombe 1998, table II (a): of 50, 36 are found by both, 12 and 2 by one alone."""
    e, f, g, h = 36, 12, 2, 0
    n = e + f + g + h
    a, b = (e + f) / n, (e + g) / n
    phi = (e * h - f * g) / np.sqrt((e + f) * (g + h) * (e + g) * (f + h))
    shares = [(np.array(k / n), wilson(np.array(k), np.array(n))) for k in (e + f, e + g)]
    low, high = difference_limits(shares[0][0], shares[1][0], shares[0][1], shares[1][1], np.array(phi))
    (l1, u1), (l2, u2) = (proportion_confint(k, n, method="wilson") for k in (e + f, e + g))
    down = np.sqrt((a - l1) ** 2 - 2 * phi * (a - l1) * (u2 - b) + (u2 - b) ** 2)
    up = np.sqrt((b - l2) ** 2 - 2 * phi * (b - l2) * (u1 - a) + (u1 - a) ** 2)
    assert (low, high) == pytest.approx((a - b - down, a - b + up))
    assert (low, high) == pytest.approx((0.0569, 0.3404), abs=5e-4)  # the paper's figures


def test_the_mean_of_shares_is_movers_but_never_inside_wilsons():
    shares, of = np.array([0.8, 0.5, 0.6]), np.array([50, 40, 60])
    ends = np.array([proportion_confint(s * n, n, method="wilson") for s, n in zip(shares, of, strict=True)])
    low, high = mean_share_limits(shares, of)
    down, up = (np.sqrt(np.square(shares - end).sum()) / 3 for end in ends.T)
    effective = 9 / (1 / of).sum()
    wilson_of_mean = proportion_confint(shares.mean() * effective, effective, method="wilson")
    expected = min(shares.mean() - down, wilson_of_mean[0]), max(shares.mean() + up, wilson_of_mean[1])
    assert (low, high) == pytest.approx(expected)
    low, high = mean_share_limits(np.ones(3), np.full(3, 20))
    assert low < proportion_confint(60, 60, method="wilson")[0]
    assert high == 1


def test_a_false_claim_is_a_draw_of_the_posterior(rng):
    """Dirichlet(1, 1, 1, 1) over right and wrong of both models, drawn."""
    both, a_alone, b_alone, neither = 40, 9, 4, 7
    drawn = rng.dirichlet([both + 1, a_alone + 1, b_alone + 1, neither + 1], 200_000)
    expected = np.mean(drawn[:, 1] <= drawn[:, 2])
    assert false_claim(np.array(a_alone), np.array(b_alone)) == pytest.approx(expected, abs=0.004)
    assert false_claim(np.array(5), np.array(5)) == pytest.approx(0.5)
    assert false_claim(np.array(9), np.array(0)) == pytest.approx(beta.cdf(0.5, 10, 1))


def test_quantile_of_students_t_is_that_of_scipy():
    freedom = np.array([0, 1, 2.5, 40, np.inf])
    assert student_quantile(freedom) == pytest.approx(t.ppf(0.975, freedom), nan_ok=True)
