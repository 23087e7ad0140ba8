import numpy as np
import pytest
from scipy.special import softmax

from fusion_ln.errors import SettingsError
from fusion_ln.evaluation.external.points import learn_points
from fusion_ln.evaluation.external.recalibrate import recalibrate
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def draw(rng, n, factor):
    labels = rng.integers(0, 3, n)
    logits = factor * (2 * (rng.normal(size=(n, 3)) + 2 * np.eye(3)[labels]))
    return predictions_from_logits(CLASSES, [f"P{i:04d}" for i in range(n)], np.zeros(n), labels, logits)


def test_local_cases_mend_a_model_that_is_too_sure(rng):
    """Frozen, its slopes are a third; on the cases it learns so, and the frozen figures stay as they were."""
    predictions = draw(rng, 400, 3.0)
    points = learn_points(CLASSES, predictions.labels, softmax(predictions.logits, axis=1))
    found = recalibrate(predictions, points, 100, draws=15)
    assert found.draws == 15
    for name in CLASSES:
        assert found.slope[name].frozen < 0.5
        assert found.slope[name].recalibrated.value == pytest.approx(1, abs=0.25)
    assert found.log_loss.recalibrated.high < found.log_loss.frozen
    assert set(found.thresholds) == {"malignant-sensitive"}
    low, high = (getattr(found.sensitivity["malignant-sensitive"].recalibrated, end) for end in ("low", "high"))
    assert low < 0.95 < high


def test_fewer_cases_spread_a_threshold_wider(rng):
    predictions = draw(rng, 400, 1.0)
    points = learn_points(CLASSES, predictions.labels, predictions.probs)
    widths = []
    for cases in (40, 200):
        found = recalibrate(predictions, points, cases, draws=30).sensitivity["malignant-sensitive"].recalibrated
        widths.append(found.high - found.low)
    assert widths[0] > widths[1]


def test_a_number_of_cases_that_leaves_nobody_is_refused(rng):
    with pytest.raises(SettingsError, match="from 3 to 30"):
        recalibrate(draw(rng, 60, 1.0), (), 50)
