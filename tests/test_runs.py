import pytest

from fusion_ln.errors import RunError
from fusion_ln.records import BaselineRecord, PretrainingRecord, TaskSummaries, new_origin
from fusion_ln.runs import RunFolder, weight_file
from fusion_ln.settings import BaselineSettings, FitSettings, PretrainSettings


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
    return PretrainingRecord(settings=PretrainSettings(), cohort=tasks, simulated=True, cohort_paths=(), **new_origin())


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


def test_a_folder_with_other_files_is_not_claimed(cohort, run):
    run.root.mkdir(parents=True)
    (run.root / "thesis.txt").write_text("years of work")
    with pytest.raises(RunError, match="not empty and not a run"):
        run.claim(baseline_record(cohort))


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
    with pytest.raises(RunError, match="not a pre-training"):
        weight_file(run.root)
