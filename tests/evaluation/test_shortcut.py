import numpy as np
import pytest

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.shortcut import (
    FRAME_ONLY,
    GREYED,
    NODE_HIDDEN,
    PROBE,
    TEXTS_PAINTED,
    UNALTERED,
    assess_shortcuts,
    title,
)
from fusion_ln.predictions import predictions_from_logits

CLASSES = ("benign", "lymphoma", "metastatic")


def predict(rng, skill, n=150, lean=0.0):
    """Predictions that know ``skill`` of the truth; each fold's model leans to a class of its own."""
    labels, folds = np.arange(n) % 3, np.arange(n) % 5
    logits = rng.normal(size=(n, 3)) + skill * np.eye(3)[labels] + lean * rng.normal(size=(5, 3))[folds]
    return predictions_from_logits(CLASSES, [f"P{i:03d}" for i in range(n)], folds, labels, logits)


def assess(rng, *, hidden=0.0, frame=0.0, painted=2.0, probe=0.0, lean=0.0):
    predictions = {UNALTERED: 2.0, NODE_HIDDEN: hidden, FRAME_ONLY: frame, TEXTS_PAINTED: painted, PROBE: probe}
    return assess_shortcuts(
        {name: predict(rng, skill, lean=lean) for name, skill in predictions.items()}, n_resamples=400
    )


@pytest.mark.parametrize(
    ("knows", "caught"),
    [({"hidden": 1.0}, NODE_HIDDEN), ({"frame": 1.0}, FRAME_ONLY), ({"painted": 0.5}, TEXTS_PAINTED)],
)
def test_each_test_catches_on_its_own(rng, knows, caught):
    assessment = assess(rng, **knows)
    assert assessment.relies
    assert assessment.caught == (caught,)


def test_a_model_that_needs_the_node_is_not_caught(rng):
    assessment = assess(rng)
    assert not assessment.relies
    assert assessment.caught == ()
    assert not assessment.frame_tells


def test_a_frame_that_tells_is_not_held_against_the_model(rng):
    assessment = assess(rng, probe=2.0)
    assert assessment.frame_tells
    assert not assessment.relies


def test_a_shortcut_is_found_though_the_models_of_folds_lean_differently(rng):
    """Strange pictures shift each model as a whole; pooled as they are, the shifts would hide what it tells."""
    assert assess(rng, frame=1.2, lean=4.0).caught == (FRAME_ONLY,)


def test_models_that_tell_nothing_are_hardly_ever_caught():
    """Three tests of 60 patients each; the rate itself is measured by experiments/evidence/shortcut_control.py."""
    alarms = 0
    for seed in range(25):
        rng = np.random.default_rng(seed)
        predictions = {name: predict(rng, 0.0, n=60, lean=1.0) for name in (NODE_HIDDEN, FRAME_ONLY)}
        unaltered = predict(rng, 2.0, n=60)
        logits = unaltered.logits + 0.3 * rng.normal(size=(60, 3))  # painting over shakes it a little
        painted = predictions_from_logits(CLASSES, unaltered.patients, unaltered.folds, unaltered.labels, logits)
        alarms += assess_shortcuts(
            {UNALTERED: unaltered, **predictions, TEXTS_PAINTED: painted}, n_resamples=100
        ).relies
    assert alarms <= 1


def test_the_table_holds_paired_changes(rng):
    predictions = {UNALTERED: predict(rng, 2.0), NODE_HIDDEN: predict(rng, 0.0), GREYED: predict(rng, 1.0)}
    table = assess_shortcuts(predictions, n_resamples=200).table.set_index("alteration")
    assert table.loc[GREYED, "change"] == pytest.approx(table.loc[GREYED, "auc"] - table.loc[UNALTERED, "auc"])
    assert table.loc[GREYED, "change_low"] < table.loc[GREYED, "change"] < table.loc[GREYED, "change_high"]
    assert table["caught"].tolist() == ["", "no", ""]  # colours are the measurement: the rule tests nothing


def test_a_class_of_one_patient_is_refused(rng):
    one = predict(rng, 1.0, n=4)
    with pytest.raises(PredictionsError, match="at least 2"):
        assess_shortcuts({UNALTERED: one, NODE_HIDDEN: one})


def test_every_alteration_has_a_title():
    assert title(NODE_HIDDEN) == "Node hidden"
    assert title("swapped-cdfi") == "Colour Doppler of another patient"
