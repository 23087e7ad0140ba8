import json

import numpy as np
import pytest
from scipy.special import softmax
from sklearn import metrics as sk

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.folds import describe_folds, score_folds
from fusion_ln.metrics import METRICS, confusion, score
from fusion_ln.predictions import Predictions, predictions_from_logits
from fusion_ln.resamples import equal_mass_bins

CLASSES = ("benign", "lymphoma", "metastatic")


def sample(n: int = 90, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels and coarse probabilities, so that ties happen."""
    rng = np.random.default_rng(seed)
    labels = np.concatenate([[0, 0, 1, 1, 2, 2], rng.integers(0, 3, n - 6)])
    probs = rng.integers(1, 6, (n, 3)) + 3.0 * np.eye(3)[labels] * rng.integers(0, 2, (n, 1))
    return labels, probs / probs.sum(axis=1, keepdims=True)


def predictions(labels: np.ndarray, logits: np.ndarray, folds: np.ndarray) -> Predictions:
    patients = [f"P{i:03d}" for i in range(len(labels))]
    return predictions_from_logits(CLASSES, patients, folds, labels, logits)


def test_every_metric_agrees_with_scikit_learn():
    labels, probs = sample()
    predicted = probs.argmax(axis=1)
    one_hot = np.eye(3)[labels]
    expected = {
        "auc_ovr": sk.roc_auc_score(labels, probs, multi_class="ovr", average="macro"),
        "auc_ovo": sk.roc_auc_score(labels, probs, multi_class="ovo", average="macro"),
        "accuracy": sk.accuracy_score(labels, predicted),
        "precision": sk.precision_score(labels, predicted, average="macro"),
        "recall": sk.recall_score(labels, predicted, average="macro"),
        "f1": sk.f1_score(labels, predicted, average="macro"),
        "mcc": sk.matthews_corrcoef(labels, predicted),
        "brier": sk.brier_score_loss(labels, probs, scale_by_half=False),
        "log_loss": sk.log_loss(labels, probs),
    }
    for c, name in enumerate(CLASSES):
        expected[f"auc:{name}"] = sk.roc_auc_score(one_hot[:, c], probs[:, c])
        expected[f"precision:{name}"] = sk.precision_score(labels, predicted, labels=[c], average="macro")
        expected[f"recall:{name}"] = sk.recall_score(labels, predicted, labels=[c], average="macro")
        expected[f"f1:{name}"] = sk.f1_score(labels, predicted, labels=[c], average="macro")
    found = {name: float(value[0]) for name, value in score(labels, probs, CLASSES).items()}
    assert set(found) == {*expected, "ece"}
    assert {name: found[name] for name in expected} == pytest.approx(expected, abs=1e-12)


def test_a_certain_error_adds_to_the_log_loss_as_a_chance_of_1e_15_does():
    labels, probs = np.array([0, 1, 2, 2]), np.array([[1.0, 0, 0], [0, 1, 0], [0, 0, 1], [1, 0, 0]])
    assert score(labels, probs, CLASSES)["log_loss"] == pytest.approx(-np.log(1e-15) / 4)


def test_every_value_of_the_metrics_has_its_own_name_and_title():
    names = [name for metric in METRICS for name in metric.titles(CLASSES)]
    assert names == list(score(*sample(), CLASSES))
    titles = [title for metric in METRICS for title in metric.titles(CLASSES).values()]
    assert len(set(titles)) == len(titles)


def test_better_predictions_score_better_in_the_direction_of_every_metric():
    labels = np.repeat([0, 1, 2], 20)
    noise = np.random.default_rng(4).normal(size=(60, 3))
    better, worse = (score(labels, softmax(skill * np.eye(3)[labels] + noise, axis=1), CLASSES) for skill in (4.0, 1.0))
    for metric in METRICS:
        for name in metric.titles(CLASSES):
            assert (better[name] < worse[name]) == metric.lower_is_better, name


def test_auc_ranks_other_scores_where_they_are_given():
    labels, probs = sample()
    other = sample(seed=5)[1]
    found = score(labels, probs, CLASSES, np.ones((1, len(labels))), ranking=other)
    assert found["auc_ovr"] == score(labels, other, CLASSES)["auc_ovr"]
    assert found["brier"] == score(labels, probs, CLASSES)["brier"]


def test_scores_by_fold_are_those_of_the_folds_alone():
    labels, probs = sample()
    folds = np.arange(len(labels)) % 2
    held = predictions(labels, np.log(probs), folds)
    alone = score(labels[folds == 1], held.probs[folds == 1], CLASSES)
    assert score_folds(held)[1] == pytest.approx({name: value[0] for name, value in alone.items()})


def test_auc_matches_its_definition():
    """AUC = chance that a positive patient outranks a negative one, ties counting half."""
    labels, probs = sample()
    for c, name in enumerate(CLASSES):
        pairs = [(p > q) + 0.5 * (p == q) for p in probs[labels == c, c] for q in probs[labels != c, c]]
        assert score(labels, probs, CLASSES)[f"auc:{name}"][0] == pytest.approx(np.mean(pairs))


def test_calibration_error_is_the_mean_gap_between_confidence_and_accuracy():
    labels, probs = sample(40)
    confidence, right = probs.max(axis=1), probs.argmax(axis=1) == labels
    bins = equal_mass_bins(confidence)
    gaps = [
        np.sum(bins == b) * abs(np.mean(confidence[bins == b]) - np.mean(right[bins == b])) for b in np.unique(bins)
    ]
    assert score(labels, probs, CLASSES)["ece"][0] == pytest.approx(np.sum(gaps) / 40)


def test_bins_hold_equally_many_and_equal_values_share_one():
    rng = np.random.default_rng(0)
    assert np.bincount(equal_mass_bins(rng.random(200))).tolist() == [20] * 10
    tied = rng.integers(0, 3, 50).astype(float)
    assert all(len(set(equal_mass_bins(tied)[tied == value])) == 1 for value in range(3))


def test_a_weighted_resample_scores_as_the_repeated_patients_do():
    labels, probs = sample()
    rng = np.random.default_rng(1)
    counts = rng.multinomial(len(labels), np.full(len(labels), 1 / len(labels)), size=4)
    found = score(labels, probs, CLASSES, counts)
    for row, count in enumerate(counts):
        alone = score(np.repeat(labels, count), np.repeat(probs, count, axis=0), CLASSES)
        del alone["ece"]  # its bins are those of the sample
        assert {name: found[name][row] for name in alone} == pytest.approx({n: v[0] for n, v in alone.items()})


def test_many_patients_and_resamples_are_scored_in_blocks():
    labels, probs = sample(3000)
    counts = np.random.default_rng(2).poisson(1, (200, 3000))
    found = score(labels, probs, CLASSES, counts)
    weights = counts[-1]
    expected = sk.roc_auc_score(labels == 1, probs[:, 1], sample_weight=weights)
    assert found["auc:lymphoma"][-1] == pytest.approx(expected)


def test_a_class_that_is_never_predicted_has_precision_and_recall_zero():
    labels = np.array([0, 0, 1, 1, 2, 2])
    found = score(labels, np.tile([0.6, 0.3, 0.1], (6, 1)), CLASSES)
    assert (found["precision:lymphoma"], found["recall:lymphoma"], found["mcc"]) == (0, 0, 0)
    assert found["auc_ovr"] == 0.5


def test_a_class_without_patients_is_refused_by_name():
    with pytest.raises(PredictionsError, match="lymphoma"):
        score(np.array([0, 0, 2]), np.full((3, 3), 1 / 3), CLASSES)


def test_confusion_has_true_classes_in_rows():
    labels, probs = sample()
    expected = sk.confusion_matrix(labels, probs.argmax(axis=1), labels=[0, 1, 2])
    np.testing.assert_array_equal(confusion(labels, probs, 3), expected)


def test_describe_is_json_without_nan_even_where_a_fold_lacks_a_class():
    labels = np.array([0, 1, 2, 0, 1, 1, 0, 0])
    folds = np.array([0, 0, 0, 0, 0, 1, 1, 1])  # fold 1 has no metastasis
    logits = np.random.default_rng(3).normal(size=(8, 3))
    found = json.loads(json.dumps(describe_folds(predictions(labels, logits, folds), []), allow_nan=False))
    assert [fold["n"] for fold in found["folds"]] == [5, 3]
    assert found["folds"][1]["auc_ovr"] is None
    assert found["folds"][1]["recall:metastatic"] is None
    assert found["folds"][1]["auc:benign"] is not None
    assert np.sum(found["confusion"]["folds"], axis=0).tolist() == found["confusion"]["pooled"]
    assert found["pooled"]["accuracy"] == np.trace(found["confusion"]["pooled"]) / 8


def test_describe_works_on_a_fold_of_one_class():
    labels = np.array([0, 1, 2, 1, 1])
    found = describe_folds(predictions(labels, np.zeros((5, 3)), np.array([0, 0, 0, 1, 1])), [])
    assert found["folds"][1]["auc:lymphoma"] is None
    assert found["folds"][1]["accuracy"] == 0
