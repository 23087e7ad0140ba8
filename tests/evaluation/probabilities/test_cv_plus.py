import numpy as np
import pytest
from scipy.special import softmax

from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("a", "b", "c")


@pytest.fixture
def study(rng):
    """Out-of-fold predictions of 40 patients in 3 folds, and 5 new patients' probabilities by each fold's model."""
    labels, folds = np.arange(40) % 3, rng.permutation(np.arange(40) % 3)
    logits = rng.normal(size=(40, 3)) + 2 * np.eye(3)[labels]
    held_out = predictions_from_logits(CLASSES, [f"P{i:02}" for i in range(40)], folds, labels, logits)
    return held_out, softmax(rng.normal(size=(3, 5, 3)), axis=2)


def test_p_values_count_the_patients_whom_a_class_fits_no_better(study):
    """Patient by patient, as Barber et al. (2021) write it."""
    held_out, new = study
    found = FoldScores.of(held_out).p_values(new)
    for patient in range(5):
        for c in range(3):
            own = [i for i in range(40) if held_out.labels[i] == c]
            worse = sum(1 - held_out.probs[i, c] >= 1 - new[held_out.folds[i], patient, c] for i in own)
            assert found[patient, c] == pytest.approx((worse + 1) / (len(own) + 1))


def test_scores_come_in_an_order_that_tells_of_no_patient(study):
    held_out, _ = study
    scores = FoldScores.of(held_out)
    assert np.lexsort((scores.scores, scores.labels, scores.folds)).tolist() == list(range(40))
