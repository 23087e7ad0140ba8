import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from fusion_ln.cohort.folds import draw_folds
from fusion_ln.cohort.phantom.patients import draw_present
from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.presence import audit_presence, count_views, pattern_of, same_pattern_auc
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def draw(seed, link, n=180):
    """Views, labels and folds of simulated patients, as `cohort phantom --missing 0.3 --missing-link` draws them."""
    rng = np.random.default_rng(seed)
    labels = rng.permutation(np.resize([0, 1, 2, 2], n))
    patients = pd.DataFrame({"patient_id": [f"P{i:03d}" for i in range(n)], "label": labels})
    present = draw_present(labels, 0.3, link, rng)
    views = pd.DataFrame(present.astype(int), columns=["2d", "cdfi", "elastic"], index=patients["patient_id"])
    return views, labels, draw_folds(patients, seed=seed)["fold"].to_numpy()


@pytest.mark.parametrize(("link", "found"), [(0.0, 0), (0.6, 5)])
def test_a_planted_link_is_found_in_every_seed_and_none_where_none_is(link, found):
    audits = [audit_presence(*draw(s, link), CLASSES, n_permutations=199, n_resamples=50) for s in range(5)]
    assert sum(audit.linked for audit in audits) == found


def test_the_audit_is_ridge_regression_by_the_folds():
    views, labels, folds = draw(1, 0.4, n=60)
    scores = np.zeros((60, 3))
    for fold in range(5):
        training, held_out = folds != fold, folds == fold
        scaler = StandardScaler().fit(views[training])
        model = Ridge(alpha=1.0).fit(scaler.transform(views[training]), np.eye(3)[labels[training]])
        scores[held_out] = model.predict(scaler.transform(views[held_out])) - model.intercept_
    expected = np.mean([roc_auc_score(labels == c, scores[:, c].round(12)) for c in range(3)])
    audit = audit_presence(views, labels, folds, CLASSES, n_permutations=9, n_resamples=50)
    assert audit.auc == pytest.approx(expected)
    assert audit.ci_low < audit.auc < audit.ci_high
    assert audit.patterns["patients"].sum() == 60


def test_the_auc_of_chance_is_that_of_other_orders_of_the_classes():
    """Held-out patients of a class are scored by others of it who leave fewer of it: chance lies below 0.5."""
    views, labels, folds = draw(1, 0.0, n=60)
    rng = np.random.default_rng(3)
    orders = [audit_presence(views, rng.permutation(labels), folds, CLASSES, n_permutations=1) for _ in range(150)]
    chance = audit_presence(views, labels, folds, CLASSES, n_permutations=300).chance
    assert chance == pytest.approx(np.mean([audit.auc for audit in orders]), abs=0.015)
    assert chance < 0.49


def test_the_same_pictures_of_all_patients_leave_nothing_to_test():
    views, labels, folds = draw(0, 0.5)
    assert audit_presence(views.clip(lower=1), labels, folds, CLASSES) is None


def test_the_number_of_pictures_may_be_the_link():
    views, labels, folds = draw(0, 0.0)
    views = views.clip(lower=1)
    views["2d"] += labels
    audit = audit_presence(views, labels, folds, CLASSES, n_permutations=199, n_resamples=50)
    assert audit.columns == ("number of 2d pictures",)
    assert audit.linked


def test_a_class_of_one_patient_is_refused():
    views, labels, folds = draw(0, 0.0, n=20)
    labels = np.where(np.arange(20) == 3, 1, 0)
    with pytest.raises(PredictionsError, match="lymphoma"):
        audit_presence(views, labels, folds, CLASSES[:2])


def test_same_pattern_auc_matches_a_count_of_pairs(rng):
    labels, patterns = rng.integers(0, 3, 40), rng.choice(["2d", "2d+cdfi"], 40)
    logits = rng.integers(0, 3, (40, 3)).astype(float)  # coarse, so ties happen
    predictions = predictions_from_logits(CLASSES, [f"P{i:02d}" for i in range(40)], np.zeros(40), labels, logits)
    probs = predictions.probs.round(12)

    def count(same):
        aucs, used = [], 0
        for c in range(3):
            pairs = [
                (probs[i, c] > probs[j, c]) + 0.5 * (probs[i, c] == probs[j, c])
                for i in np.flatnonzero(labels == c)
                for j in np.flatnonzero(labels != c)
                if not same or patterns[i] == patterns[j]
            ]
            aucs.append(np.mean(pairs))
            used += len(pairs)
        return np.mean(aucs), used

    found = same_pattern_auc(predictions, patterns, n_resamples=100)
    (plain, every), (within, used) = count(False), count(True)
    assert (found.auc, found.same, found.share) == pytest.approx((plain, within, used / every))
    assert found.same_low < found.same < found.same_high


def test_a_model_that_knows_the_pattern_alone_is_a_coin_within_it():
    views, labels, folds = draw(0, 0.9)
    patterns = pattern_of(views).to_numpy()
    shares = pd.crosstab(patterns, labels, normalize="index").loc[patterns].to_numpy()
    predictions = predictions_from_logits(CLASSES, views.index.tolist(), folds, labels, np.log(shares + 1e-3))
    found = same_pattern_auc(predictions, patterns, n_resamples=50)
    assert found.auc > 0.6
    assert found.same == found.same_low == found.same_high == 0.5


def test_patients_without_a_picture_are_counted_too():
    images = pd.DataFrame({"patient_id": ["b", "b", "a"], "modality": ["2d", "2d", "cdfi"]})
    views = count_views(images, ["a", "b", "c"], ["2d", "cdfi", "elastic"])
    assert views.to_numpy().tolist() == [[0, 1, 0], [2, 0, 0], [0, 0, 0]]
    assert pattern_of(views).tolist() == ["cdfi", "2d", "none"]
