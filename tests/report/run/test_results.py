import dataclasses
import shutil

import numpy as np
import pytest
from sklearn.metrics import recall_score

from fusion_ln.errors import RunError
from fusion_ln.predictions import Predictions, predictions_from_logits, write_predictions
from fusion_ln.report.run.reading import read_results
from fusion_ln.report.run.results import Results
from fusion_ln.report.run.sections.methods.procedure import skipped_patients
from fusion_ln.runs import RunFolder


def test_inner_validation_not_the_held_out_fold_chooses_the_best_single(cohort, maker):
    runs = [maker.baseline("2d"), maker.baseline("elastic")]
    honest = read_results(runs, cohort)
    assert honest.best_single.modalities == ("elastic",)

    held_out = honest.models[1].predictions  # ruin the held-out folds of elastography: the choice must not move
    ruined = (cohort.classes, held_out.patients, held_out.folds, held_out.labels, -held_out.logits)
    write_predictions(runs[1].predictions, predictions_from_logits(*ruined))
    assert read_results(runs, cohort).best_single.modalities == ("elastic",)

    inner = honest.models[1].inner
    ruined = (cohort.classes, inner.patients, inner.folds, inner.labels, -inner.logits)
    write_predictions(runs[1].inner_predictions, predictions_from_logits(*ruined))
    assert read_results(runs, cohort).best_single.modalities == ("2d",)


def test_the_held_out_fold_has_no_say_in_another_cohorts_weak_class(cohort, maker, monkeypatch):
    monkeypatch.setattr("fusion_ln.report.run.results.WEAK_CLASS", "of no cohort")
    model = read_results([maker.baseline("2d")], cohort).models[0]
    inner, held_out = model.inner, model.predictions
    recalls = recall_score(inner.labels, inner.probs.argmax(axis=1), average=None)
    expected = cohort.classes[recalls.argmin()]
    moved = np.roll(held_out.logits, 1, axis=1)
    ruined = (cohort.classes, held_out.patients, held_out.folds, held_out.labels, moved)
    for predictions in (held_out, predictions_from_logits(*ruined)):
        assert Results(cohort, (dataclasses.replace(model, predictions=predictions),)).weak_class == expected
    without = Results(cohort, (dataclasses.replace(model, inner=None),))
    assert without.weak_class == cohort.classes[np.bincount(held_out.labels).argmin()]


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_a_model_whose_inner_auc_is_unknown_is_never_the_best(cohort, maker, order):
    models = read_results([maker.baseline("2d"), maker.baseline("elastic")], cohort).models
    benign = models[1].inner.table[models[1].inner.labels == 0]
    unknown = dataclasses.replace(models[1], inner=Predictions(cohort.classes, benign))  # no AUC of a single class
    assert np.isnan(unknown.inner_auc)
    given = (models[0], unknown)
    results = Results(cohort, tuple(given[i] for i in order))
    assert results.best_single is models[0]
    assert [model.name for model in results.others] == ["baseline-elastic"]
    assert np.isfinite(results.difference(unknown, "auc_ovr").difference)


def test_the_fusion_of_the_headline_is_the_first_given(cohort, maker):
    baselines = [maker.baseline("2d"), maker.baseline("cdfi")]
    worse, better = maker.fusion("late-logit", gain=-1.0), maker.fusion("late-mean", gain=3.0)
    assert read_results([*baselines, worse, better], cohort).candidate.name == "fusion-late-logit"
    assert read_results([better, worse, *baselines], cohort).candidate.name == "fusion-late-mean"


def test_a_run_is_named_by_its_path_below_the_common_parent(cohort, maker, tmp_path):
    run = maker.baseline("2d")
    for backbone in ("resnet", "vit"):
        shutil.copytree(run.root, tmp_path / "many" / backbone / run.name)
    runs = [RunFolder(tmp_path / "many" / backbone / run.name) for backbone in ("resnet", "vit")]
    models = read_results(runs, cohort).models
    assert [m.name for m in models] == ["resnet/baseline-2d", "vit/baseline-2d"]
    assert [m.title for m in models] == ["Grey scale (2D) · resnet", "Grey scale (2D) · vit"]
    assert read_results(runs[:1], cohort).models[0].name == "baseline-2d"


def test_runs_of_another_cohort_are_refused_naming_both(maker, other_cohort):
    with pytest.raises(RunError, match=r"(?s)baseline-2d: made on another cohort.*phantom-30.*phantom-40"):
        read_results([maker.baseline("2d")], other_cohort)


def test_runs_on_other_folds_are_refused(cohort, maker):
    run = maker.baseline("2d")
    other = dataclasses.replace(cohort, folds=cohort.folds.assign(fold=(cohort.folds["fold"] + 1) % 5))
    with pytest.raises(RunError, match="made on other folds"):
        read_results([run], other)


def test_an_unfinished_run_is_refused_with_the_command_that_finishes_it(cohort, maker):
    run = maker.baseline("2d")
    run.predictions.unlink()
    with pytest.raises(RunError, match=r"(?s)unfinished.*fusionln run fusion"):
        read_results([run], cohort)


def test_a_patient_without_a_prediction_is_listed_with_the_reason(cohort, maker):
    absent = cohort.patients["patient_id"].iloc[4]
    images = cohort.images[(cohort.images["patient_id"] != absent) | (cohort.images["modality"] != "2d")]
    incomplete = dataclasses.replace(cohort, images=images)
    maker.cohort = incomplete
    results = read_results([maker.baseline("2d", without=(absent,)), maker.baseline("cdfi")], incomplete)
    listed = skipped_patients(results)
    assert listed.to_numpy().tolist() == [["baseline-2d", absent, "no picture: Grey scale (2D)"]]


def test_models_with_other_patients_are_compared_on_the_patients_of_both(cohort, maker):
    absent = tuple(cohort.patients["patient_id"].iloc[[0, 29]])
    single = maker.baseline("elastic", without=absent)
    maker.baselines.clear()
    maker.baseline("2d")
    results = read_results([single, maker.fusion()], cohort)
    assert (results.differences["patients"] == len(cohort.patients) - 2).all()
    assert np.isfinite(results.differences.query("metric == 'auc_ovr'")["ci_low"]).all()


def test_the_protocol_of_a_fusion_is_that_of_its_members(cohort, maker):
    paper = maker.baseline("2d", protocol="paper")
    models = read_results([paper, maker.fusion()], cohort).models
    assert [m.protocol for m in models] == ["paper", "paper"]


def test_a_run_of_a_cohort_is_known_by_content_not_by_name(cohort, maker):
    run = maker.baseline("2d")
    record = run.read_record()
    renamed = record.cohort.model_copy(update={"name": "renamed"})
    run.write_record(record.model_copy(update={"cohort": renamed}))
    assert len(read_results([run], cohort).models) == 1
