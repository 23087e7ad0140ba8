import numpy as np
import pytest

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.probabilities.conformal import cross_conformal_sets, split_sets
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
def test_a_class_stays_while_its_score_is_below_the_other_folds_quantile(method):
    """The usual statement: the ceil((n + 1)(1 - alpha))-th smallest of n scores of that class."""
    predictions, alpha = model(), 0.2
    found = cross_conformal_sets(predictions, method=method, alpha=alpha).member
    probs, folds, labels = predictions.probs, predictions.folds, predictions.labels
    for fold in range(5):
        for c in range(3):
            scores = sorted(slow_score(method, p, c) for p in probs[(folds != fold) & (labels == c)])
            rank = int(np.ceil((len(scores) + 1) * (1 - alpha) - 1e-9))
            limit = scores[rank - 1] if rank <= len(scores) else np.inf
            for row in np.flatnonzero(folds == fold):
                assert found[row, c] == (slow_score(method, probs[row], c) <= limit)


@pytest.mark.parametrize("method", ["lac", "aps"])
@pytest.mark.parametrize("alpha", [0.05, 0.1, 0.3])
def test_every_class_is_covered_as_often_as_promised(method, alpha):
    coverage = cross_conformal_sets(model(n=20_000), method=method, alpha=alpha).coverage()["coverage"]
    np.testing.assert_allclose(coverage, 1 - alpha, atol=0.015)


def test_coverage_table_counts_sizes():
    sets = cross_conformal_sets(model())
    table = sets.coverage().set_index("class")
    assert table.index.tolist() == [*CLASSES, "all"]
    assert (table["single"] + table["several"] + table["empty"] == table["n"]).all()
    assert table.loc["all", "mean_size"] == pytest.approx(sets.member.sum() / 60)


def test_undecided_patients_are_those_without_exactly_one_class():
    sets = cross_conformal_sets(model())
    table = sets.undecided()
    size = dict(zip(sets.predictions.patients, sets.member.sum(axis=1), strict=True))
    assert set(table["patient_id"]) == {patient for patient, n in size.items() if n != 1}
    for patient, names in zip(table["patient_id"], table["set"], strict=True):
        assert len(names.split(" / ")) == size[patient]
    assert table["size"].tolist() == [size[patient] for patient in table["patient_id"]]


def test_a_better_model_leaves_fewer_patients_undecided():
    left = [len(cross_conformal_sets(model(n=400, skill=skill)).undecided()) for skill in (0.5, 3.0)]
    assert left[1] < left[0]


def test_one_fold_is_refused():
    one = Predictions(CLASSES, model().table.assign(fold=0))
    with pytest.raises(PredictionsError, match="at least 2 folds"):
        cross_conformal_sets(one)


@pytest.mark.parametrize("method", ["lac", "aps"])
def test_split_sets_take_their_quantiles_from_the_folds_inner_patients(method):
    predictions, inner, alpha = model(), model(n=400, seed=1), 0.1
    found = split_sets(predictions, inner, method=method, alpha=alpha).member
    for fold in range(5):
        for c in range(3):
            known = inner.probs[(inner.folds == fold) & (inner.labels == c)]
            scores = sorted(slow_score(method, p, c) for p in known)
            limit = scores[int(np.ceil((len(scores) + 1) * (1 - alpha) - 1e-9)) - 1]
            own = predictions.folds == fold
            within = [slow_score(method, p, c) <= limit for p in predictions.probs[own]]
            assert found[own, c].tolist() == within


def test_split_coverage_falls_where_inner_patients_flatter_the_model():
    """It is measured on patients who set no threshold: cross-conformal coverage stays at 0.9 whatever the model."""
    predictions, flattering = model(n=4000, skill=0.5), model(n=4000, skill=4, seed=1)
    assert split_sets(predictions, flattering).coverage()["coverage"].max() < 0.7
    assert cross_conformal_sets(predictions).coverage()["coverage"].min() > 0.87


def test_split_sets_need_nine_inner_patients_of_each_class_and_fold():
    inner = Predictions(CLASSES, model(n=400, seed=1).table)
    of_class = inner.table.query("fold == 2 and label == 1").index
    enough = Predictions(CLASSES, inner.table.drop(index=of_class[9:]))
    assert split_sets(model(), enough).member.any()
    with pytest.raises(PredictionsError, match=r"need 9 .* fold 2 has 8 of class 'lymphoma'"):
        split_sets(model(), Predictions(CLASSES, inner.table.drop(index=of_class[8:])))


def test_a_class_that_stands_in_one_fold_only_is_refused():
    table = model().table.query("label != 1 or fold == 0")
    with pytest.raises(PredictionsError, match="'lymphoma' has 0"):
        cross_conformal_sets(Predictions(CLASSES, table))


def of_nodes(n: int, seed: int) -> Predictions:
    """Patients with one to three nodes of a class, which look alike."""
    rng = np.random.default_rng(seed)
    owners = np.repeat(np.arange(n), rng.integers(1, 4, n))
    labels = (np.arange(n) % 3)[owners]
    noise = rng.normal(size=(n, 3))[owners] + 0.5 * rng.normal(size=(len(owners), 3))
    names = [f"P{owner:05d}::{node:05d}" for node, owner in enumerate(owners)]
    return predictions_from_logits(CLASSES, names, owners % 5, labels, noise + 1.5 * np.eye(3)[labels])


def test_sets_hold_the_classes_of_all_nodes_of_a_patient_as_often_as_promised():
    predictions = of_nodes(6000, 0)
    sets = cross_conformal_sets(predictions, alpha=0.1)
    table = sets.coverage().set_index("class")
    assert table.loc["all", "n"] == 6000
    np.testing.assert_allclose(table["coverage"], 0.9, atol=0.015)
    held = sets.member[np.arange(len(predictions.labels)), predictions.labels]
    assert held.mean() > 0.91  # of nodes, more


def test_the_worst_node_of_a_patient_sets_the_threshold():
    predictions = of_nodes(60, 1)
    labels, probs, owners = predictions.labels, predictions.probs, predictions.clusters
    found = cross_conformal_sets(predictions, alpha=0.2).member
    others = predictions.folds != 0
    worst = [1 - probs[others & (labels == 1) & (owners == i), 1].min() for i in set(owners[others & (labels == 1)])]
    rank = int(np.ceil((len(worst) + 1) * 0.8 - 1e-9))
    np.testing.assert_array_equal(found[~others, 1], 1 - probs[~others, 1] <= sorted(worst)[rank - 1])


def test_split_sets_need_enough_inner_patients_not_nodes():
    held, inner = of_nodes(60, 2), of_nodes(24, 3)
    inner = Predictions(CLASSES, inner.table.assign(fold=0))
    held = Predictions(CLASSES, held.table.assign(fold=0))
    with pytest.raises(PredictionsError, match="fold 0 has 8 of class 'benign'"):
        split_sets(held, inner, alpha=0.1)
