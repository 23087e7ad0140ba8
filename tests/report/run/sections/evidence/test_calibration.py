from dataclasses import replace

import numpy as np
import pytest

from fusion_ln.evaluation.probabilities.calibration import reliability
from fusion_ln.metrics import score
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.evidence.calibration import CALIBRATED, UNCALIBRATED, build, by_stage


@pytest.fixture(scope="module")
def section(report):
    return build(report)


def test_both_stages_of_every_model_stand_side_by_side(results, section):
    assert set(by_stage(results.models, reliability)["probabilities"]) == {UNCALIBRATED, CALIBRATED}
    scores = section.tables["calibrated_scores"].table.set_index(["model", "probabilities"])
    for model in results.models:
        for stage, predictions in ((UNCALIBRATED, model.predictions), (CALIBRATED, model.calibrated.predictions)):
            expected = score(predictions.labels, predictions.probs, predictions.classes)
            assert scores.loc[(model.name, stage), "auc_ovr"] == expected["auc_ovr"][0]


def test_the_written_maps_give_the_calibrated_probabilities(results, section):
    """Who has the tables can compute them: softmax of the map times the centred log probabilities plus offsets."""
    model, maps = results.main, section.tables["calibration_maps"].table
    own, classes = maps[maps["model"] == model.name], model.predictions.classes
    for fold in np.unique(model.predictions.folds):
        part, rows = model.predictions.folds == fold, own[own["fold"] == fold]
        logs = np.log(model.predictions.probs[part])
        logs -= logs.mean(axis=1, keepdims=True)
        logits = logs @ rows[[f"from_{name}" for name in classes]].to_numpy().T + rows["offset"].to_numpy()
        probs = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        np.testing.assert_allclose(probs, model.calibrated.predictions.probs[part], atol=1e-6)


def test_a_stacked_fusion_keeps_its_probabilities_and_is_named(results, section):
    """A map learnt from the patients that it was fitted to would make it too sure."""
    assert section.values["stacked"] == []
    learnt = ({"coefficients": [[0.0] * 9] * 3, "intercept": [0.0] * 3},) * results.cohort.n_folds
    stacked = replace(results.main, record=results.main.record.model_copy(update={"learnt": learnt}))
    assert stacked.is_stacked
    np.testing.assert_allclose(stacked.calibrated.predictions.probs, stacked.predictions.probs, atol=1e-7)


def test_without_inner_predictions_calibration_is_left_out_with_the_reason(cohort, maker, tmp_path):
    run = maker.baseline("2d")
    run.inner_predictions.unlink()
    section = build(Report(read_results([run], cohort), tmp_path, "Title"))
    assert not section.tables
    assert not section.plates
    [reason] = section.left_out
    assert "no inner validation predictions" in reason


def test_a_fold_that_teaches_no_class_leaves_the_model_raw_with_the_reason(results):
    model = results.main
    inner = replace(model.inner, table=model.inner.table.query("fold != 2 or label != 1"))
    bare = replace(model, inner=inner)
    assert bare.calibrated is None
    assert "inner validation of fold 2: class 'lymphoma' has 0" in bare.uncalibrated
    assert bare.calibrated_or_raw is model.predictions
