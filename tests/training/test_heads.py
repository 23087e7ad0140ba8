import numpy as np
import pandas as pd
import pytest
import torch

from fusion_ln.cohort.cohort import redraw_folds
from fusion_ln.errors import CohortError, RunError, SettingsError
from fusion_ln.images.bank import open_bank
from fusion_ln.models.checkpoint import load_checkpoint, load_head
from fusion_ln.runs import RunFolder
from fusion_ln.settings import FitSettings, HeadSettings
from fusion_ln.terms import TRAINED_HEADS, cache_folder
from fusion_ln.training.device import DeviceSettings
from fusion_ln.training.experiment import run_baselines
from fusion_ln.training.heads import subsets, train_head
from fusion_ln.training.patients import PatientBatches
from fusion_ln.training.tasks import as_network_input
from fusion_ln.training.tokens import picture_tokens, triplet_bank

FIT = FitSettings(backbone="test_resnet", image_size=32, epochs=1, batch_size=4, head_width=8, precision="32-true")
HEAD = HeadSettings(width=16, epochs=2, batch_size=8, variants=2, grid=2)
CPU = DeviceSettings(device="cpu", workers=1)


@pytest.fixture
def trained(make_cohort, tmp_path):
    def train(**changes):
        cohort = make_cohort(24, **changes)
        runs = run_baselines(
            cohort, list(cohort.modalities), FIT, tmp_path / "runs", protocol="nested", seed=0, device=CPU
        )
        return cohort, runs

    return train


def head_run(cohort, members, folder, **changes):
    run = RunFolder(folder)
    settings = HEAD.model_copy(update=changes)
    return run, train_head(cohort, members, settings, run, seed=0, device=CPU)


def test_all_subsets_of_a_triplet_are_seven():
    assert ["+".join(s) for s in subsets(("2d", "cdfi", "elastic"))] == [
        "2d", "cdfi", "elastic", "2d+cdfi", "2d+elastic", "cdfi+elastic", "2d+cdfi+elastic",
    ]  # fmt: skip


@pytest.mark.parametrize("head", TRAINED_HEADS)
def test_a_head_predicts_every_patient_and_every_subset_that_a_patient_has(trained, tmp_path, head):
    cohort, members = trained(absent={3: {"2d"}, 8: {"cdfi", "elastic"}})
    run, predictions = head_run(cohort, members, tmp_path / "head", head=head)
    assert predictions.patients == sorted(cohort.patients["patient_id"])
    subset = pd.read_parquet(run.subset_predictions).groupby("modalities")["patient_id"].nunique()
    assert subset.to_dict() == {
        "2d": 23, "cdfi": 23, "elastic": 23, "2d+cdfi": 22, "2d+elastic": 22, "cdfi+elastic": 23, "2d+cdfi+elastic": 22,
    }  # fmt: skip
    assert run.read_record()["patients"] == {"predicted": 24, "skipped": 0}


def test_the_same_command_gives_the_same_bytes(trained, tmp_path):
    cohort, members = trained()
    first, second = (head_run(cohort, members, tmp_path / name)[0] for name in "ab")
    assert first.predictions.read_bytes() == second.predictions.read_bytes()


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


def test_tokens_are_computed_once_and_anew_for_another_network(trained):
    cohort, members = trained()
    for fold in (0, 0, 1):
        picture_tokens(cohort, members[0], fold, HEAD, torch.device("cpu"))
    assert len(list((cache_folder() / "tokens").glob("*.tokens.npy"))) == 2


def test_a_patients_pictures_are_found_by_patient(trained):
    cohort, members = trained(views=2, absent={2: {"cdfi"}})
    pictures = [picture_tokens(cohort, m, 0, HEAD, torch.device("cpu")) for m in members]
    bank = triplet_bank(pictures, cohort.patients.set_index("patient_id")["label"], np.zeros((24, 0)))
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


def test_clinical_columns_are_standardised_on_the_training_part(trained, tmp_path):
    cohort, members = trained()
    patients = cohort.patients.assign(age=np.linspace(20, 80, 24), sex=["F", "M"] * 12)
    patients.loc[3, "age"] = np.nan
    clinical = type(cohort)(**{**cohort.__dict__, "patients": patients})
    run, predictions = head_run(clinical, members, tmp_path / "head", clinical=("age", "sex"))
    assert len(predictions.patients) == 24
    assert load_head(run.checkpoint(0)).heads[0].fuse.sequence.project.clinical.in_features == 2


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("height", None, "no clinical column 'height'"),
        ("ward", ["north"] * 24, "constant"),
        ("notes", [f"note {i}" for i in range(24)], "text with 24 values"),
    ],
)
def test_a_clinical_column_that_cannot_be_used_is_named(trained, tmp_path, column, values, message):
    cohort, members = trained()
    patients = cohort.patients if values is None else cohort.patients.assign(**{column: pd.Series(values)})
    with pytest.raises(CohortError, match=message):
        head_run(
            type(cohort)(**{**cohort.__dict__, "patients": patients}), members, tmp_path / "head", clinical=(column,)
        )


def test_pretrained_tokens_of_baselines_from_scratch_are_refused(trained, tmp_path):
    cohort, members = trained()
    with pytest.raises(SettingsError, match="trained from scratch"):
        head_run(cohort, members, tmp_path / "head", tokens="pretrained")


def test_baselines_of_other_folds_are_refused(trained, tmp_path):
    cohort, members = trained()
    with pytest.raises(RunError, match="other folds"):
        head_run(redraw_folds(cohort.root, k=3), members, tmp_path / "head")


def test_an_absent_pictures_file_is_never_read(trained, tmp_path):
    """A patient without Doppler gets the same answer whatever the other patients' Doppler pictures show."""
    cohort, members = trained(absent={4: {"cdfi"}})
    _, predictions = head_run(cohort, members, tmp_path / "a")
    fold = predictions.folds[predictions.patients.index("P004")]
    mates = [p for p in cohort.held_out(fold) if p != "P004"]
    tokens = picture_tokens(cohort, members[1], fold, HEAD, torch.device("cpu"))
    spoiled = np.array(tokens.tokens)
    spoiled[np.isin(tokens.patients, mates)] = 3
    np.save(tokens.tokens.filename, spoiled)
    _, again = head_run(cohort, members, tmp_path / "b")
    np.testing.assert_array_equal(predictions.of(["P004"]).probs, again.of(["P004"]).probs)
    assert not np.allclose(predictions.of(mates).probs, again.of(mates).probs)
