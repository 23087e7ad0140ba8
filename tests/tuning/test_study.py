import errno
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import optuna
import pytest
import torch
from optuna.study import StudyDirection
from optuna.trial import TrialState
from PIL import Image
from tiny import CPU, HEAD, finished, started
from tiny import FIT_TWICE as FIT
from toy_study import Toy, conditions, toy_job

from fusion_ln.cohort.folder import save_cohort
from fusion_ln.errors import DivergedError, RunError, SettingsError, StudyError
from fusion_ln.files.hashes import hash_file
from fusion_ln.metrics import METRICS
from fusion_ln.predictions import read_inner_predictions
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.training.fusion.tokens import picture_tokens
from fusion_ln.training.run import run_baselines
from fusion_ln.training.tasks import PatientLogits
from fusion_ln.tuning import storage as trials_module
from fusion_ln.tuning import study as study_module
from fusion_ln.tuning.objective import BaselineObjective, HeadObjective, open_tokens
from fusion_ln.tuning.results import FOLD_SCORES, IDENTITY, best_trial, check_study
from fusion_ln.tuning.space import Choices, Range, read_space
from fusion_ln.tuning.storage import Budget, Heartbeat, open_storage
from fusion_ln.tuning.study import StudyJob, check_objectives, open_study
from fusion_ln.tuning.worker import run_worker

HANG = "import sys, toy_study; toy_study.hang(*sys.argv[1:])"


@pytest.fixture
def cohort(make_cohort):
    return make_cohort(24)


def run(storage, trials, *jobs, **changes):
    run_worker(list(jobs), conditions(storage, trials, **changes))
    return [optuna.load_study(study_name=job.name, storage=open_storage(str(storage))) for job in jobs]


def states(study):
    return [trial.state for trial in study.trials]


def values(study):
    return [trial.value for trial in study.trials]


def test_a_study_spends_its_budget_and_begins_with_the_untuned_settings(storage, cohort):
    [study] = run(storage, 12, toy_job(cohort.root))
    assert len(study.trials) == 12
    assert set(states(study)) <= {TrialState.COMPLETE, TrialState.PRUNED}
    assert study.trials[0].params == {"lr": 3e-3}
    assert best_trial(study).value >= study.trials[0].value
    assert abs(np.log10(best_trial(study).params["lr"]) + 3) <= abs(np.log10(3e-3) + 3)


def test_a_study_taken_up_again_goes_on_as_if_it_had_not_been_interrupted(tmp_path, cohort):
    job = toy_job(cohort.root)
    [whole] = run(tmp_path / "a", 14, job)
    for budget in (3, 11, 14):
        [pieces] = run(tmp_path / "b", budget, job)
        assert len(pieces.trials) == budget
    assert [t.params for t in pieces.trials] == [t.params for t in whole.trials]
    assert values(pieces) == values(whole)


def test_poor_trials_are_pruned_but_never_the_given_ones(tmp_path, cohort):
    poor = {"lr": 1e-5}
    [study] = run(tmp_path / "j", 20, toy_job(cohort.root, known=({"lr": 1e-3},), folds=(0, 1)))
    pruned = [t for t in study.trials if t.state == TrialState.PRUNED]
    assert pruned
    assert all(len(t.intermediate_values) < 2 * 4 for t in pruned)
    [study] = run(tmp_path / "k", 7, toy_job(cohort.root, known=({"lr": 1e-3},) * 1 + (poor,)))
    assert study.trials[1].params == poor
    assert study.trials[1].state == TrialState.COMPLETE


def test_the_score_reported_after_each_fold_is_the_mean_so_far(tmp_path, cohort):
    [study] = run(tmp_path / "j", 1, toy_job(cohort.root))
    [trial] = study.trials
    first, second = (each["auc"] for each in trial.user_attrs["scores"])
    assert trial.intermediate_values[3] == pytest.approx(first)
    assert trial.intermediate_values[7] == pytest.approx((first + second) / 2)
    assert trial.value == trial.intermediate_values[7]


def test_a_time_budget_counts_the_seconds_of_finished_trials(tmp_path, cohort):
    [study] = run(tmp_path / "j", None, toy_job(cohort.root), budget=Budget(seconds=1e-9))
    assert len(study.trials) == 1
    [study] = run(tmp_path / "j", 3, toy_job(cohort.root), budget=Budget(trials=3, seconds=3600))
    assert len(study.trials) == 3


@pytest.mark.slow
def test_a_killed_worker_loses_its_running_trial_which_is_tried_again(storage, cohort, capsys):
    """Two worker processes at once: one that hangs in its first trial and is killed, and this one."""
    with started(HANG, storage, cohort.root) as (doomed, output):
        assert output.readline() == "begun\n"
        notes = []

        def kill_after_two(note):
            notes.append(note)
            if len(notes) == 2:
                doomed.kill()

        run_worker([toy_job(cohort.root)], conditions(storage, 6), on_trial=kill_after_two)
        doomed.join()
        assert doomed.exitcode == -signal.SIGKILL
    assert "tried again" in capsys.readouterr().err
    study = optuna.load_study(study_name="toy", storage=open_storage(storage))
    assert sum(state in (TrialState.COMPLETE, TrialState.PRUNED) for state in states(study)) == 6
    assert states(study)[0] == TrialState.FAIL
    [again] = [t for t in study.trials if t.system_attrs.get("failed_trial") == 0]
    assert again.params == study.trials[0].params == {"lr": 3e-3}
    assert again.state == TrialState.COMPLETE


def test_workers_side_by_side_neither_lose_nor_double_a_trial(storage, cohort):
    long_grace = conditions(
        storage, 15, heartbeat=Heartbeat(interval=1, grace=300)
    )  # on a busy machine nobody is dead yet
    with ThreadPoolExecutor(3) as pool:
        for worker in [pool.submit(run_worker, [toy_job(cohort.root)], long_grace) for _ in range(3)]:
            worker.result()
    study = optuna.load_study(study_name="toy", storage=open_storage(storage))
    kept = [t for t in study.trials if t.state != TrialState.FAIL]
    assert len(kept) == 15
    assert len({t.params["lr"] for t in kept}) == 15


@pytest.mark.parametrize("error", [KeyboardInterrupt, partial(RunError, "no space left on the device")])
def test_ctrl_c_and_a_full_disk_give_the_running_trial_back(tmp_path, cohort, error):
    job, stops = toy_job(cohort.root), iter([False] * 20 + [True])

    def check_stop():
        if next(stops, False):
            raise error()

    with pytest.raises((KeyboardInterrupt, RunError)):
        run_worker([job], conditions(tmp_path / "j", 6), check_stop=check_stop)
    [study] = run(tmp_path / "j", 6, job)
    assert states(study).count(TrialState.FAIL) == 1
    assert len(study.trials) == 7
    [whole] = run(tmp_path / "k", 6, job)
    failed = states(study).index(TrialState.FAIL)
    assert study.trials[failed + 1].params == study.trials[failed].params == whole.trials[failed].params
    kept = [trial for trial in study.trials if trial.state != TrialState.FAIL]
    assert [(t.params, t.value) for t in kept] == [(t.params, t.value) for t in whole.trials]


def test_the_untuned_trial_is_tried_however_often_it_was_stopped(tmp_path, cohort):
    for _ in range(5):
        stops = iter([False, True])
        with pytest.raises(KeyboardInterrupt):
            run_worker([toy_job(cohort.root)], conditions(tmp_path / "j", 1), check_stop=partial(interrupt, stops))
    [study] = run(tmp_path / "j", 1, toy_job(cohort.root))
    assert states(study) == [TrialState.FAIL] * 5 + [TrialState.COMPLETE]
    assert study.trials[-1].params == {"lr": 3e-3}


def test_a_study_stopped_while_it_was_made_begins_with_untuned_settings(tmp_path, cohort, monkeypatch):
    monkeypatch.setattr(study_module, "LOOKS", 1)
    optuna.create_study(study_name="toy", storage=open_storage(str(tmp_path / "j")))
    [study] = run(tmp_path / "j", 1, toy_job(cohort.root, objectives=("loss",)))
    assert [trial.params for trial in study.trials] == [{"lr": 3e-3}]
    assert study.user_attrs[study_module.IDENTITY]["objectives"] == ["loss"]


def interrupt(stops):
    if next(stops):
        raise KeyboardInterrupt


def test_a_diverging_trial_counts_as_pruned(tmp_path, cohort, monkeypatch):
    def diverge(*args):
        raise DivergedError("The loss became nan.")

    monkeypatch.setattr(Toy, "fit", diverge)
    [study] = run(tmp_path / "j", 3, toy_job(cohort.root))
    assert states(study) == [TrialState.PRUNED] * 3
    with pytest.raises(StudyError, match="no finished trial"):
        best_trial(study)


def test_a_worker_that_was_taken_for_dead_does_not_count_its_trial_twice(tmp_path, cohort):
    """Another worker takes the trial over while it runs; what the first one finds is dropped."""
    job = toy_job(cohort.root)

    def take_over():
        study = optuna.load_study(study_name="toy", storage=open_storage(str(tmp_path / "j")))
        running = [t for t in study.trials if t.state == TrialState.RUNNING]
        if running and len(study.trials) == 1:
            trials_module.requeue(study, running[0])

    run_worker([job], conditions(tmp_path / "j", 3), check_stop=take_over)
    study = optuna.load_study(study_name="toy", storage=open_storage(str(tmp_path / "j")))
    assert states(study) == [TrialState.FAIL, *[TrialState.COMPLETE] * 3]


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"space": {"lr": Range(1e-4, 1e-1, log=True)}}, "space.lr.low: 1e-05 there, 0.0001 asked for"),
        ({"objectives": ("loss",)}, "objectives"),
        ({"seed": 1}, "seed: 0 there, 1 asked for"),
    ],
)
def test_a_study_of_that_name_with_other_content_is_refused(tmp_path, cohort, change, key):
    run(tmp_path / "j", 1, toy_job(cohort.root))
    with pytest.raises(StudyError, match=key):
        run(tmp_path / "j", 1, toy_job(cohort.root, **change))


@dataclass(frozen=True)
class Head(Toy):
    """A head whose settings are recorded."""

    base_settings: HeadSettings = HEAD

    def describe(self):
        return {"settings": self.base_settings.model_dump(mode="json")}


def test_an_earlier_versions_study_goes_on_unless_it_tuned_a_renamed_key(tmp_path, cohort):
    storage = open_storage(str(tmp_path / "j"))
    for tuned, name in (("dropout", "head"), ("copies", "renamed")):
        job = StudyJob(name, Head(cohort.root), {tuned: Choices((0, 1))}, folds=(0, 1))
        study = open_study(job, storage)
        text = json.dumps(study.user_attrs[IDENTITY])
        for old, new in HeadSettings.RENAMED.items():
            text = text.replace(f'"{new}"', f'"{old}"')
        study.set_user_attr(IDENTITY, json.loads(text))
        if name == "head":
            assert open_study(job, storage).study_name == "head"
        else:
            with pytest.raises(StudyError, match=r"tuned variants there, now copies(.|\n)*--warm-start"):
                open_study(job, storage)


def test_a_study_goes_on_whatever_its_cohort_said_of_cines_and_nodes(tmp_path, cohort):
    """An earlier version did not record it, and the fingerprint holds it."""
    storage = open_storage(str(tmp_path / "j"))
    job = toy_job(cohort.root)
    study = open_study(job, storage)
    held = study.user_attrs[IDENTITY]
    earlier = {"preparation": {"crop": "auto", "boxes": {"screen": 3}}, "patients": 24, "owners": 9}
    study.set_user_attr(IDENTITY, {**held, "cohort": {**held["cohort"], **earlier}})
    assert open_study(job, storage).study_name == study.study_name


def test_a_study_on_another_cohort_is_refused(tmp_path, cohort, make_cohort):
    run(tmp_path / "j", 1, toy_job(cohort.root))
    with pytest.raises(StudyError, match=r"cohort.fingerprint"):
        run(tmp_path / "j", 1, toy_job(make_cohort(27, name="other").root))


def test_several_objectives_are_weighed_without_pruning(tmp_path, cohort):
    [study] = run(tmp_path / "j", 8, toy_job(cohort.root, objectives=("auc", "recall:lymphoma", "seconds")))
    assert states(study) == [TrialState.COMPLETE] * 8
    assert study.metric_names == ["auc", "recall:lymphoma", "seconds"]
    assert best_trial(study).values[0] == max(t.values[0] for t in study.trials)


def test_an_unknown_objective_is_named():
    with pytest.raises(SettingsError, match="recall:lymphom: unknown objective") as caught:
        check_objectives(("auc", "recall:lymphom"), ("benign", "lymphoma"))
    assert "recall:lymphoma" in str(caught.value)


def test_every_metric_is_an_objective_with_its_direction(cohort):
    classes = ("benign", "lymphoma")
    names = tuple(name for metric in METRICS for name in metric.titles(classes))
    check_objectives(names, classes)
    lower = [metric.lower_is_better for metric in METRICS for _ in metric.titles(classes)]
    directions = toy_job(cohort.root, objectives=names).directions
    assert [direction == StudyDirection.MINIMIZE for direction in directions] == lower


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://me:secret@127.0.0.1:9/db", "cannot be reached"),
        ("mysql://me:secret@127.0.0.1:9/db", "driver of this database is missing"),
        ("nonsense://me:secret@db", "not the URL of a database"),
    ],
)
def test_a_storage_out_of_reach_is_retried_then_named_without_password(url, message, monkeypatch, capsys):
    monkeypatch.setattr(trials_module, "FIRST_PAUSE", 0)
    with pytest.raises(StudyError, match=message) as caught:
        open_storage(url)
    tries = capsys.readouterr().err
    assert tries.count("trying again") == (5 if "reached" in message else 0)
    assert "secret" not in str(caught.value) + tries


def refuse_pauses(seconds):
    raise AssertionError("waits for what cannot mend itself")


def test_a_journal_that_cannot_be_written_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(trials_module.time, "sleep", refuse_pauses)
    (tmp_path / "file").write_text("")
    with pytest.raises(StudyError, match=r"file/study\.journal.*cannot be written"):
        open_storage(str(tmp_path / "file" / "study.journal"))


@pytest.mark.parametrize("code", [errno.EROFS, errno.EACCES, errno.ENOSPC])
def test_a_storage_that_turns_read_only_or_full_is_refused_at_once(monkeypatch, code):
    monkeypatch.setattr(trials_module.time, "sleep", refuse_pauses)

    def fail():
        raise OSError(code, os.strerror(code))

    with pytest.raises(StudyError, match=r"cannot be written[^$]*--storage"):
        trials_module.with_retries(fail, "journal")


def test_half_a_line_of_a_full_disk_does_not_spoil_the_journal(tmp_path):
    journal = tmp_path / "j"
    optuna.create_study(study_name="a", storage=open_storage(str(journal)))
    with journal.open("ab") as file:
        file.write(b'{"op_code":0,"work')  # and no room for the rest
    optuna.create_study(study_name="b", storage=open_storage(str(journal)))
    assert optuna.get_all_study_names(open_storage(str(journal))) == ["a", "b"]


@pytest.fixture(scope="module")
def journal(tmp_path_factory):
    """Lines of the journal of a study of two trials."""
    path = tmp_path_factory.mktemp("journal") / "j"
    record = {"space": {"lr": [1, 2]}, "objectives": ["auc"], "folds": [0], "sampler": "tpe", "seed": 0}
    cohort = {"name": "x", "simulated": True, "classes": ["a", "b"], "modalities": ["2d"], "patients": 9}
    study = optuna.create_study(study_name="x/baseline-2d", storage=open_storage(str(path)), direction="maximize")
    study.set_user_attr(IDENTITY, {**record, "cohort": {**cohort, "fingerprint": "", "folds": "", "n_folds": 2}})
    for value in (0.5, 0.6):
        trial = study.ask()
        trial.suggest_categorical("lr", [1, 2])
        trial.report(value, 0)
        trial.set_user_attr(FOLD_SCORES, [{"loss": 0.5, "seconds": 1.0}])
        study.tell(trial, value)
    return path.read_text().splitlines()


@pytest.mark.parametrize("damage", ["op_code", "worker_id", "json", "text", "deep", "list", "bytes"])
def test_a_damaged_line_of_a_journal_is_named_with_a_way_out_that_works(tmp_path, journal, damage):
    path, line = tmp_path / "j", json.loads(journal[5])
    spoilt = {
        "op_code": json.dumps({**line, "op_code": 99}),
        "worker_id": json.dumps({key: value for key, value in line.items() if key != "worker_id"} | {"trial_id": 77}),
        "json": journal[5][:-9],
        "text": "an old note",
        "deep": "[" * 100_000,
        "list": "[1]",
        "bytes": "\udcff",
    }[damage]
    path.write_text("\n".join([*journal[:5], spoilt, *journal[6:], ""]), errors="surrogateescape")
    with pytest.raises(StudyError, match=r"line 6 of this journal is damaged") as caught:
        open_storage(str(path))
    subprocess.run(caught.value.way_out.split("`")[1], shell=True, check=True)
    assert optuna.get_all_study_names(open_storage(str(tmp_path / "mended-j"))) == ["x/baseline-2d"]


@pytest.mark.parametrize("content", [b"one note", b"one note\n", b"a = 1\nb = 2\n", b"SQLite format 3\0", b"\xff\xfe"])
def test_a_file_that_is_no_journal_is_refused_and_left_as_it_is(tmp_path, content):
    (tmp_path / "notes").write_bytes(content)
    with pytest.raises(StudyError, match=r"not a journal of studies"):
        open_storage(str(tmp_path / "notes"))
    assert (tmp_path / "notes").read_bytes() == content


def test_a_file_that_is_no_database_is_refused_at_once(tmp_path, monkeypatch):
    monkeypatch.setattr(trials_module.time, "sleep", refuse_pauses)
    (tmp_path / "notes").write_text("a note\n" * 999)
    with pytest.raises(StudyError, match="no database, or a damaged one"):
        open_storage(f"sqlite:///{tmp_path / 'notes'}")


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"values":[0.6]', '"values":["x"]'),
        ('"values":[0.6]', '"values":null'),
        ('"values":[0.6]', '"values":[0.6,1]'),
        ('"values":[0.6]', '"values":[NaN]'),
        ('"loss":0.5', '"loss":"x"'),
        ('"loss":0.5', '"lost":0.5'),
        ('"scores":[{', '"scores":[3,{'),
        ('"intermediate_value":0.6', '"intermediate_value":[]'),
        ('"step":0', '"step":"x"'),
        ('"param_name":"lr"', '"param_name":"lrx"'),
        ('"objectives":["auc"]', '"objectives":["auc","loss"]'),
        ('"fusion_ln":{', '"fusion":{'),
        ('"folds":[0]', '"folds":"x"'),
    ],
)
def test_what_a_damaged_journal_says_of_a_study_is_never_taken(tmp_path, journal, old, new):
    text = "\n".join([*journal, ""])
    assert old in text
    (tmp_path / "j").write_text(text)
    [study] = optuna.get_all_study_names(storage := open_storage(str(tmp_path / "j")))
    check_study(optuna.load_study(study_name=study, storage=storage))
    (tmp_path / "j").write_text(text.replace(old, new))
    storage = open_storage(str(tmp_path / "j"))
    with pytest.raises(StudyError, match=r"(its description|trial \d) is damaged.*\n.*Restore"):
        check_study(optuna.load_study(study_name=study, storage=storage))


def baseline_job(cohort, folds, **changes):
    target = BaselineObjective(cohort.root, BaselineSettings(modality="elastic", fit=FIT))
    space = read_space({"lr": {"low": 1e-4, "high": 1e-2, "log": True}}, FIT, "space")
    return replace(StudyJob("real", target, space, folds, known=({"lr": FIT.lr},), objectives=("loss",)), **changes)


def test_the_untuned_trial_scores_as_the_untuned_run_on_inner_validation(tmp_path, cohort):
    [trained] = run_baselines(cohort, ["elastic"], FIT, tmp_path / "runs", protocol="nested", seed=0, device=CPU)
    [study] = run(tmp_path / "j", 1, baseline_job(cohort, (0, 1)))
    inner = read_inner_predictions(trained.inner_predictions)
    truth = inner.probs[np.arange(len(inner.labels)), inner.labels]
    by_fold = [-np.log(truth[inner.folds == fold]).mean() for fold in (0, 1)]
    assert study.trials[0].value == pytest.approx(np.mean(by_fold), rel=1e-5)


def test_held_out_patients_cannot_change_a_baselines_study(tmp_path, cohort):
    """Their pictures are scrambled and their labels turned; the values of their fold's study stay."""
    [before] = run(tmp_path / "j", 2, baseline_job(cohort, (0,)))
    held_out = cohort.held_out(0)
    labels = cohort.patients.set_index("patient_id")["label"]
    labels[held_out] = (labels[held_out] + 1) % 3
    images = cohort.images.copy()
    for row, picture in images.iterrows():
        if picture["patient_id"] in held_out:
            path = cohort.root / picture["path"]
            Image.new("RGB", (40, 36)).save(path)
            images.loc[row, "sha256"] = hash_file(path)
    save_cohort(replace(cohort, patients=cohort.patients.assign(label=labels.to_numpy()), images=images))
    [after] = run(tmp_path / "k", 2, baseline_job(cohort, (0,)))
    assert values(after) == values(before)
    [other_fold] = run(tmp_path / "l", 1, baseline_job(cohort, (1,)))
    assert other_fold.trials[0].value != before.trials[0].value


def test_held_out_patients_cannot_change_a_heads_study(tmp_path, cohort):
    members = run_baselines(cohort, ["2d", "cdfi"], FIT, tmp_path / "runs", device=CPU)
    target = HeadObjective(cohort.root, tuple(m.root for m in members), HEAD, seed=0)
    space = read_space({"width": [8, 16], "lr": {"low": 1e-4, "high": 1e-2, "log": True}}, HEAD, "space")
    job = StudyJob("head", target, space, (0,), ("loss",), known=({"width": 16, "lr": HEAD.lr},))
    [before] = run(tmp_path / "j", 3, job)
    for member in members:
        tokens = picture_tokens(cohort, member, 0, HEAD, torch.device("cpu"))
        spoiled = np.array(tokens.tokens)
        spoiled[np.isin(tokens.patients, cohort.held_out(0))] = 7
        np.save(tokens.tokens.filename, spoiled)
    open_tokens.cache_clear()
    [after] = run(tmp_path / "k", 3, job)
    assert values(after) == values(before)


def test_trials_compute_new_tokens_only_where_these_change(tmp_path, cohort):
    members = run_baselines(cohort, ["2d", "cdfi"], FIT, tmp_path / "runs", device=CPU)
    objective = HeadObjective(cohort.root, tuple(m.root for m in members), HEAD, seed=0)
    others = {"width": [8, 16], "depth": [1, 2], "dropout": [0.1, 0.2], "epochs": [1, 2], "lr": [1e-3, 1e-2]}
    for space, n_banks in ((others, 1), ({"copies": [1, 2], "width": [8, 16]}, 2)):
        open_tokens.cache_clear()
        known = tuple({name: choices[k] for name, choices in space.items()} for k in (0, 1))
        dimensions = read_space({name: sorted({*each, getattr(HEAD, name)}) for name, each in space.items()}, HEAD, "")
        run(tmp_path / f"j{n_banks}", 2, StudyJob("head", objective, dimensions, (0,), ("loss",), known=known))
        assert open_tokens.cache_info().misses == n_banks


def test_an_objective_that_inner_validation_cannot_tell_is_refused(tmp_path, cohort, monkeypatch):
    one_class = PatientLogits(["P1", "P2"], np.zeros(2, dtype=int), np.eye(3)[:2])
    monkeypatch.setattr(Toy, "fit", lambda self, tuned, fold, fabric, folder, on_epoch: one_class)
    with pytest.raises(StudyError, match="lack a class"):
        run(tmp_path / "j", 1, toy_job(cohort.root))


def test_a_trial_that_the_disk_fails_is_named_and_tried_again(tmp_path, cohort, monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as broken:
        broken.setattr(Toy, "fit", fail)
        with pytest.raises(StudyError, match="No space left"):
            run(tmp_path / "j", 3, toy_job(cohort.root))
    [study] = run(tmp_path / "j", 3, toy_job(cohort.root))
    assert states(study) == [TrialState.FAIL, *[TrialState.COMPLETE] * 3]


OPTUNA = """
import os, sys
os.dup2(os.open(os.devnull, os.O_WRONLY), 2)  # its log
from optuna.cli import main
sys.exit(main())
"""


def test_optunas_own_command_reads_the_storage(storage, cohort):
    run(storage, 3, toy_job(cohort.root))
    code, printed = finished(OPTUNA, "trials", "--study-name", "toy", "--storage", storage, "-f", "json")
    assert code == 0, printed
    assert [trial["state"] for trial in json.loads(printed)] == ["COMPLETE"] * 3
