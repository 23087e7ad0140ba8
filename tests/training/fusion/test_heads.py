import dataclasses
import shutil
from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image
from tiny import CPU, FIT, build_cohort
from tiny import HEAD as TINY_HEAD

from fusion_ln.cohort.clinical import learn_columns, standardise
from fusion_ln.cohort.folder import redraw_folds, save_cohort
from fusion_ln.compute.engines import run_jobs
from fusion_ln.compute.threads import threads_per_fit
from fusion_ln.errors import CohortError, RunError, SettingsError
from fusion_ln.files.atomic import TEMPORARY
from fusion_ln.files.hashes import hash_file
from fusion_ln.heads import TRAINED_HEADS
from fusion_ln.images.bank import open_bank
from fusion_ln.images.batches import as_network_input
from fusion_ln.images.patients import gather_pictures
from fusion_ln.models.checkpoint import load_checkpoint, load_head
from fusion_ln.models.triplet import load_run, logits_of
from fusion_ln.predictions import read_predictions
from fusion_ln.records.parts import UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import FinetuneSettings
from fusion_ln.terms import cache_folder
from fusion_ln.training.crossval import cross_fit_jobs
from fusion_ln.training.fusion.head_job import train_heads
from fusion_ln.training.fusion.late import finished_baseline
from fusion_ln.training.fusion.task import FusionTask, PatientBatches
from fusion_ln.training.fusion.token_job import token_jobs
from fusion_ln.training.fusion.tokens import compute_tokens, picture_tokens, token_bank
from fusion_ln.training.parts import CROSS_PARTS, training_parts
from fusion_ln.training.run import run_baselines, run_fusions

HEAD = TINY_HEAD.model_copy(update={"copies": 2, "grid": 2})
LACKING = {3: {"2d"}, 8: {"cdfi", "elastic"}}  # absent pictures


@pytest.fixture(scope="module")
def train_once(tmp_path_factory):
    """Train the baselines of one cohort per set of changes."""

    @cache
    def train(views=1, absent=()):
        folder = tmp_path_factory.mktemp("trained")
        cohort = build_cohort(folder, 24, views=views, absent=dict(absent))
        runs = run_baselines(
            cohort, list(cohort.modalities), FIT, folder / "runs", protocol="nested", seed=0, device=CPU
        )
        return cohort, runs

    return train


@pytest.fixture
def trained(train_once, tmp_path):
    """A cohort and its trained baselines, in a copy that the test may change."""

    def copy(views=1, absent=None):
        lacking = tuple((number, frozenset(modalities)) for number, modalities in (absent or {}).items())
        cohort, runs = train_once(views, lacking)
        for run in runs:
            shutil.copytree(run.root, tmp_path / "runs" / run.name)
        return cohort, [RunFolder(tmp_path / "runs" / run.name) for run in runs]

    return copy


def head_run(cohort, members, folder, device=CPU, **changes):
    run = RunFolder(folder)
    settings = HEAD.model_copy(update=changes)
    train_heads(cohort, members, {run: settings}, seed=0, device=device)
    return run, read_predictions(run.predictions)


def bank_of(cohort, pictures, columns=()):
    labels = cohort.patients.set_index("patient_id")["label"]
    return token_bank(pictures, labels, standardise(cohort.patients, columns))


@pytest.mark.parametrize("head", TRAINED_HEADS)
def test_a_head_predicts_every_patient_and_every_subset_that_a_patient_has(trained, tmp_path, head):
    cohort, members = trained(absent=LACKING)
    run, predictions = head_run(cohort, members, tmp_path / "head", head=head)
    assert predictions.patients == sorted(cohort.patients["patient_id"])
    subset = pd.read_parquet(run.subset_predictions).groupby("modalities")["patient_id"].nunique()
    assert subset.to_dict() == {
        "2d": 23, "cdfi": 23, "elastic": 23, "2d+cdfi": 22, "2d+elastic": 22, "cdfi+elastic": 23, "2d+cdfi+elastic": 22,
    }  # fmt: skip
    assert run.read_record().units == UnitCounts(predicted=24, skipped=0)


def test_the_same_command_gives_the_same_bytes_by_any_number_of_workers(trained, tmp_path):
    cohort, members = trained()
    first, _ = head_run(cohort, members, tmp_path / "a")
    second, _ = head_run(cohort, members, tmp_path / "b", CPU.model_copy(update={"workers": 2}))
    assert first.predictions.read_bytes() == second.predictions.read_bytes()
    assert first.subset_predictions.read_bytes() == second.subset_predictions.read_bytes()


def test_a_fold_that_was_finished_is_not_trained_again(trained, tmp_path):
    """The others are, to the bytes of a run that was not interrupted."""
    cohort, members = trained()
    run, _ = head_run(cohort, members, tmp_path / "head")
    whole, kept = run.predictions.read_bytes(), run.checkpoint(0)
    run.predictions.unlink()
    shutil.rmtree(run.fold(1))
    written = kept.stat().st_mtime_ns
    head_run(cohort, members, run.root)
    assert run.predictions.read_bytes() == whole
    assert kept.stat().st_mtime_ns == written


def test_tokens_are_the_feature_map_of_the_folds_own_network(trained):
    cohort, members = trained(views=2)
    tokens = picture_tokens(cohort, members[1], 1, HEAD, torch.device("cpu"))
    model, _ = load_checkpoint(members[1].checkpoint(1))
    bank = open_bank(cohort, "cdfi", 32)
    picture = as_network_input(torch.from_numpy(bank.pixels[[5]]))
    with torch.no_grad():
        feature_map = model.backbone.feature_map(picture)
        logits = model(picture)
    assert tokens.tokens.shape[:2] == (48, 3)  # pictures; the picture itself and two augmented versions
    mean = feature_map.mean((2, 3))[0]
    np.testing.assert_allclose(tokens.tokens[5, 0].mean(0), mean, atol=2e-3)
    np.testing.assert_allclose(tokens.logits[5, 0], logits[0], atol=1e-4)
    assert not np.allclose(tokens.tokens[5, 0], tokens.tokens[5, 1], atol=1e-3)


def test_training_patients_alone_have_augmented_versions(trained):
    """Nobody else's are ever looked at, so nan stands in their place and no random number differs for the others'."""
    cohort, members = trained()
    tokens = picture_tokens(cohort, members[2], 1, HEAD, torch.device("cpu"))
    training = np.isin(tokens.patients, cohort.training_part(1)[0])
    model, checkpoint = load_checkpoint(members[2].checkpoint(1))
    whole = compute_tokens(
        model, checkpoint.settings, open_bank(cohort, "elastic", 32), HEAD, device=torch.device("cpu")
    )
    for found, expected in ((tokens.tokens, whole.tokens), (tokens.logits, whole.logits)):
        assert np.isnan(found[~training, 1:]).all()
        assert not np.isnan(found[:, 0]).any()
        np.testing.assert_allclose(found[training], expected[training], atol=2e-3)


def test_tokens_are_computed_once_and_anew_for_another_network(trained):
    cohort, members = trained()
    half = cache_folder() / "tokens" / f".a.tokens.npy.killed{TEMPORARY}"
    half.parent.mkdir(parents=True)
    half.touch()
    for fold in (0, 0, 1):
        picture_tokens(cohort, members[0], fold, HEAD, torch.device("cpu"))
    assert len(list(half.parent.glob("*.tokens.npy"))) == 2
    assert not half.exists()  # what a killed process left


def test_a_patients_pictures_are_found_by_patient(trained):
    cohort, members = trained(views=2, absent={2: {"cdfi"}})
    pictures = [picture_tokens(cohort, m, 0, HEAD, torch.device("cpu")) for m in members]
    bank = bank_of(cohort, pictures)
    batch = next(PatientBatches(bank, bank.of(["P002", "P005"]), 4).in_order())
    assert batch.patients.tolist() == ["P002", "P005"]
    assert batch.triplets.present.tolist() == [[[True, True], [False, False], [True, True]], [[True, True]] * 3]
    rows = np.flatnonzero(pictures[1].patients == "P005")
    np.testing.assert_array_equal(batch.triplets.tokens[1, 1].numpy(), pictures[1].tokens[rows, 0])
    labels = cohort.patients.set_index("patient_id")["label"]
    assert batch.labels.tolist() == labels.loc[["P002", "P005"]].tolist()


def test_held_out_patients_cannot_change_the_head_that_predicts_them(trained, tmp_path):
    """Their tokens are spoiled on disk; the head of their fold is the same, byte for byte."""
    cohort, members = trained()
    first, _ = head_run(cohort, members, tmp_path / "a")
    held_out = set(cohort.held_out(0))
    for member in members:
        tokens = picture_tokens(cohort, member, 0, HEAD, torch.device("cpu"))
        spoiled = np.array(tokens.tokens)
        spoiled[[p in held_out for p in tokens.patients]] = 7
        np.save(tokens.tokens.filename, spoiled)
    second, _ = head_run(cohort, members, tmp_path / "b")
    assert first.checkpoint(0).read_bytes() == second.checkpoint(0).read_bytes()
    assert first.checkpoint(1).read_bytes() == second.checkpoint(1).read_bytes()


def test_cross_fits_never_see_the_part_they_are_for(trained, make_cohort, tmp_path):
    """With noise in the place of these patients' pictures, the network is the same, byte for byte."""
    cohort, members = trained()
    job = cross_fit_jobs(cohort, finished_baseline(cohort, members[0]), members[0], CPU)[1]
    unseen = training_parts(cohort, job.fold)[job.part]
    spoiled = make_cohort(24, name="spoiled")
    images = spoiled.images.copy()
    for row in images[images["patient_id"].isin(unseen)].itertuples():
        noise = np.random.default_rng(row.Index).integers(0, 255, (36, 40, 3), dtype=np.uint8)
        Image.fromarray(noise).save(spoiled.picture_path(row.path))
        images.loc[row.Index, "sha256"] = hash_file(spoiled.picture_path(row.path))
    save_cohort(replace(spoiled, images=images))
    other = replace(job, cohort=spoiled.root, folder=RunFolder(tmp_path / "other"))
    run_jobs([job, other], shares=2)
    assert unseen
    assert job.checkpoint.read_bytes() == other.checkpoint.read_bytes()
    assert job.checkpoint.read_bytes() != members[0].checkpoint(job.fold).read_bytes()


def test_cross_fitted_tokens_of_a_folds_own_network_are_its_own(trained):
    """Nothing to translate: what training patients get is what they had. Logits are those of the other network."""
    cohort, members = trained()
    for part in range(CROSS_PARTS):
        place = members[0].cross_checkpoint(0, part)
        place.parent.mkdir(parents=True)
        shutil.copy(members[0].checkpoint(0), place)
    fitted, crossed = (
        picture_tokens(cohort, members[0], 0, HEAD.model_copy(update={"tokens": whose}), torch.device("cpu"))
        for whose in ("fitted", "cross-fitted")
    )
    np.testing.assert_array_equal(fitted.logits, crossed.logits)
    training = np.isin(fitted.patients, cohort.training_part(0)[0])
    np.testing.assert_array_equal(fitted.tokens[~training], crossed.tokens[~training])
    spread = fitted.tokens[training].std()
    assert np.abs(fitted.tokens[training] - crossed.tokens[training]).mean() < 0.2 * spread


def test_a_head_learns_from_cross_fitted_tokens(trained, tmp_path):
    cohort, members = trained()
    [run] = run_fusions(
        cohort, members, {"crossed": HEAD.model_copy(update={"tokens": "cross-fitted"})}, tmp_path, seed=0, device=CPU
    )
    assert run.finished
    members[1].cross_checkpoint(0, 0).unlink()
    with pytest.raises(RunError, match=r"cross_0/best\.safetensors: is missing"):
        head_run(cohort, members, tmp_path / "again", tokens="cross-fitted")


FINETUNE = {"epochs": 2, "batch_size": 6, "lr": 1e-2, "accumulate": 2, "precision": "32-true"}


def test_fine_tuning_trains_networks_and_head_and_keeps_the_baselines(trained, tmp_path):
    cohort, members = trained(absent=LACKING)
    before = members[1].checkpoint(0).read_bytes()
    run, predictions = head_run(cohort, members, tmp_path / "head", finetune=FinetuneSettings(**FINETUNE))
    assert predictions.patients == sorted(cohort.patients["patient_id"])
    assert members[1].checkpoint(0).read_bytes() == before
    baseline, model = load_checkpoint(members[1].checkpoint(0))[0], load_run(run).models[0]
    tuned, old = model.members["cdfi"].state_dict(), baseline.state_dict()
    moved = {name for name in old if not torch.equal(old[name], tuned[name])}
    assert any("conv" in name for name in moved)
    assert not any("running_" in name for name in moved)  # statistics of batches of triplets would be poor ones
    assert run.read_record().folds[0].peak_memory_mib > 0


def test_a_fine_tuned_model_predicts_as_it_did_in_cross_validation(trained, tmp_path):
    cohort, members = trained(views=2)
    run, predictions = head_run(cohort, members, tmp_path / "head", finetune=FinetuneSettings(**FINETUNE))
    model = load_run(run).models[1]
    given = gather_pictures({m: open_bank(cohort, m, 32) for m in cohort.modalities})
    held_out = cohort.held_out(1)
    logits = logits_of(model, given.cut(given.of(held_out)))
    np.testing.assert_allclose(logits, predictions.of(held_out).logits, atol=1e-4)


@pytest.mark.slow
def test_fine_tuning_goes_on_after_an_interruption(trained, tmp_path, monkeypatch):
    """Stopped in the last epoch of the last fold, it ends with the bytes of a run that was not."""
    cohort, members = trained()
    finetuning = FinetuneSettings(**FINETUNE)
    whole, _ = head_run(cohort, members, tmp_path / "whole", finetune=finetuning)
    validate, calls = FusionTask.validate, []

    def interrupted(self, *args):
        calls.append(1)
        if len(calls) == 2 * (HEAD.epochs + finetuning.epochs):  # the last epoch of the last fold
            raise KeyboardInterrupt
        return validate(self, *args)

    monkeypatch.setattr(FusionTask, "validate", interrupted)
    with pytest.raises(KeyboardInterrupt):
        head_run(cohort, members, tmp_path / "stopped", finetune=finetuning)
    stopped, _ = head_run(cohort, members, tmp_path / "stopped", finetune=finetuning)
    assert stopped.predictions.read_bytes() == whole.predictions.read_bytes()
    assert not list(stopped.root.glob("fold_*/states"))


def test_several_seeds_answer_with_the_mean_of_their_logits(trained, tmp_path):
    cohort, members = trained()
    run, predictions = head_run(cohort, members, tmp_path / "head", ensemble_size=3)
    heads, _ = load_head(run.checkpoint(0), 0, HEAD.model_copy(update={"ensemble_size": 3}))
    pictures = [picture_tokens(cohort, m, 0, HEAD, torch.device("cpu")) for m in members]
    bank = bank_of(cohort, pictures)
    held_out = cohort.held_out(0)
    batch = bank.cut(bank.of(held_out))
    with torch.no_grad():
        alone = [head(*batch.inputs(batch.modalities_present, torch.device("cpu"))).numpy() for head in heads.heads]
    assert not np.allclose(alone[0], alone[1], atol=1e-4)
    np.testing.assert_allclose(predictions.of(held_out).logits, np.mean(alone, axis=0), atol=1e-5)


def test_networks_that_give_other_tokens_cannot_share_a_head(trained, tmp_path):
    cohort, members = trained()
    other = run_baselines(
        cohort, ["elastic"], FIT.model_copy(update={"backbone": "resnet10t"}), tmp_path / "other",
        protocol="nested", seed=0, device=CPU,
    )  # fmt: skip
    with pytest.raises(SettingsError, match=r"different tokens \(baseline-2d 1 of 96, .*elastic 1 of 512\)"):
        head_run(cohort, [*members[:2], *other], tmp_path / "head")


def test_a_head_keeps_how_it_reads_its_clinical_columns(trained, tmp_path):
    cohort, members = trained()
    patients = cohort.patients.assign(age=np.linspace(20, 80, 24), sex=["F", "M"] * 12)
    patients.loc[3, "age"] = np.nan
    clinical = replace(cohort, patients=patients)
    save_cohort(clinical)
    run, predictions = head_run(clinical, members, tmp_path / "head", clinical=("age", "sex"))
    assert len(predictions.patients) == 24
    heads, columns = load_head(run.checkpoint(1), 1, HEAD.model_copy(update={"clinical": ("age", "sex")}))
    assert heads.heads[0].fuse.sequence.project.clinical.in_features == 2
    assert columns == learn_columns(clinical, ["age", "sex"], 1)


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("height", None, "no clinical column 'height'"),
        ("ward", ["north"] * 24, "constant"),
        ("verdict", [0.5, 1.5, 2.5] * 8, "the class under another name"),
        ("notes", [f"note {i}" for i in range(24)], "text with 24 values"),
    ],
)
def test_a_clinical_column_that_cannot_be_used_is_named(trained, tmp_path, column, values, message):
    cohort, members = trained()
    patients = cohort.patients if values is None else cohort.patients.assign(**{column: pd.Series(values)})
    with pytest.raises(CohortError, match=message):
        head_run(dataclasses.replace(cohort, patients=patients), members, tmp_path / "head", clinical=(column,))


def test_pretrained_tokens_of_baselines_from_scratch_are_refused(trained, tmp_path):
    cohort, members = trained()
    with pytest.raises(SettingsError, match="trained from scratch"):
        head_run(cohort, members, tmp_path / "head", tokens="pretrained")


def test_baselines_of_other_folds_are_refused(trained, tmp_path):
    cohort, members = trained()
    again = shutil.copytree(cohort.root, tmp_path / "again")
    with pytest.raises(RunError, match="other folds"):
        head_run(redraw_folds(again, k=3), members, tmp_path / "head")


def test_an_absent_pictures_file_is_never_read(trained, tmp_path):
    """A patient without Doppler gets the same answer whatever the other patients' Doppler pictures show."""
    cohort, members = trained(absent=LACKING)
    _, predictions = head_run(cohort, members, tmp_path / "a")
    fold = predictions.folds[predictions.patients.index("P008")]
    mates = [p for p in cohort.held_out(fold) if p != "P008"]
    tokens = picture_tokens(cohort, members[1], fold, HEAD, torch.device("cpu"))
    spoiled = np.array(tokens.tokens)
    spoiled[np.isin(tokens.patients, mates)] = 3
    np.save(tokens.tokens.filename, spoiled)
    _, again = head_run(cohort, members, tmp_path / "b")
    np.testing.assert_array_equal(predictions.of(["P008"]).probs, again.of(["P008"]).probs)
    assert not np.allclose(predictions.of(mates).probs, again.of(mates).probs)


def test_a_heads_bytes_do_not_depend_on_the_threads_of_the_process(trained, tmp_path, monkeypatch):
    """Neither on OMP_NUM_THREADS nor on what earlier fits set, as after a restart."""
    cohort, members = trained()
    runs, seen = [], set()
    validate = FusionTask.validate

    def watched(self, *args):
        seen.add(torch.get_num_threads())
        return validate(self, *args)

    monkeypatch.setattr(FusionTask, "validate", watched)
    for threads in (1, 5):
        monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path / f"cache-{threads}"))  # tokens are computed anew
        torch.set_num_threads(threads)
        runs.append(head_run(cohort, members, tmp_path / f"head-{threads}")[0])
    assert seen == {threads_per_fit(cohort.n_folds)}
    assert runs[0].checkpoint(0).read_bytes() == runs[1].checkpoint(0).read_bytes()
    assert runs[0].predictions.read_bytes() == runs[1].predictions.read_bytes()


def test_tokens_computed_side_by_side_are_those_of_one_process_and_are_kept(trained, tmp_path, monkeypatch):
    cohort, members = trained()
    monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path / "alone"))
    alone = [picture_tokens(cohort, member, 1, HEAD, torch.device("cpu")) for member in members]
    monkeypatch.setenv("FUSIONLN_CACHE", str(tmp_path / "beside"))
    modalities = dict(zip(members, cohort.modalities, strict=True))
    jobs = token_jobs(cohort, modalities, [HEAD, HEAD], CPU.model_copy(update={"workers": 2}))
    run_jobs(jobs, shares=cohort.n_folds)
    stored = {file: file.stat().st_mtime_ns for file in (tmp_path / "beside" / "tokens").glob("*.npy")}
    assert len(stored) == 2 * len(members) * cohort.n_folds
    for member, expected in zip(members, alone, strict=True):
        found = picture_tokens(cohort, member, 1, HEAD, torch.device("cpu"))
        np.testing.assert_array_equal(found.tokens, expected.tokens)
        np.testing.assert_array_equal(found.logits, expected.logits)
    assert {file: file.stat().st_mtime_ns for file in stored} == stored
    assert token_jobs(cohort, modalities, [HEAD], CPU) == []
