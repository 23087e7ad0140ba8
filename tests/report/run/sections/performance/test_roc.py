import numpy as np
import pytest
from sklearn.metrics import roc_curve

from fusion_ln.evaluation.roc import roc_band


def test_roc_curve_is_that_of_scikit_learn_and_its_band_holds_it(results):
    predictions = results.main.predictions
    band = roc_band(predictions, "lymphoma", n_resamples=200)
    x, y, _ = roc_curve(predictions.labels == 1, predictions.probs[:, 1], drop_intermediate=False)
    last = np.append(np.diff(x) > 0, True)  # the top of each upright part
    assert band["sensitivity"].to_numpy() == pytest.approx(np.interp(band["false_positive_rate"], x[last], y[last]))
    assert (band["ci_low"] <= band["sensitivity"] + 1e-9).all()
    assert (band["ci_high"] >= band["sensitivity"] - 1e-9).all()
