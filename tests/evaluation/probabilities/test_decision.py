import importlib.util
from pathlib import Path

import numpy as np
import pytest

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.probabilities.decision import (
    POOLED,
    decision_curve,
    net_benefit_difference,
    operating_points,
    threshold_for,
)
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
MALIGNANT = ("lymphoma", "metastatic")


def model(seed: int = 0, n: int = 120) -> Predictions:
    labels = np.arange(n) % 3
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + 1.5 * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(n)], np.arange(n) % 4, labels, logits)


def test_net_benefit_matches_its_definition():
    predictions = model()
    risk, sick = predictions.probs[:, 1:].sum(axis=1), predictions.labels > 0
    for _, row in decision_curve(predictions, MALIGNANT).iloc[::10].iterrows():
        flagged, odds = risk >= row["threshold"], row["threshold"] / (1 - row["threshold"])
        expected = np.mean(flagged & sick) - np.mean(flagged & ~sick) * odds
        assert row["net_benefit"] == pytest.approx(expected)
        assert row["treat_all"] == pytest.approx(2 / 3 - odds / 3)
        assert row["treat_none"] == 0
        assert row["ci_low"] - 1e-12 <= row["net_benefit"] <= row["ci_high"] + 1e-12


def test_net_benefit_at_a_prevalence_is_that_of_a_cohort_with_these_shares():
    predictions = model()
    there = Predictions(
        CLASSES, predictions.table.loc[np.repeat(np.arange(120), np.array([7, 1, 2])[predictions.labels])]
    )
    found = decision_curve(predictions, MALIGNANT, prevalence=np.array([0.7, 0.1, 0.2]))
    expected = decision_curve(there, MALIGNANT)
    for column in ("net_benefit", "treat_all"):
        np.testing.assert_allclose(found[column], expected[column], atol=1e-12)


def test_a_difference_in_net_benefit_is_paired_by_patient():
    a, b = model(0), model(1)
    table = net_benefit_difference(a, Predictions(CLASSES, b.table.iloc[::-1]), MALIGNANT)
    own, other = (decision_curve(each, MALIGNANT)["net_benefit"] for each in (a, b))
    np.testing.assert_allclose(table["difference"], own - other, atol=1e-12)
    same = net_benefit_difference(a, a, MALIGNANT)
    assert (same["difference"] == 0).all()
    assert ((same["ci_low"] < 0) & (same["ci_high"] > 0)).all()  # of other patients the two may differ
    row, diseased = table.iloc[49], a.labels > 0
    gains = [np.where(diseased, 1, -1) * (each.probs[:, 1:].sum(axis=1) >= 0.5) for each in (a, b)]
    spread = np.sqrt(
        sum(np.var((gains[0] - gains[1])[part]) * part.sum() for part in (a.labels == c for c in range(3)))
    )
    assert row["ci_high"] - row["ci_low"] == pytest.approx(3.92 * spread / 120, rel=0.2)


def test_a_calibrated_mean_of_posteriors_is_never_worse_than_one_of_them():
    """Raw, it is: a mean of probabilities is not sure enough. 400 inner patients a fold teach the maps."""
    path = Path(__file__).parents[3] / "experiments" / "evidence" / "calibration_shrinkage.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    experiment = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(experiment)
    table = experiment.net_benefit_gaps(20_000, inner=400).set_index(["probabilities", "act_on"])["difference"]
    assert len(table.loc["calibrated"]) == 4  # malignant, and each class alone
    assert (table.loc["calibrated"] >= 0).all()
    assert table.loc["raw", "lymphoma + metastatic"] < -0.05


def test_threshold_is_the_highest_that_finds_enough():
    risks = np.array([0.9, 0.2, 0.6, 0.4])
    assert threshold_for(risks, 0.75) == 0.4
    assert threshold_for(risks, 0.76) == 0.2
    assert threshold_for(risks, 1.0) == 0.2


def test_operating_point_is_chosen_on_inner_validation_alone():
    predictions, inner = model(0), model(1)
    table = operating_points(predictions, inner, MALIGNANT, sensitivity=0.9).set_index("fold")
    risk, sick = inner.probs[:, 1:].sum(axis=1), inner.labels > 0
    for fold in range(4):
        part = (inner.folds == fold) & sick
        threshold = table.loc[str(fold), "threshold"]
        assert np.mean(risk[part] >= threshold) >= 0.9
        assert np.mean(risk[part] > threshold) < 0.9
    shuffled = Predictions(CLASSES, predictions.table.assign(label=predictions.labels[::-1]))
    again = operating_points(shuffled, inner, MALIGNANT, sensitivity=0.9).set_index("fold")
    assert again["threshold"].tolist() == table["threshold"].tolist()


def test_pooled_row_adds_the_folds_up():
    table = operating_points(model(0), model(1), MALIGNANT).set_index("fold")
    for count in ("found", "positive", "spared", "negative"):
        assert table.loc[POOLED, count] == table[count][:-1].sum()
    pooled = table.loc[POOLED]
    assert pooled["sensitivity"] == pooled["found"] / 80
    assert pooled["sensitivity_low"] < pooled["sensitivity"] < pooled["sensitivity_high"]
    assert pooled["threshold"] is None


def test_a_fold_without_negative_patients_has_no_specificity():
    predictions = model()
    keep = (predictions.folds != 0) | (predictions.labels > 0)
    table = operating_points(Predictions(CLASSES, predictions.table[keep]), model(1), MALIGNANT)
    assert table.loc[0, ["negative", "specificity", "specificity_low"]].tolist() == [0, None, None]


@pytest.mark.parametrize(
    ("positive", "message"), [(("cancer",), "no such class"), (CLASSES, "120 of 120"), ((), "0 of")]
)
def test_classes_that_make_no_decision_are_refused(positive, message):
    with pytest.raises(PredictionsError, match=message):
        decision_curve(model(), positive)


def test_inner_validation_without_a_positive_patient_is_refused():
    inner = model(1)
    benign_in_fold_2 = inner.table[(inner.folds != 2) | (inner.labels == 0)]
    with pytest.raises(PredictionsError, match="fold 2: no patient"):
        operating_points(model(), Predictions(CLASSES, benign_in_fold_2), MALIGNANT)
