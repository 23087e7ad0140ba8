from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from fusion_ln.cohort.folder import redraw_folds
from fusion_ln.errors import RunError
from fusion_ln.heads import LATE_HEADS
from fusion_ln.predictions import Predictions, predictions_from_logits, read_predictions, write_predictions
from fusion_ln.records.kinds import BaselineRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parts import UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.terms import subsets
from fusion_ln.training.fusion.late import fuse_late


@pytest.fixture
def cohort(make_cohort):
    return make_cohort(30, absent={5: {"cdfi", "elastic"}, 6: {"2d"}})


@pytest.fixture
def members(cohort, tmp_path):
    """Baselines that never saw a network: predictions drawn at random, with some knowledge of the label."""
    rng = np.random.default_rng(3)
    runs = []
    for modality in cohort.modalities:
        run = RunFolder(tmp_path / "runs" / f"baseline-{modality}")
        settings = BaselineSettings(modality=modality)
        run.write_record(BaselineRecord(settings=settings, cohort=cohort.describe(), **new_origin()))
        labels = cohort.patients.set_index("patient_id")["label"]

        def predict(patients, folds, labels=labels):
            true = labels.loc[patients].to_numpy()
            logits = rng.normal(size=(len(patients), 3)) + 1.5 * np.eye(3)[true]
            return predictions_from_logits(cohort.classes, patients, np.asarray(folds), true, logits)

        held = sorted(cohort.patients_with(modality))
        folds = cohort.folds.set_index("patient_id")["fold"].loc[held]
        inner = [(p, k) for k in range(cohort.n_folds) for p in cohort.training_part(k)[1] if p in set(held)]
        write_predictions(run.inner_predictions, predict([p for p, _ in inner], [k for _, k in inner]))
        write_predictions(run.predictions, predict(held, folds.to_numpy()))
        runs.append(run)
    return runs


def test_the_mean_of_probabilities_is_that_of_the_modalities_a_patient_has(cohort, members, tmp_path):
    fused = fuse_late(cohort, members, "late-mean", RunFolder(tmp_path / "f")).table.set_index("patient_id")
    tables = [read_predictions(m.predictions).table.set_index("patient_id") for m in members]
    for patient in cohort.patients["patient_id"]:
        own = [t.loc[patient, "prob_lymphoma"] for t in tables if patient in t.index]
        assert fused.loc[patient, "prob_lymphoma"] == pytest.approx(np.mean(own))
    assert len(fused) == 30


@pytest.mark.parametrize("head", LATE_HEADS)
def test_one_modality_alone_says_what_its_baseline_does(cohort, members, head, tmp_path):
    """As far as the class goes: stacking may bend probabilities. Of the patients who have it."""
    run = RunFolder(tmp_path / "f")
    fuse_late(cohort, members, head, run)
    table = pd.read_parquet(run.subset_predictions)
    assert set(table["modalities"]) == set(subsets(cohort.modalities))
    for member, modality in zip(members, cohort.modalities, strict=True):
        alone = table[table["modalities"] == modality].set_index("patient_id")
        expected = read_predictions(member.predictions).table.set_index("patient_id")
        assert set(alone.index) == set(expected.index)
        if head in ("late-mean", "late-logit", "late-weighted"):
            np.testing.assert_allclose(alone["prob_benign"], expected.loc[alone.index, "prob_benign"])
    pair = table[table["modalities"] == "2d+cdfi"]
    assert set(pair["patient_id"]) == set(cohort.patients["patient_id"]) - {"P005", "P006"}


@pytest.mark.parametrize("head", LATE_HEADS)
def test_tables_are_joined_by_patient_never_by_row(cohort, members, head, tmp_path):
    first = fuse_late(cohort, members, head, RunFolder(tmp_path / "a"))
    for member in members:
        for path in (member.predictions, member.inner_predictions):
            pd.read_parquet(path).sample(frac=1, random_state=1).to_parquet(path)
    second = fuse_late(cohort, members, head, RunFolder(tmp_path / "b"))
    np.testing.assert_allclose(first.probs, second.probs, atol=1e-6)


@pytest.mark.parametrize("head", LATE_HEADS)
def test_held_out_labels_cannot_change_a_fused_prediction(cohort, members, head, tmp_path):
    first = fuse_late(cohort, members, head, RunFolder(tmp_path / "a"))
    for member in members:
        table = pd.read_parquet(member.predictions)
        table["label"] = (table["label"] + 1) % 3
        table.to_parquet(member.predictions)
    second = fuse_late(cohort, members, head, RunFolder(tmp_path / "b"))
    np.testing.assert_array_equal(first.probs, second.probs)


@pytest.mark.parametrize("head", ["late-weighted", "late-stacked"])
def test_what_a_head_learns_comes_from_its_own_folds_inner_patients(cohort, members, head, tmp_path):
    """Spoiling the inner predictions of fold 1 changes the patients of fold 1 and no other."""
    first = fuse_late(cohort, members, head, RunFolder(tmp_path / "a"))
    table = pd.read_parquet(members[0].inner_predictions)
    logits = [c for c in table if c.startswith("logit_")]
    table.loc[table["fold"] == 1, logits] = table.loc[table["fold"] == 1, logits].to_numpy()[:, ::-1] * 3
    table.to_parquet(members[0].inner_predictions)
    second = fuse_late(cohort, members, head, RunFolder(tmp_path / "b"))
    changed = ~np.isclose(first.probs, second.probs, atol=1e-9).all(axis=1)
    assert changed.any()
    assert set(first.folds[changed]) == {1}


def test_a_fusion_records_what_it_was_made_of(cohort, members, tmp_path):
    run = RunFolder(tmp_path / "runs" / "fusion-late-weighted")
    fuse_late(cohort, members, "late-weighted", run)
    record = run.read_record()
    assert record.members == tuple(f"../baseline-{m}" for m in cohort.modalities)
    assert [sum(fold["weights"]) for fold in record.learnt] == pytest.approx([1, 1])
    assert record.units == UnitCounts(predicted=30, skipped=0)


def test_baselines_of_other_folds_are_refused(cohort, members, tmp_path):
    other = redraw_folds(cohort.root, k=3)
    with pytest.raises(RunError, match="other folds"):
        fuse_late(other, members, "late-mean", RunFolder(tmp_path / "f"))


def test_an_unfinished_baseline_is_refused(cohort, members, tmp_path):
    members[1].predictions.unlink()
    with pytest.raises(RunError, match="baseline-cdfi: not a finished baseline"):
        fuse_late(cohort, members, "late-mean", RunFolder(tmp_path / "f"))


def test_two_classes_are_fused_as_well(cohort, members, tmp_path):
    """A binary cohort takes the same road; here by merging lymphoma into metastatic."""
    merged = cohort.patients.assign(label=cohort.patients["label"].clip(upper=1))
    binary = replace(cohort, classes=("benign", "malignant"), patients=merged)
    for member in members:
        member.write_record(member.read_record().model_copy(update={"cohort": binary.describe()}))
        for path in (member.predictions, member.inner_predictions):
            t = pd.read_parquet(path)
            logits = t[["logit_benign", "logit_lymphoma"]].to_numpy()
            keys = (t["patient_id"].tolist(), t["fold"].to_numpy(), t["label"].clip(upper=1).to_numpy())
            write_predictions(path, predictions_from_logits(binary.classes, *keys, logits))
    for head in LATE_HEADS:
        fused = fuse_late(binary, members, head, RunFolder(tmp_path / head))
        assert isinstance(fused, Predictions)
        assert fused.probs.shape == (30, 2)
