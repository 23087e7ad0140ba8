"""Limits of sums and ratios: single shares by Wilson, sums by MOVER written out, ratios by what they solve."""

import numpy as np
import pytest
from statsmodels.stats.proportion import proportion_confint

from fusion_ln.evaluation.limits.sums import ratio_limits, sum_limits, value_limits


def test_the_limits_of_one_share_are_wilsons_times_its_worth():
    low, high = sum_limits(np.array([[0.9]]), np.array([[-2.0]]), np.array([40]))
    expected = proportion_confint(36, 40, method="wilson")
    assert (low, high) == pytest.approx((-2 * expected[1], -2 * expected[0]))


def test_shares_of_classes_add_by_mover_and_of_one_class_exclude_each_other():
    hits, of, worths = [35, 4], [40, 30], [0.6, -1.4]
    found = [proportion_confint(h, n, method="wilson") for h, n in zip(hits, of, strict=True)]
    shares = np.array(hits) / of
    low, _ = sum_limits(shares[:, None], np.array(worths)[:, None], np.array(of))
    down = [0.6 * (shares[0] - found[0][0]), 1.4 * (found[1][1] - shares[1])]
    assert shares @ worths - low == pytest.approx(np.hypot(*down))

    shares, worths = np.array([[0.2, 0.3]]), np.array([[1.0, -2.0]])  # of 50 patients 10, 15 and 25 others
    low, _ = sum_limits(shares, worths, np.array([50]))
    found = [proportion_confint(hits, 50, method="wilson") for hits in (10, 15)]
    down = [0.2 - found[0][0], 2 * (found[1][1] - 0.3)]
    r = np.sqrt(0.2 * 0.3 / (0.8 * 0.7))  # -r of the shares, and one of them counts against
    assert -0.4 - low == pytest.approx(np.sqrt(down[0] ** 2 + down[1] ** 2 + 2 * r * down[0] * down[1]))


def test_values_that_nobody_has_count_and_the_limits_move_with_a_constant():
    labels, values = np.repeat([0, 1], 20), np.zeros((40, 1))
    possible, weights = [np.array([0.0, 1.0]), np.array([0.0, 10.0])], np.array([0.5, 0.5])
    low, high = value_limits(values, possible, weights, labels)
    none = proportion_confint(0, 20, method="wilson")[1]
    assert (low[0], high[0]) == pytest.approx((0, np.hypot(0.5 * none, 5 * none)))
    moved = value_limits(values + 3, [each + 3 for each in possible], weights, labels)
    assert [end[0] for end in moved] == pytest.approx([low[0] + 3, high[0] + 3])


def test_a_ratio_ends_where_the_limits_of_its_equation_touch_zero():
    shares, prevalence, of = np.array([[0.1], [0.8]]), np.array([0.7, 0.3]), np.array([60, 40])

    def difference(ppv):
        return sum_limits(shares, (prevalence * (np.array([0, 1]) - ppv))[:, None], of)

    low, high = ratio_limits(0.24 / 0.31, difference)
    assert low < 0.24 / 0.31 < high
    assert difference(low)[0] == pytest.approx(0, abs=1e-9)
    assert difference(high)[1] == pytest.approx(0, abs=1e-9)
    assert np.isnan(ratio_limits(np.nan, difference)).all()
