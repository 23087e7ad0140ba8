import numpy as np
import pytest

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.probabilities.conformal import conformal_sets
from fusion_ln.predictions import Predictions, predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def model(n: int = 60, skill: float = 1.5, seed: int = 0) -> Predictions:
    rng = np.random.default_rng(seed)
    labels = rng.choice(3, n, p=[0.3, 0.2, 0.5])
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[labels]
    return predictions_from_logits(CLASSES, [f"P{i:04d}" for i in range(n)], np.arange(n) % 5, labels, logits)


def slow_score(method: str, probs: np.ndarray, c: int) -> float:
    if method == "lac":
        return 1 - probs[c]
    return sum(p for p in probs if p > probs[c]) + probs[c] / 2


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_a_class_stays_while_its_score_is_below_the_quantile_of_the_other_folds(method):
    """The usual statement: the ceil((n + 1)(1 - alpha))-th smallest of n scores of that class."""
    predictions, alpha = model(), 0.2
    found = conformal_sets(predictions, method=method, alpha=alpha).member
    for row, fold in enumerate(predictions.folds):
        for c in range(3):
            others = (predictions.folds != fold) & (predictions.labels == c)
            scores = sorted(slow_score(method, p, c) for p in predictions.probs[others])
            rank = int(np.ceil((len(scores) + 1) * (1 - alpha) - 1e-9))
            limit = scores[rank - 1] if rank <= len(scores) else np.inf
            assert found[row, c] == (slow_score(method, predictions.probs[row], c) <= limit)


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_every_class_is_covered_as_often_as_promised(method, alpha):
    coverage = conformal_sets(model(n=20_000), method=method, alpha=alpha).coverage()["coverage"]
    np.testing.assert_allclose(coverage, 1 - alpha, atol=0.015)


def test_coverage_table_counts_sizes():
    sets = conformal_sets(model())
    table = sets.coverage().set_index("class")
    assert table.index.tolist() == [*CLASSES, "all"]
    assert (table["single"] + table["several"] + table["empty"] == table["n"]).all()
    assert table.loc["all", "mean_size"] == pytest.approx(sets.member.sum() / 60)


def test_undecided_patients_are_those_without_exactly_one_class():
    sets = conformal_sets(model())
    table = sets.undecided()
    size = dict(zip(sets.predictions.patients, sets.member.sum(axis=1), strict=True))
    assert set(table["patient_id"]) == {patient for patient, n in size.items() if n != 1}
    for patient, names in zip(table["patient_id"], table["set"], strict=True):
        assert len(names.split(" / ")) == size[patient]
    assert table["size"].tolist() == [size[patient] for patient in table["patient_id"]]


def test_a_better_model_leaves_fewer_patients_undecided():
    left = [len(conformal_sets(model(n=400, skill=skill)).undecided()) for skill in (0.5, 3.0)]
    assert left[1] < left[0]


def test_one_fold_is_refused():
    one = Predictions(CLASSES, model().table.assign(fold=0))
    with pytest.raises(PredictionsError, match="at least 2 folds"):
        conformal_sets(one)


def test_a_class_that_stands_in_one_fold_only_is_refused():
    table = model().table.query("label != 1 or fold == 0")
    with pytest.raises(PredictionsError, match="'lymphoma' has 0"):
        conformal_sets(Predictions(CLASSES, table))
