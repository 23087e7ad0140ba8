import numpy as np
import pytest
from scipy import stats
from scipy.optimize import brentq
from scipy.special import logit
from sklearn.metrics import roc_auc_score

from fusion_ln.evaluation.limits.auc import aucs, logit_limits, newcombe_limits, one_vs_one
from fusion_ln.metrics import score

LABELS = np.arange(45) % 3
Z = 1.959963984540054


def made(rng, skill: float, *axes: int) -> np.ndarray:
    logits = rng.normal(size=(*axes, 45, 3)) + skill * np.eye(3)[LABELS]
    return np.exp(logits) / np.exp(logits).sum(axis=-1, keepdims=True)


def test_every_sample_of_a_stack_scores_as_alone(rng):
    probs = made(rng, 1.0, 2, 3)
    found = aucs(LABELS, probs)
    for place in np.ndindex(2, 3):
        alone = aucs(LABELS, probs[place])
        by_hand = [roc_auc_score(c == LABELS, probs[place][:, c]) for c in range(3)]
        np.testing.assert_allclose(found.by_class[place], by_hand)
        np.testing.assert_allclose(found.limits[0][place], alone.limits[0])
        np.testing.assert_allclose(found.macro_limits[1][place], alone.macro_limits[1])


def test_influence_is_the_placement_over_the_group(rng):
    probs = made(rng, 1.0)
    found = aucs(LABELS, probs)
    own, rest = probs[LABELS == 1, 1], probs[LABELS != 1, 1]
    expected = [(np.mean(x > rest) - found.by_class[1]) / 15 for x in own]
    np.testing.assert_allclose(found.influence[LABELS == 1, 1], expected, atol=1e-12)


def test_one_vs_one_is_hand_and_till_with_the_variance_of_the_jackknife(rng):
    probs = made(rng, 1.0)
    value, low, high, influence = one_vs_one(LABELS, probs, few=np.array(False))
    assert value == pytest.approx(score(LABELS, probs, ("a", "b", "c"))["auc_ovo"][0])
    expected = 0.0
    for c in range(3):
        members = np.flatnonzero(c == LABELS)
        left = [score(np.delete(LABELS, i), np.delete(probs, i, axis=0), ("a", "b", "c"))["auc_ovo"] for i in members]
        expected += (len(members) - 1) * np.var(left)
    assert np.square(influence).sum() * 15 / 14 == pytest.approx(expected, rel=1e-4)
    assert (low, high) == pytest.approx(logit_limits(value, np.array(expected), 15), rel=1e-4)


@pytest.mark.parametrize(("auc", "m", "n"), [(1.0, 21, 79), (0.93, 10, 20), (0.5, 30, 30)])
def test_newcombes_limits_lie_z_standard_errors_away(auc, m, n):
    """Newcombe 2006, method 5, by a root finder."""

    def away(at):
        mid = (m + n) / 2 - 1
        error = np.sqrt(at * (1 - at) * (1 + mid * (1 - at) / (2 - at) + mid * at / (1 + at)) / (m * n))
        return abs(auc - at) - Z * error

    low, high = newcombe_limits(np.array([auc]), np.array([m]), np.array([n]))
    assert low[0] == pytest.approx(brentq(away, 1e-6, auc - 1e-9), abs=1e-6)
    assert high[0] == pytest.approx(1 if auc == 1 else brentq(away, auc + 1e-9, 1 - 1e-9), abs=1e-6)


def test_where_few_are_misplaced_the_limits_are_newcombes():
    probs = 0.8 * np.eye(3)[LABELS] + 0.2 / 3
    found = aucs(LABELS, probs)
    expected = newcombe_limits(np.ones(3), np.full(3, 15), np.full(3, 30))
    np.testing.assert_allclose(found.limits, expected)
    np.testing.assert_allclose(found.macro_limits[0], expected[0].mean())


def test_limits_on_the_logit_scale_stay_inside(rng):
    found = aucs(LABELS, made(rng, 1.0))
    low, high = logit_limits(found.macro, found.macro_covariance(found), 15)
    assert 0 < low < found.macro < high < 1
    assert found.macro_limits == (low, high)
    error = np.sqrt(found.macro_covariance(found)) / (found.macro * (1 - found.macro))
    assert logit(high) - logit(found.macro) == pytest.approx(stats.t.ppf(0.975, 14) * error)  # 15 of each class
