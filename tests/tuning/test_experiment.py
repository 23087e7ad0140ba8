import json
import tomllib
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from tiny import CPU

from fusion_ln.errors import CohortError, RunError, SettingsError, StudyError
from fusion_ln.models.checkpoint import read_checkpoint
from fusion_ln.models.rehearsal import rehearse
from fusion_ln.predict.predictor import load_predictor
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.studies import StudySettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.training.experiment import run_experiment
from fusion_ln.training.experiment_file import ExperimentSettings, experiment_fits, read_experiment
from fusion_ln.training.room import TRIAL, RoomNeeded
from fusion_ln.tuning import experiment as tuning_experiment
from fusion_ln.tuning.experiment import Tuning, budget_of, tune
from fusion_ln.tuning.found import describe_tuning, found_settings, write_tuned
from fusion_ln.tuning.worker import Conditions

FIT = {"backbone": "test_resnet", "image_size": 32, "epochs": 1, "batch_size": 4, "head_width": 8}
HEAD = {"width": 8, "epochs": 1, "batch_size": 8, "copies": 1, "grid": 1}
EXPERIMENT = ExperimentSettings(
    name="tiny",
    question="Does tuning help?",
    fit=FIT | {"precision": "32-true"},
    head=HEAD,
    heads=["late-mean", "gated"],
    modalities=["2d", "elastic"],
    study=StudySettings(trials=2, objectives=("loss",)),
    space={"baseline": {"lr": {"low": 1e-4, "high": 1e-2, "log": True}}, "head": {"width": [8, 16], "grid": [1, 2]}},
)


def tuning_of(cohort, out, **changes):
    experiment = EXPERIMENT.model_copy(update=changes)
    return Tuning(experiment, cohort, next(iter(experiment_fits(experiment, "tiny").values())), out)


@pytest.fixture
def tuned(make_cohort, tmp_path):
    """A tuned experiment on two folds, its storage, and what was found."""
    cohort, out = make_cohort(24), tmp_path / "out"
    storage = str(out / "study.journal")
    tuning = tuning_of(cohort, out)
    tune(tuning, Conditions(storage, budget_of(EXPERIMENT), CPU))
    return tuning, storage, found_settings(EXPERIMENT, storage)


def test_a_tuned_experiment_runs_each_fold_with_the_settings_found(tuned, tmp_path):
    tuning, storage, found = tuned
    assert found.keys() == {"baseline-2d", "baseline-elastic", "fusion-gated"}
    assert len(found["fusion-gated"]["folds"]) == 2  # heads per fold, baselines pooled
    other = [{"width": 8, "grid": 1}, {"width": 16, "grid": 2}]  # so that the folds differ for sure
    file = write_tuned(EXPERIMENT, Path("tiny.toml"), tuning.out, found | {"fusion-gated": {"folds": other}})
    applied = read_experiment(file)
    assert applied.tuned["baseline-2d"] == found["baseline-2d"]
    runs = run_experiment(applied, tuning.cohort, experiment_fits(applied, "tuned"), tuning.out, CPU)
    names = [run.root.relative_to(tuning.out).as_posix() for run in runs]
    plain = ["baseline-2d", "baseline-elastic", "fusion-late-mean", "fusion-gated"]
    assert names == [f"tuned/{name}" for name in plain] + plain
    assert all(run.finished for run in runs)
    rate = found["baseline-2d"]["lr"]
    assert (
        read_checkpoint(runs[0].checkpoint(1)).settings.fit.lr
        == rate
        != read_checkpoint(runs[4].checkpoint(1)).settings.fit.lr
    )
    head = runs[3]
    assert head.read_record().settings.training.folds == tuple(other)
    loaded = load_predictor(head.root)
    assert [model.grid for model in loaded.model.models] == [1, 2]
    picture = tuning.cohort.picture_path(tuning.cohort.images_of("2d")["path"].iloc[0])
    assert len(loaded.predict_pictures({"2d": picture}).patients) == 1
    assert run_experiment(applied, tuning.cohort, experiment_fits(applied, "tuned"), tuning.out, CPU)  # kept
    assert "2 trials of each study" in describe_tuning(EXPERIMENT, storage)
    assert "a mild leak" in describe_tuning(EXPERIMENT, storage)


def test_another_trial_than_the_best_can_be_chosen(tuned):
    _, storage, _ = tuned
    numbers = dict.fromkeys(("tiny/baseline-2d", "tiny/baseline-elastic"), 1)
    second = found_settings(EXPERIMENT, storage, numbers)
    assert second["baseline-2d"]["lr"] != FitSettings().lr
    with pytest.raises(StudyError, match="tiny/baseline-3d: no study of that name"):
        found_settings(EXPERIMENT, storage, {"tiny/baseline-3d": 0})
    with pytest.raises(StudyError, match="trial 7 is not complete"):
        found_settings(EXPERIMENT, storage, {"tiny/baseline-2d": 7})


@pytest.mark.parametrize("space", [EXPERIMENT.space, {"baseline": EXPERIMENT.space["baseline"]}])
def test_the_room_for_trials_and_what_follows_is_asked_before_the_first(make_cohort, tmp_path, monkeypatch, space):
    asked = []

    def refuse(needs):
        asked.extend(needs)
        raise RunError("too little room.", "Free some.")

    monkeypatch.setattr(tuning_experiment, "check_room", refuse)
    tuning = tuning_of(make_cohort(24), tmp_path / "out", space=space)
    conditions = Conditions(str(tmp_path / "study.journal"), budget_of(EXPERIMENT), CPU)
    with pytest.raises(RunError, match="too little room"):
        tune(tuning, conditions, [RoomNeeded("x", tmp_path, 1)])
    sizes = Counter(need.what for need in asked)
    states = 4 * rehearse("test_resnet", 32).size
    assert [need.size for need in asked if need.what == TRIAL] == [states]
    assert sizes["x"] == 1
    assert sizes["pictures"] >= 2
    assert sizes["checkpoints"] == (4 if "head" in space else 0)
    assert (sizes["tokens"] > 0) == ("head" in space)
    assert not (tmp_path / "out").exists()


def test_every_study_gets_the_same_budget(make_cohort, tmp_path):
    assert budget_of(EXPERIMENT.model_copy(update={"study": StudySettings()})).trials == 40
    assert budget_of(EXPERIMENT.model_copy(update={"study": StudySettings(seconds=5)})).trials is None
    cohort = make_cohort(24)
    jobs = [*(tuning := tuning_of(cohort, tmp_path)).baselines(), *tuning.heads()]
    assert [job.name for job in jobs] == [
        "tiny/baseline-2d", "tiny/baseline-elastic", "tiny/fusion-gated/fold-0", "tiny/fusion-gated/fold-1",
    ]  # fmt: skip
    assert [job.folds for job in jobs] == [(0, 1), (0, 1), (0,), (1,)]
    assert [job.known for job in jobs] == [({"lr": 3e-3},)] * 2 + [({"width": 8, "grid": 1},)] * 2


def test_known_settings_are_tried_right_after_the_untuned_ones(make_cohort, tmp_path):
    known = {"baseline-2d": {"lr": 2e-3, "weight_decay": 0.1}}
    known["fusion-gated"] = {"folds": [{"width": 16, "grid": 2}, {"width": 8, "grid": 2}]}
    tuning = replace(tuning_of(make_cohort(24), tmp_path), known=known)
    assert tuning.baselines()[0].known == ({"lr": 3e-3}, {"lr": 2e-3})
    base_settings = {"width": 8, "grid": 1}
    assert [job.known for job in tuning.heads()] == [
        (base_settings, values) for values in known["fusion-gated"]["folds"]
    ]
    space = {"head": {"copies": [1, 2]}}
    older = replace(tuning_of(tuning.cohort, tmp_path, space=space), known={"fusion-gated": {"variants": 2}})
    assert [job.known[1] for job in older.heads()] == [{"copies": 2}] * 2
    outside = replace(tuning, known={"baseline-2d": {"lr": 0.1}})
    with pytest.raises(SettingsError, match=r"warm start: baseline-2d: lr = 0.1 lies outside"):
        outside.baselines()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"space": {}}, "no search space"),
        ({"space": {"lr": {"low": 1, "high": 2}}}, r"Write \[space.baseline\]"),
        ({"heads": ["late-mean"]}, "no trained head"),
        ({"backbones": ["resnet10t", "resnet18"]}, "several backbones"),
        ({"weights": ["scratch", "pretrained"]}, "several backbones or weights"),
        ({"head": {**HEAD, "finetune": {"epochs": 1}}}, "trials end before the fine-tuning"),
        ({"protocol": "paper"}, "reads the held-out fold"),
        ({"study": StudySettings(objectives=("auk",))}, "auk: unknown objective"),
        (
            {"space": {"baseline": {"image_size": [32, 48]}}, "study": StudySettings(scheme="per-fold")},
            "cannot differ between folds",
        ),
    ],
)
def test_an_experiment_that_cannot_be_tuned_says_why(make_cohort, tmp_path, changes, message):
    with pytest.raises(SettingsError, match=message):
        tuning_of(make_cohort(24), tmp_path, **changes).check()


def test_patients_that_no_baseline_could_have_are_refused_before_any_trial(make_cohort, tmp_path):
    cohort = make_cohort(24)
    images = cohort.images.copy()
    first, second = images.index[images["modality"] == "elastic"][:2]
    images.loc[second, "sha256"] = images.loc[first, "sha256"]
    with pytest.raises(CohortError, match=r"patients P000 \(elastic\) and P001 \(elastic\) have the same picture"):
        tuning_of(replace(cohort, images=images), tmp_path).check()
    lymphoma = set(cohort.patients.loc[cohort.patients["label"] == 1, "patient_id"])
    without = cohort.images[(cohort.images["modality"] != "2d") | ~cohort.images["patient_id"].isin(lymphoma)]
    with pytest.raises(CohortError, match="no patient of class 'lymphoma' with a picture of 2d"):
        tuning_of(replace(cohort, images=without), tmp_path).check()


def test_studies_that_were_never_begun_or_have_no_finished_trial_are_named(make_cohort, tmp_path):
    with pytest.raises(StudyError, match="no study of tiny"):
        found_settings(EXPERIMENT, str(tmp_path / "study.journal"))
    assert not (tmp_path / "study.journal").exists()


def test_settings_of_a_fold_that_was_not_tuned_are_refused():
    settings = HeadSettings(folds=({"lr": 1e-3},))
    assert settings.of_fold(0).lr == 1e-3
    assert settings.of_fold(0).folds is None
    with pytest.raises(SettingsError, match="a fold 1"):
        settings.of_fold(1)
    with pytest.raises(SettingsError, match="lr"):
        HeadSettings.read({"folds": [{"lr": 0}]}, "x")


def test_settings_that_are_not_used_do_not_change_what_older_runs_recorded():
    assert FitSettings().model_dump().keys() == {
        "epochs", "batch_size", "lr", "weight_decay", "schedule", "patience", "backbone", "weights", "image_size",
        "head_width", "precision",
    }  # fmt: skip
    assert FitSettings.read(json.loads(FitSettings(head_dropout=0.1).model_dump_json()), "x").head_dropout == 0.1


def test_a_tuned_run_that_does_not_exist_is_named(tmp_path):
    text = 'name = "x"\nquestion = "?"\nheads = ["gated"]\n[tuned.fusion-gaited]\nlr = 1.0\n'
    (tmp_path / "x.toml").write_text(text)
    with pytest.raises(SettingsError, match="fusion-gaited"):
        read_experiment(tmp_path / "x.toml")
    assert tomllib.loads(text)["tuned"]
