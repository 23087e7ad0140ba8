from dataclasses import replace
from pathlib import Path

import pytest

from fusion_ln.errors import RunError
from fusion_ln.models.weights.places import weight_file
from fusion_ln.records.kinds import BaselineRecord, LateFusionRecord, PretrainingRecord, TrainedFusionRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parts import TaskSummaries
from fusion_ln.runs import RunFolder, RunKey
from fusion_ln.settings.fusion import HeadSettings, LateSettings, TrainedFusionSettings
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import BaselineSettings, FitSettings


@pytest.fixture
def cohort(make_cohort):
    return make_cohort(20)


@pytest.fixture
def run(tmp_path) -> RunFolder:
    return RunFolder(tmp_path / "runs" / "baseline-2d")


def baseline_record(cohort, **fit) -> BaselineRecord:
    settings = BaselineSettings(modality="2d", fit=FitSettings(**fit))
    return BaselineRecord(settings=settings, cohort=cohort.describe(), **new_origin())


def pretraining_record(cohort) -> PretrainingRecord:
    tasks = TaskSummaries(tasks=(cohort.describe(),))
    return PretrainingRecord(settings=PretrainSettings(), cohort=tasks, simulated=True, **new_origin())


def test_a_free_folder_is_claimed_once_and_then_known(cohort, run):
    assert not run.claim(baseline_record(cohort))
    assert run.claim(baseline_record(cohort))


def test_a_claimed_folder_lists_every_setting_that_differs(cohort, run):
    run.claim(baseline_record(cohort))
    with pytest.raises(RunError, match=r"(?s)settings\.fit\.epochs: 10 there, 3 asked for.*settings\.fit\.lr: 0\.003"):
        run.claim(baseline_record(cohort, epochs=3, lr=0.1))


def test_a_claimed_folder_of_another_cohort_is_refused(cohort, run, make_cohort):
    run.claim(baseline_record(cohort))
    with pytest.raises(RunError, match=r"cohort\.fingerprint: "):
        run.claim(baseline_record(make_cohort(24, name="other")))


@pytest.mark.parametrize("make", [baseline_record, pretraining_record])
def test_a_run_goes_on_though_it_did_not_record_the_frame_of_its_cines(cohort, run, make):
    """An earlier version did not; where both tell it, it counts."""
    run.claim(make(cohort))
    of = [replace(cohort, details=cohort.details.model_copy(update={"frame": frame})) for frame in (3, 5)]
    assert of[0].describe().preparation.frame == 3
    assert run.claim(make(of[0]))
    run.write_record(make(of[0]))
    with pytest.raises(RunError, match=r"frame: 3 there, 5 asked for"):
        run.claim(make(of[1]))


def test_a_folder_with_other_files_is_not_claimed(cohort, run):
    run.root.mkdir(parents=True)
    (run.root / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not empty and not a run"):
        run.claim(baseline_record(cohort))


def test_a_table_of_predictions_without_a_run_is_named_as_what_compare_takes(run):
    run.root.mkdir(parents=True)
    run.predictions.write_bytes(b"")  # as in the folder of an evaluation
    with pytest.raises(RunError, match=r"(?s)is not a run.*takes its table alone, too: .*predictions\.parquet"):
        run.read_record()


def test_a_pretraining_has_no_prediction_record(cohort, run):
    run.write_record(pretraining_record(cohort))
    with pytest.raises(RunError, match="a pre-training, which predicts nothing"):
        run.read_prediction_record()


def test_weights_of_a_folder_are_those_of_a_finished_pretraining(cohort, run):
    run.write_record(pretraining_record(cohort))
    with pytest.raises(RunError, match="an unfinished pre-training"):
        weight_file(run.root)
    run.backbone.touch()
    assert weight_file(run.root) == run.backbone
    run.write_record(baseline_record(cohort))
    with pytest.raises(RunError, match=r"not a pre-training.*\n.*fusionln pretrain"):
        weight_file(run.root)
    run.record.unlink()
    with pytest.raises(RunError, match=r"a folder without run\.json.*\n.*fusionln pretrain"):
        weight_file(run.root)


def test_a_key_makes_a_folder_of_each_level_that_differs():
    key = RunKey("resnet10t", "pretrained", 3, "baseline-2d")
    assert key.folder([]) == Path("baseline-2d")
    assert key.folder({"seed", "weights", "backbone"}) == Path("resnet10t/pretrained/seed-3/baseline-2d")
    assert RunKey("resnet10t", "scratch", 3).folder({"seed"}) == Path("seed-3")


@pytest.mark.parametrize("weights", ["there/pretraining", "there/pretraining/backbone.safetensors"])
def test_a_key_comes_from_the_record_whatever_the_folder_is_called(cohort, weights):
    member = BaselineSettings(modality="2d", fit=FitSettings(weights=weights), seed=2)
    common = {"cohort": cohort.describe(), **new_origin()}
    fused = {"members": ("../a",), **common}
    late = LateSettings(head="late-mean", members={"2d": member})
    trained = TrainedFusionSettings(head="concat", members={"2d": member}, training=HeadSettings(), seed=5)
    records = {
        2: [BaselineRecord(settings=member, **common), LateFusionRecord(settings=late, **fused)],
        5: [TrainedFusionRecord(settings=trained, **fused)],
    }
    for seed, of_seed in records.items():
        for record in of_seed:
            assert RunKey.of_record(record, "x") == RunKey("resnet10t", "pretraining", seed, "x")
