import numpy as np
import pandas as pd
import pytest
from scipy.special import logit

from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.limits.shares import Z, share_interval
from fusion_ln.evaluation.sites.figures import (
    FEWEST_AT_SITE,
    logit_auc,
    pooled_row,
    score_sites,
    sites_of_folds,
    threshold_drift,
)
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
SITES = {0: "B", 1: "A", 2: "C"}


def drawn(rng, n=90, strength=1.5):
    """Draw predictions of three sites, one fold each."""
    labels, folds = np.arange(n) % 3, np.arange(n) // (n // 3)
    logits = rng.normal(size=(n, 3)) + strength * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:03}" for i in range(n)], folds, labels, logits)


def test_folds_are_sites_only_where_each_is_the_other():
    ids = list("abcdef")
    folds = pd.DataFrame({"patient_id": ids, "fold": [0, 0, 1, 1, 2, 2]})
    own = pd.DataFrame({"patient_id": ids[::-1], "site": list("ZZYYXX")})
    assert sites_of_folds(own, folds) == {0: "X", 1: "Y", 2: "Z"}
    assert sites_of_folds(own.assign(site=list("ZZYYYX")), folds) == {}
    assert sites_of_folds(own.assign(site=list("ZZZZXX")), folds) == {}
    assert sites_of_folds(own.assign(site="X"), folds.assign(fold=0)) == {}


def test_each_site_is_scored_on_its_own_patients(rng):
    predictions = drawn(rng)
    found = score_sites(predictions, SITES)
    assert found.counts["site"].tolist() == ["A", "B", "C"]
    assert found.auc.k == 3
    rows = found.metrics.set_index(["site", "metric", "class"])
    for fold, site in SITES.items():
        part = predictions.folds == fold
        labels, probs = predictions.labels[part], predictions.probs[part]
        ranked = aucs(labels, probs)
        expected = [float(ranked.macro), *(float(end) for end in ranked.macro_limits)]
        assert rows.loc[(site, PRIMARY, "all")].tolist() == pytest.approx(expected)
        hits = int((probs[labels == 1].argmax(axis=1) == 1).sum())
        assert rows.loc[(site, "recall", "lymphoma")].tolist() == pytest.approx([hits / 10, *share_interval(hits, 10)])


def test_a_small_site_has_no_interval_and_is_not_pooled(rng):
    predictions = drawn(rng, n=3 * 3 * (FEWEST_AT_SITE - 1))
    found = score_sites(predictions, SITES)
    assert found.auc is None
    assert not found.counts["pooled"].any()
    of_auc = found.metrics[found.metrics["metric"] == PRIMARY]
    assert of_auc["value"].notna().all()
    assert of_auc["ci_low"].isna().all()


def test_the_error_of_a_logit_is_delongs_and_an_auc_of_one_has_one(rng):
    predictions = drawn(rng, n=120, strength=1.0)
    ranked = aucs(predictions.labels, predictions.probs)
    value, error = logit_auc(ranked)
    auc = float(ranked.macro)
    assert value == pytest.approx(logit(auc))
    assert error == pytest.approx(float(ranked.macro_covariance(ranked)) ** 0.5 / (auc * (1 - auc)))
    perfect = drawn(rng, n=60, strength=50)
    value, error = logit_auc(aucs(perfect.labels, perfect.probs))
    assert np.isfinite([value, error]).all()
    assert value == pytest.approx(logit(1 - 0.5 / (20 * 40)))
    assert value - Z * error < logit(0.99)


def test_a_pooled_row_is_given_as_aucs(rng):
    row = pooled_row(score_sites(drawn(rng), SITES).auc)
    assert 0.5 < row["ci_low"] < row["auc"] < row["ci_high"] < 1
    assert row["new_low"] is None


def test_a_threshold_is_learnt_elsewhere_and_tried_at_the_site(rng):
    predictions = drawn(rng)
    n = 60
    labels, folds = np.arange(n) % 3, np.repeat([0, 1, 2], n // 3)
    logits = rng.normal(size=(n, 3)) + np.eye(3)[labels]
    inner = predictions_from_logits(CLASSES, [f"I{i:03}" for i in range(n)], folds, labels, logits)
    found = threshold_drift(predictions, inner, SITES, CLASSES[1:], sensitivity=0.9).set_index("site")
    for fold, site in SITES.items():
        risks = 1 - inner.probs[(inner.folds == fold) & (inner.labels > 0), 0]
        threshold = np.sort(risks)[::-1][int(np.ceil(0.9 * len(risks))) - 1]
        own = 1 - predictions.probs[predictions.folds == fold, 0]
        ill = predictions.labels[predictions.folds == fold] > 0
        assert found.loc[site, "threshold"] == pytest.approx(threshold)
        assert found.loc[site, "sensitivity"] == pytest.approx(np.mean(own[ill] >= threshold - 1e-12))
        assert found.loc[site, "specificity"] == pytest.approx(np.mean(own[~ill] < threshold - 1e-12))
        assert np.mean(own[ill] >= found.loc[site, "own_threshold"] - 1e-12) >= 0.9
