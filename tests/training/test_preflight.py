"""What can be known before the first fit is found before it."""

import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
from tiny import CPU, FIT, FIT_TWICE, HEAD, refused

from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.errors import CohortError, FusionLNError, RunError, SettingsError
from fusion_ln.heads import UNASKED_HEADS
from fusion_ln.runs import RunFolder
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import FitSettings
from fusion_ln.terms import cache_folder
from fusion_ln.training import crossval, preflight, run
from fusion_ln.training.experiment import run_experiment
from fusion_ln.training.experiment_file import ExperimentSettings, experiment_fits
from fusion_ln.training.fusion.heads import new_head_record
from fusion_ln.training.fusion.late import new_late_record
from fusion_ln.training.parts import check_patients
from fusion_ln.training.preflight import check_fusion_folders, leave_out_untaught
from fusion_ln.training.pretraining.pretrain import pretrain
from fusion_ln.training.run import plan_baselines, run_baselines_and_fusions
from fusion_ln.tuning.space import read_space

NO_TOKENS = "coat_tiny"  # several feature maps, of no one grid
TUNED = {"fusion-concat": {"lr": 0.1}}
LATE = dict.fromkeys(UNASKED_HEADS)


@pytest.fixture(autouse=True)
def no_fit(monkeypatch):
    """Nothing of these tests may come to a fit."""

    def fail(*args, **kwargs):
        raise AssertionError("a fit was begun")

    monkeypatch.setattr(run, "run_jobs", fail)
    monkeypatch.setattr(crossval, "fit", fail)


@pytest.fixture
def lopsided(make_cohort):
    """A cohort with two patients of the second class: of each training part one, so inner validation has none."""
    cohort = make_cohort(18)
    labels = [1 if number in (4, 5) else 2 * (number % 2) for number in range(18)]
    patients = cohort.patients.assign(label=labels)
    cohort = replace(cohort, patients=patients, folds=draw_folds(patients, k=2))
    save_cohort(cohort)
    return cohort


def train(cohort, heads, out, fit=FIT):
    modalities = list(cohort.modalities)
    run_baselines_and_fusions(cohort, modalities, heads, fit, out, protocol="nested", seed=0, device=CPU)


@pytest.mark.parametrize("head", ["late-stacked", "late-weighted"])
def test_a_learning_head_is_refused_where_inner_validation_lacks_a_class(lopsided, tmp_path, head):
    with pytest.raises(CohortError, match=f"fold 0 has no inner validation patient of class 'lymphoma', so {head}"):
        train(lopsided, {head: None}, tmp_path)


def test_heads_that_nobody_named_are_left_out_there_with_a_line(lopsided, capsys):
    modalities = list(lopsided.modalities)
    assert list(leave_out_untaught(lopsided, modalities, LATE, ["late-mean"])) == ["late-mean", "late-logit"]
    assert "late-weighted, late-stacked: left out, since fold 0 has no inner" in capsys.readouterr().err
    assert list(leave_out_untaught(lopsided, modalities, LATE, UNASKED_HEADS)) == list(LATE)  # named: refused later


def test_heads_are_kept_where_all_can_learn(make_cohort, capsys):
    cohort = make_cohort(18)
    assert leave_out_untaught(cohort, cohort.modalities, LATE, []) == LATE
    assert capsys.readouterr().err == ""


def test_a_backbone_without_tokens_is_refused_for_a_trained_head(make_cohort, tmp_path):
    fit = FIT.model_copy(update={"backbone": NO_TOKENS})
    with pytest.raises(SettingsError, match=f"{NO_TOKENS}: keeps no features of places"):
        train(make_cohort(12), {"cross-attention": HEAD}, tmp_path, fit)


def test_cross_fitted_tokens_are_refused_where_a_class_is_too_small(lopsided, tmp_path):
    with pytest.raises(CohortError, match="class 'lymphoma' has 1 patient, fewer than the 3"):
        train(lopsided, {"cross-attention": HEAD.model_copy(update={"tokens": "cross-fitted"})}, tmp_path)


def test_a_class_without_a_picture_of_the_modality_is_named(make_cohort, tmp_path):
    cohort = make_cohort(12, absent={number: {"cdfi"} for number in (1, 4, 7, 10)})
    with pytest.raises(CohortError, match="'lymphoma' with a picture of cdfi") as refusal:
        train(cohort, {"late-mean": None}, tmp_path)
    assert refusal.value.way_out.startswith("The cohort has 0 such patients: add some")


def test_a_fold_that_holds_out_no_picture_of_the_modality_is_named(make_cohort, tmp_path):
    whole = make_cohort(18, k=3)
    held_out = whole.images["patient_id"].isin(whole.held_out(1)) & (whole.images["modality"] == "cdfi")
    cohort = replace(whole, images=whole.images[~held_out])
    with pytest.raises(CohortError, match="no patient whom fold 1 holds out has a picture of cdfi"):
        check_patients(cohort, "cdfi")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbones": ["test_resnet", "crossvit_tiny_240"]}, "crossvit_tiny_240: takes no pictures of 32 x 32 pixels"),
        ({"backbones": ["test_vit", NO_TOKENS], "heads": ["concat"]}, f"{NO_TOKENS}: keeps no features"),
        ({"weights": ["scratch", "absent.pth"]}, "absent.pth: no such weight file"),
        ({"heads": ["concat"], "tuned": {"baseline-cdfi": {"backbone": "test_vit"}, **TUNED}}, "different tokens"),
        ({"heads": ["concat"], "head": {"tokens": "pretrained"}}, "--tokens pretrained"),
    ],
)  # fmt: skip
def test_an_experiments_last_row_is_checked_before_its_first(make_cohort, tmp_path, changes, message):
    fit = FIT.model_dump(exclude={"backbone"}, mode="json")
    values = {"name": "x", "question": "?", "fit": {**fit, "backbone": "test_resnet"}, **changes}
    experiment = ExperimentSettings.read(values, "x")
    with pytest.raises(FusionLNError, match=message):
        run_experiment(experiment, make_cohort(12), experiment_fits(experiment, "x"), tmp_path / "out", CPU)


@pytest.mark.parametrize("name", ["late-mean", "gated"])
def test_a_fusion_folder_of_other_settings_is_refused_before_its_baselines(make_cohort, tmp_path, name):
    cohort, heads = make_cohort(18), {"late-mean": None, "gated": HEAD}
    planned = plan_baselines(tmp_path / "out", cohort.modalities, FIT_TWICE, protocol="nested", seed=0)
    folder = RunFolder(tmp_path / "out" / f"fusion-{name}")
    if name == "late-mean":
        folder.write_record(new_late_record(cohort, planned, name, folder))
    else:
        folder.write_record(new_head_record(cohort, planned, HEAD, folder, seed=0))
    check_fusion_folders(cohort, planned, heads, tmp_path / "out", seed=0)  # these very ones
    with pytest.raises(RunError, match=rf"fusion-{name}: holds a run with other settings:\n.*epochs: 2 there, 1 asked"):
        train(cohort, heads, tmp_path / "out")
    experiment = ExperimentSettings(name="x", question="?", heads=[name])
    with pytest.raises(RunError, match="holds a run with other settings"):
        run_experiment(experiment, cohort, {FIT.backbone: FIT}, tmp_path / "out", CPU)
    assert not (tmp_path / "out" / "baseline-2d").exists()


@pytest.mark.parametrize(("folds", "checks"), [(None, 1), (({"width": 8}, {"width": 16}), 2)])
def test_folds_that_share_their_settings_are_checked_once(make_cohort, monkeypatch, folds, checks):
    checked = []
    monkeypatch.setattr(preflight, "check_head", lambda *settings: checked.append(settings))
    head = HEAD.model_copy(update={"folds": folds})
    preflight.check_fusions(make_cohort(12), {"2d": FIT, "cdfi": FIT}, {"concat": head})
    assert len(checked) == checks


def run_of_file(cohort, heads, out):
    values = {"name": "x", "question": "?", "fit": FIT.model_dump(mode="json"), "heads": list(heads)}
    experiment = ExperimentSettings.read(values, "x")
    run_experiment(experiment, cohort, experiment_fits(experiment, "x"), out, CPU)


def pretraining(cohort, heads, out):
    pretrain([replace(cohort, modalities=("2d",))], PretrainSettings(fit=FIT), RunFolder(out), CPU)


@pytest.mark.parametrize("command", [train, run_of_file, pretraining])
def test_a_disk_without_room_is_refused_before_anything_is_prepared(make_cohort, tmp_path, monkeypatch, command):
    cohort = make_cohort(12)
    monkeypatch.setattr(shutil, "disk_usage", lambda place: SimpleNamespace(total=10**9, free=1000))
    with pytest.raises(RunError, match=r"too little room.*checkpoints .*but 1\.0 kB are free there"):
        command(cohort, {"concat": HEAD}, tmp_path / "out")
    assert not (tmp_path / "out").exists()
    assert not cache_folder().joinpath("banks").exists()


def test_commands_refuse_a_network_before_a_cohort_is_made(monkeypatch, tmp_path):
    monkeypatch.setattr("fusion_ln.cohort.default.open_cohort", None)
    monkeypatch.setattr("fusion_ln.cohort.default.open_organs", None)
    small = ("--image-size", "64", "--out", tmp_path)
    taken = refused("run", "baseline", "--modality", "2d", "--backbone", "crossvit_tiny_240", *small)
    assert "crossvit_tiny_240: takes no pictures of 64 x 64 pixels" in taken
    assert "--image-size 240" in taken
    assert "no features of places" in refused("run", "fusion", "--head", "gated", "--backbone", NO_TOKENS, *small)
    assert "takes no pictures" in refused("pretrain", "--backbone", "crossvit_tiny_240", *small)


def test_a_search_space_is_checked_for_sizes():
    base = FitSettings(backbone="test_vit", image_size=32)
    with pytest.raises(SettingsError, match="crossvit_tiny_240: takes no pictures of 32"):
        read_space({"backbone": ["test_vit", "crossvit_tiny_240"]}, base, "x")
