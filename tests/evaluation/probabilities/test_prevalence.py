import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from fusion_ln.errors import SettingsError
from fusion_ln.evaluation.probabilities.decision import choose_thresholds
from fusion_ln.evaluation.probabilities.prevalence import figures_at, parse_prevalence, point_at
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")
MALIGNANT = CLASSES[1:]
SHARES = np.array([0.7, 0.1, 0.2])


def model(n: int = 120, seed: int = 0) -> Predictions:
    labels = np.arange(n) % 3
    logits = np.random.default_rng(seed).normal(size=(n, 3)) + 1.2 * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:04d}" for i in range(n)], np.arange(n) % 4, labels, logits)


def resampled(predictions: Predictions) -> Predictions:
    """Every patient as often as the new shares ask for: classes of equal size, so 7, 1 and 2 times."""
    table = predictions.table.loc[
        np.repeat(np.arange(len(predictions.labels)), np.array([7, 1, 2])[predictions.labels])
    ]
    return Predictions(CLASSES, table)


def test_figures_are_those_of_a_cohort_with_these_shares():
    predictions = model()
    table = figures_at(predictions, SHARES)
    found = table.set_index(["metric", "class"])["value"]
    there = resampled(predictions)
    chosen = there.probs.argmax(axis=1)
    assert found["accuracy", "all"] == pytest.approx(np.mean(chosen == there.labels))
    assert found["auc_ovr", "all"] == pytest.approx(roc_auc_score(there.labels, there.probs, multi_class="ovr"))
    for c, name in enumerate(CLASSES):
        assert found["auc", name] == pytest.approx(roc_auc_score(there.labels == c, there.probs[:, c]))
        assert found["ppv", name] == pytest.approx(np.mean(there.labels[chosen == c] == c))
        assert found["npv", name] == pytest.approx(np.mean(there.labels[chosen != c] != c))
    assert table["value"].between(table["ci_low"], table["ci_high"]).all()


def test_a_frozen_operating_point_keeps_its_thresholds_for_other_patients():
    predictions = model()
    thresholds = choose_thresholds(predictions, model(seed=1), MALIGNANT, sensitivity=0.9)
    found = point_at(predictions, thresholds, MALIGNANT, prevalence=SHARES).set_index("metric")["value"]
    there = resampled(predictions)
    flagged = there.probs[:, 1:].sum(axis=1) >= np.array([thresholds[fold] for fold in there.folds])
    sick = there.labels > 0
    assert found["sensitivity"] == pytest.approx(flagged[sick].mean())
    assert found["specificity"] == pytest.approx((~flagged)[~sick].mean())
    assert found["ppv"] == pytest.approx(sick[flagged].mean())
    assert found["npv"] == pytest.approx((~sick)[~flagged].mean())


def test_a_prevalence_is_parsed_in_any_order_to_the_order_of_the_labels():
    found = parse_prevalence(" metastatic = 0.2, benign=0.7,lymphoma=.1 ", CLASSES)
    np.testing.assert_allclose(found, SHARES)
    assert parse_prevalence("benign=0.333,lymphoma=0.333,metastatic=0.333", CLASSES).sum() == pytest.approx(1)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("benign=0.7,lymphoma=0.1,metastatic=0.3", "the shares sum to 1.1; expected 1"),
        ("benign=0.7,lymphoma=0.3", "no share of class 'metastatic'"),
        ("benign=0.7,lymphom=0.1,metastatic=0.2", "lymphom: unknown class(.|\n)*Did you mean 'lymphoma'"),
        ("benign=0.7,benign=0.1,metastatic=0.2", "'benign' is given twice"),
        ("benign=0,lymphoma=0.5,metastatic=0.5", "benign=0: the share is no number above 0"),
        ("benign=most,lymphoma=0.5,metastatic=0.5", "benign=most: the share is no number"),
        ("0.7,0.1,0.2", "0.7: is not of the form CLASS=SHARE"),
        (",", "no share of class 'benign'"),
    ],
)
def test_a_prevalence_that_is_none_is_refused_with_an_example(text, message):
    with pytest.raises(SettingsError, match=message) as refusal:
        parse_prevalence(text, CLASSES)
    assert "Known: benign" in str(refusal.value) or "--prevalence benign=0.7,lymphoma=0.15" in str(refusal.value)
