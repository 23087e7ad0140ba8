import numpy as np
import pytest
from sklearn.metrics import roc_curve

from fusion_ln.evaluation.limits import large
from fusion_ln.evaluation.roc import roc_band
from fusion_ln.predictions import predictions_from_logits


def test_roc_curve_is_that_of_scikit_learn_and_its_band_holds_it(results):
    predictions = results.main.predictions
    band = roc_band(predictions, "lymphoma", n_resamples=200)
    x, y, _ = roc_curve(predictions.labels == 1, predictions.probs[:, 1], drop_intermediate=False)
    last = np.append(np.diff(x) > 0, True)  # the top of each upright part
    assert band["sensitivity"].to_numpy() == pytest.approx(np.interp(band["false_positive_rate"], x[last], y[last]))
    assert (band["ci_low"] <= band["sensitivity"] + 1e-9).all()
    assert (band["ci_high"] >= band["sensitivity"] - 1e-9).all()


def test_the_band_of_a_large_sample_is_that_of_its_patients(monkeypatch):
    rng = np.random.default_rng(0)
    n = 5000
    labels = rng.choice(3, n)
    logits = rng.normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    patients = [f"p{i:05d}" for i in range(n)]
    predictions = predictions_from_logits(("a", "b", "c"), patients, np.zeros(n, dtype=int), labels, logits)
    of_patients = roc_band(predictions, "b")
    monkeypatch.setattr(large, "LARGE", n)
    of_bins = roc_band(predictions, "b", seed=1)
    assert of_bins["sensitivity"].tolist() == of_patients["sensitivity"].tolist()
    widths = [(band["ci_high"] - band["ci_low"])[1:90].to_numpy() for band in (of_patients, of_bins)]
    assert widths[1].mean() == pytest.approx(widths[0].mean(), rel=0.05)
    for end in ("ci_low", "ci_high"):
        assert of_bins[end].to_numpy() == pytest.approx(of_patients[end].to_numpy(), abs=0.012)
