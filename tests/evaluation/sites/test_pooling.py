import numpy as np
import pytest
from scipy.stats import t

from fusion_ln.evaluation.sites.pooling import FEWEST_SITES, pool

# Trials of BCG against tuberculosis (Colditz et al. 1994): cases and others, vaccinated and not.
BCG = np.array(
    [
        [4, 119, 11, 128], [6, 300, 29, 274], [3, 228, 11, 209], [62, 13536, 248, 12619], [33, 5036, 47, 5761],
        [180, 1361, 372, 1079], [8, 2537, 10, 619], [505, 87886, 499, 87892], [29, 7470, 45, 7232],
        [17, 1699, 65, 1600], [186, 50448, 141, 27197], [5, 2493, 3, 2338], [27, 16886, 29, 17825],
    ]
)  # fmt: skip


def trials():
    a, b, c, d = BCG.T
    return np.log(a / (a + b) / (c / (c + d))), np.sqrt(1 / a - 1 / (a + b) + 1 / c - 1 / (c + d))


def test_the_bcg_trials_give_the_published_heterogeneity():
    """Viechtbauer 2010, J. Stat. Softw. 36(3): Q = 152.23, empirical Bayes (Paule and Mandel) tau2 = 0.3181."""
    found = pool(*trials())
    assert found.q == pytest.approx(152.233, abs=0.001)
    assert found.tau2 == pytest.approx(0.3181, abs=0.0001)
    assert found.i2 == pytest.approx((152.233 - 12) / 152.233, abs=1e-5)
    assert found.p < 1e-20
    assert found.mean == pytest.approx(-0.7150, abs=0.0005)


def test_intervals_follow_their_formulas():
    y, se = trials()
    found = pool(y, se)
    w = [1 / (s**2 + found.tau2) for s in se]
    mean = sum(wi * yi for wi, yi in zip(w, y, strict=True)) / sum(w)
    spread = sum(wi * (yi - mean) ** 2 for wi, yi in zip(w, y, strict=True)) / (len(y) - 1)
    assert spread == pytest.approx(1, abs=1e-4)  # the equation that defines Paule and Mandel's tau2
    error = (max(spread, 1) / sum(w)) ** 0.5
    half = t.ppf(0.975, 12) * error
    assert [found.low, found.high] == pytest.approx([mean - half, mean + half])


def test_like_sites_have_no_variance_between_them():
    found = pool(np.full(6, 1.5), np.array([0.2, 0.3, 0.2, 0.1, 0.4, 0.2]))
    assert (found.q, found.i2, found.tau2) == pytest.approx((0, 0, 0))
    assert found.p == pytest.approx(1)
    assert found.mean == pytest.approx(1.5)
    error = (1 / sum(1 / s**2 for s in (0.2, 0.3, 0.2, 0.1, 0.4, 0.2))) ** 0.5
    assert found.high == pytest.approx(1.5 + t.ppf(0.975, 5) * error)  # never narrower than without a spread


def test_under_five_sites_nothing_is_said_of_a_new_one():
    y, se = trials()
    assert pool(y[: FEWEST_SITES - 1], se[: FEWEST_SITES - 1]).new_low is None
    assert pool(y[:FEWEST_SITES], se[:FEWEST_SITES]).new_low is not None
