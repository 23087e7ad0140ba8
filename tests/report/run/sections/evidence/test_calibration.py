from fusion_ln.evaluation.probabilities.calibration import reliability
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.section import Report
from fusion_ln.report.run.sections.evidence.calibration import AFTER, BEFORE, build, by_stage, scale_models


def test_scaling_learns_from_inner_validation_and_leaves_the_predicted_class(results):
    scaled = scale_models(results, [])
    for model in results.models:
        predictions, temperatures = scaled[model.name]
        assert (predictions.probs.argmax(axis=1) == model.predictions.probs.argmax(axis=1)).all()
        assert len(temperatures) == results.cohort.n_folds
    assert set(by_stage(results, scaled, reliability)["stage"]) == {BEFORE, AFTER}


def test_without_inner_predictions_calibration_is_left_out_with_the_reason(cohort, maker, tmp_path):
    run = maker.baseline("2d")
    run.inner_predictions.unlink()
    section = build(Report(read_results([run], cohort), tmp_path, "Title"))
    assert not section.tables
    assert not section.plates
    [reason] = section.left_out
    assert "no inner validation predictions" in reason
