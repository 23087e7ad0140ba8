import dataclasses

import pandas as pd
import pytest
from PIL import Image

from fusion_ln.cohort.folder import load_cohort, open_run_cohort, redraw_folds, save_cohort
from fusion_ln.cohort.head import CohortDetails, read_head, write_head
from fusion_ln.errors import CohortError, RunError
from fusion_ln.records.kinds import BaselineRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import BaselineSettings


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


def test_a_table_changed_after_its_folds_is_refused_until_a_redraw(make_cohort):
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
    assert redrawn.details.folds == "3, stratified by label, seed 8"


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
        (lambda root: (root / "images.parquet").unlink(), "images.parquet: is missing"),
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
        ("patients", lambda t: t.drop(columns="label"), "lacks the column 'label'"),
        ("patients", lambda t: t.assign(label=10**12), "holds 1000000000000, which is not a label"),
        ("patients", lambda t: t.assign(label=-1), "holds -1, which is not a label"),
        ("patients", lambda t: t.assign(label=t["label"] / 2), "'label' holds something else than whole numbers"),
        ("patients", lambda t: t.assign(patient_id=7), "'patient_id' holds something else than texts"),
        ("patients", lambda t: t.head(0), "holds no patient"),
        ("images", lambda t: t.assign(path=None), "'path' holds something else than texts"),
        ("images", lambda t: t.drop(columns="sha256"), "lacks the column 'sha256'"),
    ],
)
def test_folds_are_not_drawn_on_a_table_of_another_shape(make_cohort, table, change, problem):
    cohort = make_cohort()
    change(getattr(cohort, table)).to_parquet(cohort.root / f"{table}.parquet", index=False)
    with pytest.raises(CohortError, match=problem):
        redraw_folds(cohort.root, k=2)


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
    with pytest.raises(CohortError, match=rf"the folder of its pictures, {raw}, is gone"):
        load_cohort(cohort.root)


def test_a_cohort_of_animations_reads_the_imported_frame(make_cohort, tmp_path):
    frames = [Image.new("RGB", (40, 36), (value, value, value)) for value in (0, 200)]
    made = make_cohort()
    images = made.images.assign(path="two.gif")
    cohort = dataclasses.replace(made, images=images, pictures=tmp_path, details=CohortDetails(frame=1))
    frames[0].save(tmp_path / "two.gif", save_all=True, append_images=frames[1:])
    assert (cohort.read_picture(images["image_id"].iloc[0]) == 200).all()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ('licence = "none"\n', "", "lacks 'licence'"),
        ("simulated = false", 'simulated = "maybe"', "simulated: "),
        ("[details]", "[details]\nframe = -1", r"details\.frame: "),
        ("format = 1", "format = 2", "cohort format 2; this version reads format 1"),
        ("format = 1", "format = ", "not valid TOML"),
    ],
)
def test_a_damaged_head_names_file_and_key(make_cohort, old, new, message):
    file = make_cohort().root / "cohort.toml"
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))
    with pytest.raises(CohortError, match=rf"cohort\.toml: {message}"):
        load_cohort(file.parent)


def test_entries_that_a_source_adds_outlive_new_folds(make_cohort):
    cohort = make_cohort()
    head = read_head(cohort.root)
    write_head(cohort.root, head.model_copy(update={"details": CohortDetails(frame=2, ward="north")}))
    redraw_folds(cohort.root, k=3)
    details = load_cohort(cohort.root).details
    assert details.model_dump(exclude_unset=True) == {
        "frame": 2, "folds": "3, stratified by label, seed 0", "ward": "north",
    }  # fmt: skip


def test_a_run_opens_its_cohort_where_it_was_made_or_is_said_to_be(make_cohort, tmp_path):
    cohort, run = make_cohort(), RunFolder(tmp_path / "run")
    settings = BaselineSettings(modality="2d")
    record = BaselineRecord(settings=settings, cohort=cohort.describe(), cohort_path=str(cohort.root), **new_origin())
    run.write_record(record)
    assert open_run_cohort(run, None).fingerprint == cohort.fingerprint
    moved = cohort.root.rename(tmp_path / "moved")
    with pytest.raises(CohortError, match="is no longer at"):
        open_run_cohort(run, None)
    assert open_run_cohort(run, moved).fingerprint == cohort.fingerprint
    with pytest.raises(RunError, match=r"made on another cohort: tiny \(cohort [0-9a-f]{8}\), not other"):
        open_run_cohort(run, make_cohort(22, name="other").root)
    redraw_folds(moved, k=3)
    with pytest.raises(RunError, match="made on other folds"):
        open_run_cohort(run, moved)


def test_a_picture_of_two_patients_in_two_modalities_is_refused(make_cohort):
    cohort = make_cohort(9)
    images = cohort.images.copy()
    first, second = images.index[images["modality"] == "2d"][0], images.index[images["modality"] == "cdfi"][1]
    images.loc[second, "sha256"] = images.loc[first, "sha256"]
    repeated = dataclasses.replace(cohort, images=images)
    for modality in ("2d", "cdfi"):
        with pytest.raises(CohortError, match=r"P000 \(2d\) and P001 \(cdfi\) have the same picture\.\n"):
            repeated.refuse_repeated_pictures(modality)
    repeated.refuse_repeated_pictures("elastic")
    images.loc[second, "patient_id"] = "P000"  # one file may serve a patient twice
    repeated.refuse_repeated_pictures("2d")
