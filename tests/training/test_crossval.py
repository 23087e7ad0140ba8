import dataclasses
import errno
import hashlib
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import tiny
from PIL import Image
from tiny import CPU, build_cohort
from tiny import FIT_TWICE as FIT

from fusion_ln.cohort.folder import load_cohort, save_cohort
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.fabric import make_fabric
from fusion_ln.errors import CohortError, DivergedError, RunError
from fusion_ln.files.hashes import hash_file
from fusion_ln.predictions import read_predictions
from fusion_ln.records.parts import UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training import crossval
from fusion_ln.training.crossval import begin, run_fold
from fusion_ln.training.fold_files import finish


def run_baseline(cohort, folder, **changes):
    device = CPU.model_copy(update={"workers": changes.pop("workers", 1)})
    settings = BaselineSettings(modality="2d", fit=FIT.model_copy(update=changes.pop("fit", {})), **changes)
    run = RunFolder(folder)
    run_jobs(begin(cohort, settings, run, device), shares=cohort.n_folds)
    finish(run, cohort.patients["patient_id"])
    return run, read_predictions(run.predictions)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A cohort and a finished run; a test that changes a file works on a copy."""
    folder = tmp_path_factory.mktemp("finished")
    cohort = build_cohort(folder)
    return cohort, run_baseline(cohort, folder / "run")[0]


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_every_patient_is_predicted_once_by_the_fold_that_held_it_out(make_cohort, tmp_path):
    cohort = make_cohort(20)
    _, predictions = run_baseline(cohort, tmp_path / "run")
    expected = cohort.folds.set_index("patient_id")["fold"]
    assert predictions.patients == sorted(cohort.patients["patient_id"])
    assert predictions.folds.tolist() == expected.loc[predictions.patients].tolist()
    np.testing.assert_allclose(predictions.probs.sum(axis=1), 1)


def test_the_same_command_gives_the_same_bytes_and_another_seed_does_not(make_cohort, tmp_path):
    cohort = make_cohort(20)
    runs = [run_baseline(cohort, tmp_path / name, seed=seed)[0] for name, seed in (("a", 0), ("b", 0), ("c", 1))]
    assert digest(runs[0].predictions) == digest(runs[1].predictions) != digest(runs[2].predictions)


@pytest.mark.parametrize("name", ["fold.json", "predictions.parquet", "history.parquet"])
def test_a_damaged_file_of_a_fold_is_named_and_the_way_out_works(finished, tmp_path, name):
    cohort, trained = finished
    run = RunFolder(shutil.copytree(trained.root, tmp_path / "run"))
    run.predictions.unlink()
    (run.fold(1) / name).write_bytes(b"")
    with pytest.raises(RunError, match=rf"fold_1/{name}: (.|\n)*Delete .*fold_1: the command") as error:
        run_baseline(cohort, run.root)
    assert str(run.fold(1)) in error.value.way_out
    if name == "fold.json":
        shutil.rmtree(run.fold(1))
        run_baseline(cohort, run.root)
        assert digest(run.predictions) == digest(trained.predictions)


def test_tables_of_another_fold_are_not_joined(finished, tmp_path):
    cohort, trained = finished
    run = RunFolder(shutil.copytree(trained.root, tmp_path / "run"))
    run.predictions.unlink()
    for name in ("predictions.parquet", "inner_predictions.parquet", "history.parquet", "fold.json"):
        shutil.copy(trained.fold(0) / name, run.fold(1) / name)
        with pytest.raises(RunError, match="fold_1: holds tables of another fold"):
            run_baseline(cohort, run.root)
        shutil.copy(trained.fold(1) / name, run.fold(1) / name)


def with_other_pictures(cohort, patients):
    """The same cohort in another folder, but with noise for the pictures of some patients."""
    images = cohort.images.copy()
    for row in images.index[images["patient_id"].isin(patients)]:
        path = cohort.picture_path(images.loc[row, "path"])
        other = path.with_name(f"other-{path.name}")
        noise = np.random.default_rng(row).integers(0, 256, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(other)
        images.loc[row, ["path", "sha256"]] = [f"images/{other.name}", hash_file(other)]
    other = dataclasses.replace(cohort, root=cohort.root.with_name("noisy"), images=images)
    save_cohort(other)
    return other


def test_held_out_pictures_cannot_change_the_model_that_predicts_them(make_cohort, tmp_path):
    cohort = make_cohort(20)
    run, _ = run_baseline(cohort, tmp_path / "a")
    other, _ = run_baseline(with_other_pictures(cohort, cohort.held_out(0)), tmp_path / "b")
    assert digest(run.fold(0) / "inner_predictions.parquet") == digest(other.fold(0) / "inner_predictions.parquet")
    assert digest(run.fold(0) / "predictions.parquet") != digest(other.fold(0) / "predictions.parquet")


def test_the_paper_protocol_stops_on_the_held_out_fold(make_cohort, tmp_path):
    cohort = make_cohort(20)
    nested, _ = run_baseline(cohort, tmp_path / "nested", fit={"patience": 2})
    paper, predictions = run_baseline(cohort, tmp_path / "paper", protocol="paper", fit={"patience": 2})
    history = pd.read_parquet(paper.history).set_index(["fold", "epoch"])
    best = history.loc[0]["val_loss"].min()
    held_out = predictions.of(cohort.held_out(0))
    loss = -np.log(held_out.probs[np.arange(len(held_out.labels)), held_out.labels]).mean()
    assert loss == pytest.approx(best, abs=1e-6)
    assert not np.allclose(pd.read_parquet(nested.history)["val_loss"], history["val_loss"])


def test_patients_without_the_modality_are_left_out_and_counted(make_cohort, tmp_path, capsys):
    cohort = make_cohort(20, absent={4: {"2d"}, 9: {"2d", "cdfi"}})
    run, predictions = run_baseline(cohort, tmp_path / "run")
    assert run.read_record().units == UnitCounts(predicted=18, skipped=2)
    assert "2 of 20 patients have no 2d picture" in capsys.readouterr().err
    assert not {"P004", "P009"} & set(predictions.patients)


def test_a_training_part_without_a_class_is_refused(make_cohort, tmp_path):
    absent = {number: {"2d"} for number in range(1, 20, 3)}  # no lymphoma has a grey-scale picture
    with pytest.raises(CohortError, match="no patient of class 'lymphoma' with a picture of 2d"):
        run_baseline(make_cohort(20, absent=absent), tmp_path / "run")


def test_a_folder_with_other_settings_is_refused_with_the_differing_keys(make_cohort, tmp_path):
    cohort = make_cohort(20)
    run, _ = run_baseline(cohort, tmp_path / "run")
    before = digest(run.predictions)
    with pytest.raises(RunError, match=r"settings\.fit\.lr: 0\.003 there, 0\.1 asked for") as caught:
        run_baseline(cohort, tmp_path / "run", fit={"lr": 0.1})
    assert "epochs" not in str(caught.value)
    assert digest(run.predictions) == before


def test_another_cohort_in_the_same_folder_is_refused(make_cohort, tmp_path):
    run_baseline(make_cohort(20), tmp_path / "run")
    with pytest.raises(RunError, match=r"cohort\.fingerprint"):
        run_baseline(make_cohort(22, name="other"), tmp_path / "run")


def test_folds_that_were_redrawn_while_a_run_trained_are_refused(make_cohort, tmp_path, monkeypatch):
    monkeypatch.setattr(crossval, "fit", lambda *_, **__: pytest.fail("a fit was begun"))
    cohort = make_cohort(20)
    jobs = begin(cohort, BaselineSettings(modality="2d", fit=FIT), RunFolder(tmp_path / "run"), CPU)
    save_cohort(replace(cohort, folds=draw_folds(cohort.patients, k=2, seed=5)))
    with pytest.raises(RunError, match="made on other folds"):
        run_fold(jobs[0], make_fabric(CPU, "32-true"), lambda epoch: None)


def test_a_folder_that_holds_something_else_is_refused(make_cohort, tmp_path):
    (tmp_path / "thesis").mkdir()
    (tmp_path / "thesis" / "chapter1.tex").write_text("precious")
    with pytest.raises(RunError, match="not empty and not a run"):
        run_baseline(make_cohort(20), tmp_path / "thesis")


def test_a_full_disk_ends_in_a_message_and_the_run_goes_on_with_space(make_cohort, tmp_path, monkeypatch):
    cohort = make_cohort(20)
    whole, _ = run_baseline(cohort, tmp_path / "whole")
    real, writes = os.fsync, []

    def full(handle):
        writes.append(handle)
        if len(writes) > 12:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(handle)

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(RunError, match="no space left"):
            run_baseline(cohort, tmp_path / "cut")
    assert not list((tmp_path / "cut").rglob(".*"))  # no half-written file stays
    run, _ = run_baseline(cohort, tmp_path / "cut")
    assert digest(run.predictions) == digest(whole.predictions)


KILLED = """
import os, signal, sys
from pathlib import Path
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.compute.engines import run_jobs
from fusion_ln.runs import RunFolder
from fusion_ln.settings.devices import DeviceSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training.crossval import begin
from fusion_ln.training import state
from fusion_ln.training.fold_files import finish

state.STATE_SECONDS = 0  # after every epoch
writes, rename = [], Path.replace
def replace(self, target):
    # Die at the given write, just before the file is put in place or just after.
    writes.append(target)
    if len(writes) == at and not after:
        os.kill(os.getpid(), signal.SIGKILL)
    rename(self, target)
    if len(writes) == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return target
Path.replace = replace
settings = BaselineSettings.model_validate_json({settings!r})
run = RunFolder(Path({run!r}))
for at, after in {kills}:
    if child := os.fork():  # torch was loaded once, and has not begun any thread
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
        continue
    cohort = load_cohort(Path({cohort!r}))
    run_jobs(begin(cohort, settings, run, DeviceSettings(device="cpu", workers=1)), shares=2)
    finish(run, cohort.patients["patient_id"])
    os._exit(0)
"""


@pytest.mark.slow
def test_a_run_killed_at_any_write_goes_on_to_the_same_predictions(make_cohort, tmp_path):
    """Kill -9, again and again in the same folder, each time a little later, just before or just after a rename."""
    cohort = load_cohort(make_cohort(20).root)
    whole, _ = run_baseline(cohort, tmp_path / "whole")
    code = KILLED.format(
        settings=BaselineSettings(modality="2d", fit=FIT).model_dump_json(),
        cohort=str(cohort.root),
        run=str(tmp_path / "cut"),
        kills=((2, True), (3, False), (4, True), (6, False)),
    )
    exit_code, printed = tiny.finished(code)
    assert exit_code == 0, printed
    assert not RunFolder(tmp_path / "cut").finished
    run, _ = run_baseline(cohort, tmp_path / "cut")
    assert digest(run.predictions) == digest(whole.predictions)
    assert digest(run.inner_predictions) == digest(whole.inner_predictions)
    assert digest(run.checkpoint(1)) == digest(whole.checkpoint(1))


def test_a_cohort_is_known_by_its_pictures_and_not_by_its_place(make_cohort):
    """The fingerprint follows the pictures and labels, not where they lie."""
    cohort = make_cohort(20)
    save_cohort(cohort)
    moved = cohort.root.rename(cohort.root.with_name("moved"))
    assert load_cohort(moved).fingerprint == cohort.fingerprint
    assert with_other_pictures(load_cohort(moved), ["P000"]).fingerprint != cohort.fingerprint


@pytest.mark.slow
def test_fits_side_by_side_give_the_same_bytes_as_one_after_another(make_cohort, tmp_path):
    cohort = make_cohort(20)
    alone, _ = run_baseline(cohort, tmp_path / "alone")
    together, _ = run_baseline(cohort, tmp_path / "together", workers=2)
    assert digest(alone.predictions) == digest(together.predictions)


@pytest.mark.slow
def test_an_error_of_one_fit_ends_the_others_and_is_told(make_cohort, tmp_path):
    with pytest.raises(DivergedError, match="loss"):
        run_baseline(make_cohort(20), tmp_path / "run", workers=2, fit={"lr": 100, "weight_decay": 100, "epochs": 50})


def test_the_same_picture_under_two_patients_is_refused(make_cohort, tmp_path):
    cohort = make_cohort(20)
    images = cohort.images.copy()
    first, second = images.index[images["modality"] == "2d"][:2]
    images.loc[second, "sha256"] = images.loc[first, "sha256"]
    shutil.copy(cohort.picture_path(images.loc[first, "path"]), cohort.picture_path(images.loc[second, "path"]))
    repeated = replace(cohort, images=images)
    with pytest.raises(CohortError, match=r"patients P000 \(2d\) and P001 \(2d\) have the same picture"):
        begin(repeated, BaselineSettings(modality="2d", fit=FIT), RunFolder(tmp_path / "run"), CPU)
    assert begin(repeated, BaselineSettings(modality="cdfi", fit=FIT), RunFolder(tmp_path / "other"), CPU)
