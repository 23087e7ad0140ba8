import dataclasses

import pandas as pd
import pytest

from fusion_ln.cohort.cohort import load_cohort, redraw_folds, save_cohort
from fusion_ln.errors import CohortError


def test_a_cohort_comes_back_as_it_was_saved(make_cohort):
    saved = make_cohort()
    loaded = load_cohort(saved.root)
    for name in ("patients", "images", "folds"):
        pd.testing.assert_frame_equal(getattr(loaded, name), getattr(saved, name), check_dtype=False)
    assert loaded.fingerprint == saved.fingerprint
    assert loaded.folds_fingerprint == saved.folds_fingerprint
    assert (loaded.classes, loaded.modalities, loaded.simulated) == (saved.classes, saved.modalities, False)


def test_fingerprint_names_who_and_what_not_where(make_cohort, tmp_path):
    cohort = make_cohort()
    elsewhere = dataclasses.replace(cohort, pictures=tmp_path, patients=cohort.patients.assign(age=50))
    assert elsewhere.fingerprint == cohort.fingerprint
    other_label = cohort.patients.assign(label=cohort.patients["label"].iloc[::-1].to_numpy())
    assert dataclasses.replace(cohort, patients=other_label).fingerprint != cohort.fingerprint


def test_parts_of_a_fold_share_no_patient(make_cohort):
    cohort = make_cohort(patients=20, k=3)
    for fold in range(cohort.n_folds):
        training, inner = cohort.training_part(fold)
        parts = [*training, *inner, *cohort.held_out(fold)]
        assert sorted(parts) == cohort.patients["patient_id"].tolist()


def test_a_table_changed_since_its_folds_were_drawn_is_refused_until_they_are_drawn_anew(make_cohort):
    cohort = make_cohort(patients=20, k=2)
    changed = pd.read_parquet(cohort.root / "patients.parquet")
    changed["label"] = changed["label"].iloc[::-1].to_numpy()
    changed.to_parquet(cohort.root / "patients.parquet", index=False)
    with pytest.raises(CohortError, match="changed since the cohort's folds were drawn") as caught:
        load_cohort(cohort.root)
    assert "fusionln cohort folds" in caught.value.way_out
    redraw_folds(cohort.root, k=3, seed=8)
    redrawn = load_cohort(cohort.root)
    assert redrawn.n_folds == 3
    assert redrawn.details["folds"] == "3, stratified by label, seed 8"


def test_a_modality_that_the_cohort_lacks_is_named_with_those_it_has(make_cohort):
    cohort = make_cohort(absent={number: {"elastic"} for number in range(20)})
    with pytest.raises(CohortError, match="no picture of modality 'elastic'") as caught:
        cohort.images_of("elastic")
    assert "2d, cdfi" in caught.value.way_out
    assert cohort.patients_with("elastic") == []


def test_a_picture_outside_the_folder_is_refused(make_cohort):
    with pytest.raises(CohortError, match="lies outside"):
        make_cohort().picture_path("../elsewhere.png")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda root: (root / "cohort.toml").unlink(), "holds no cohort.toml"),
        (lambda root: (root / "cohort.toml").write_text("name = "), "not valid TOML"),
        (lambda root: (root / "cohort.toml").write_text("format = 99"), "cohort format 99"),
        (lambda root: (root / "cohort.toml").write_text("format = 1"), "lacks 'name'"),
        (lambda root: (root / "images.parquet").unlink(), "images.parquet: cannot be read"),
        (lambda root: (root / "folds.parquet").write_bytes(b"PAR1"), "folds.parquet: cannot be read"),
    ],
)
def test_a_damaged_folder_is_refused_by_what_is_wrong(make_cohort, damage, problem):
    root = make_cohort().root
    damage(root)
    with pytest.raises(CohortError, match=problem):
        load_cohort(root)


@pytest.mark.parametrize(
    ("table", "change", "problem"),
    [
        ("patients", lambda t: pd.concat([t, t.head(1)]), "holds 'P000' twice"),
        ("patients", lambda t: t.assign(label=7), "holds 7, which is not a label"),
        ("patients", lambda t: t.drop(columns="site"), "lacks the column 'site'"),
        ("images", lambda t: t.assign(modality="mri"), "holds 'mri', which is not a modality"),
        ("images", lambda t: t.assign(patient_id="X"), "holds 'X', which is not a patient"),
        ("folds", lambda t: t.head(3), "does not hold exactly the patients"),
        ("folds", lambda t: t.drop(columns="inner_1"), "lacks the column 'inner_1'"),
    ],
)
def test_tables_that_do_not_fit_each_other_are_never_written(make_cohort, table, change, problem):
    cohort = make_cohort()
    with pytest.raises(CohortError, match=problem):
        save_cohort(dataclasses.replace(cohort, **{table: change(getattr(cohort, table))}))
    load_cohort(cohort.root)


def test_pictures_that_were_moved_away_are_missed_with_their_old_place(make_cohort, tmp_path):
    cohort = make_cohort()
    raw = tmp_path / "raw"
    raw.mkdir()
    save_cohort(dataclasses.replace(cohort, pictures=raw))
    assert load_cohort(cohort.root).pictures == raw
    raw.rmdir()
    with pytest.raises(CohortError, match="no longer there"):
        load_cohort(cohort.root)
