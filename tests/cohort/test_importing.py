import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.regions.cropping import Cropping
from fusion_ln.cohort.regions.rule import CropRule
from fusion_ln.cohort.source import open_source, source_names
from fusion_ln.errors import CohortError, PictureError, SettingsError, SourceError
from fusion_ln.files.hashes import hash_file

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared"))


def test_an_archive_becomes_a_cohort_that_describes_its_files(cv4lymphnode, tmp_path):
    made = import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    cohort = load_cohort(tmp_path / "cohort")
    pd.testing.assert_frame_equal(cohort.images, made.images, check_dtype=False)
    assert cohort.classes == ("benign", "lymphoma", "metastatic")
    assert cohort.pictures == cv4lymphnode
    assert cohort.patients["label"].value_counts().tolist() == [4, 4, 4]
    assert len(cohort.images) == 3 * (4 * 4 - 1)
    row = cohort.images.set_index("image_id").loc["cdfi/1/2-2.jpg"]
    assert (row["patient_id"], row["width"], row["height"]) == ("1/2", 40, 36)
    assert row["sha256"] == hash_file(cohort.picture_path(row["path"]))
    two_views = cohort.images[(cohort.images["patient_id"] == "0/0") & (cohort.images["modality"] == "2d")]
    assert two_views["view"].tolist() == [0, 1]


def test_every_patient_of_an_import_is_in_one_fold_only(cv4lymphnode, tmp_path):
    cohort = import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=4)
    folds_of_pictures = cohort.images.merge(cohort.folds, on="patient_id").groupby("patient_id")["fold"].agg(set)
    assert all(len(folds) == 1 for folds in folds_of_pictures)
    assert len(folds_of_pictures) == 12


def test_us3m_becomes_triplets_with_every_patient_in_one_fold(tmp_path, draw):
    for label in ("benign", "malignant"):
        for case in range(3):
            for name in ("BUS_1", "BUS_2", "DUS_1", "EUS_1"):
                draw(tmp_path / "raw" / label / f"{case:03d}" / f"{name}.jpg", colour=name[0] != "B")
    cohort = import_cohort(open_source("us3m", tmp_path / "raw"), tmp_path / "cohort", k=3)
    assert cohort.modalities == ("2d", "cdfi", "elastic")
    assert len(cohort.patients) == 6
    assert cohort.folds["patient_id"].is_unique
    held_out = [set(cohort.held_out(fold)) for fold in range(3)]
    assert all(len(patients) == 2 for patients in held_out)
    assert set.union(*held_out) == set(cohort.patients["patient_id"])


def test_a_partial_copy_is_a_warning_with_both_counts(cv4lymphnode, tmp_path, capsys):
    import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    output = capsys.readouterr().err
    assert "found 12 patients (benign 4, lymphoma 4, metastatic 4)" in output
    assert "586 patients (benign 164, lymphoma 122, metastatic 300)" in output


def test_look_alikes_of_a_class_become_one_patient_named_after_the_first(busi, tmp_path, capsys):
    cohort = import_cohort(open_source("busi", busi), tmp_path / "cohort", k=2)
    patients = cohort.images.set_index("path")["patient_id"]
    assert patients["benign/benign (1).png"] == patients["benign/benign (2).png"] == "benign/benign (1)"
    assert len(cohort.patients) == 15
    assert "18 pictures form 15 groups" in capsys.readouterr().err


def test_look_alikes_of_two_classes_stay_two_patients(busi, tmp_path):
    (busi / "normal" / "normal (4).png").write_bytes((busi / "benign" / "benign (4).png").read_bytes())
    cohort = import_cohort(open_source("busi", busi), tmp_path / "cohort", k=2)
    assert {"benign/benign (4)", "normal/normal (4)"} <= set(cohort.patients["patient_id"])


@pytest.fixture
def damaged(busi):
    """Three pictures that cannot be read, for three reasons."""
    (busi / "benign" / "benign (3).png").write_bytes(b"")
    (busi / "normal" / "normal (4).png").write_text("a text")
    cut = busi / "normal" / "normal (5).png"
    cut.write_bytes(cut.read_bytes()[:-300])
    return busi


def test_unreadable_pictures_are_refused_by_name_and_nothing_is_written(damaged, tmp_path):
    with pytest.raises(PictureError) as caught:
        import_cohort(open_source("busi", damaged), tmp_path / "cohort", k=2)
    assert "3 of 18 pictures cannot be read" in caught.value.problem
    for name, reason in {"benign (3)": "empty", "normal (4)": "holds text", "normal (5)": "truncated"}.items():
        assert any(name in line and reason in line for line in caught.value.problem.splitlines())
    assert "--skip-unreadable" in caught.value.way_out
    assert not (tmp_path / "cohort").exists()
    with pytest.raises(PictureError, match=r"18 of 18 pictures") as caught:  # nothing would be left
        import_cohort(
            open_source("busi", damaged), tmp_path / "cohort", cropping=Cropping(CropRule.parse("9999,0,99,99"))
        )
    assert "--skip-unreadable" not in caught.value.way_out


def test_unreadable_pictures_are_skipped_when_asked_and_remembered(damaged, tmp_path, capsys):
    cohort = import_cohort(open_source("busi", damaged), tmp_path / "cohort", k=2, skip_unreadable=True)
    assert len(cohort.images) == 15
    skipped = ["benign/benign (3).png", "normal/normal (4).png", "normal/normal (5).png"]
    assert load_cohort(tmp_path / "cohort").details.skipped == tuple(skipped)
    assert "Skipped: 3 of 18 pictures" in capsys.readouterr().err


def test_more_than_ten_unreadable_pictures_are_counted(busi, tmp_path):
    for path in busi.rglob("*.png"):
        path.write_bytes(b"")
    with pytest.raises(PictureError, match="18 of 18 pictures") as caught:
        import_cohort(open_source("busi", busi), tmp_path / "cohort")
    assert "... and 8 more" in caught.value.problem


def test_pictures_are_left_out_by_pattern(busi, tmp_path):
    patterns = ["normal/*", "benign/benign (3).png"]
    cohort = import_cohort(open_source("busi", busi), tmp_path / "cohort", k=2, leave_out=patterns)
    assert cohort.classes == ("benign", "malignant")
    assert len(cohort.images) == 11
    assert cohort.details.left_out == tuple(patterns)
    with pytest.raises(SettingsError, match="matches no picture"):
        import_cohort(open_source("busi", busi), tmp_path / "other", leave_out=["bening/*"])


def test_a_class_with_fewer_patients_than_folds_is_refused_first(cv4lymphnode, tmp_path):
    with pytest.raises(CohortError, match="class 'benign' has 4 patients, fewer than the 5 folds"):
        import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=5)
    assert not (tmp_path / "cohort").exists()


@pytest.mark.parametrize(
    ("name", "problem"), [("notes.txt", "holds something else .notes.txt"), ("cohort.toml", "holds a cohort already")]
)
def test_a_folder_that_holds_something_is_refused_and_kept(cv4lymphnode, tmp_path, name, problem):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / name).write_text("mine")
    with pytest.raises(CohortError, match=problem):
        import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    assert (tmp_path / "cohort" / name).read_text() == "mine"


def test_the_rest_of_a_killed_import_is_no_obstacle(cv4lymphnode, tmp_path):
    (tmp_path / "cohort").mkdir()
    (tmp_path / "cohort" / "patients.parquet").write_bytes(b"")
    (tmp_path / "cohort" / ".images.parquet.x7").write_bytes(b"")
    import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    assert load_cohort(tmp_path / "cohort").n_folds == 2


def test_one_class_alone_is_no_cohort(cv4lymphnode, tmp_path):
    with pytest.raises(SourceError, match="only one class"):
        import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "c", leave_out=["*/1/*", "*/2/*"])


def test_two_pictures_with_the_same_view_are_refused(tmp_path, draw):
    for name in ("benign/1/BUS_1.jpg", "benign/1/BUS_1.png", "malignant/1/BUS_1.jpg"):
        draw(tmp_path / "raw" / name)
    with pytest.raises(SourceError, match=r"BUS_1\.jpg and .*BUS_1\.png: both are view 1"):
        import_cohort(open_source("us3m", tmp_path / "raw"), tmp_path / "cohort")


def test_a_link_out_of_the_archive_is_unreadable(cv4lymphnode, tmp_path, draw):
    outside = draw(tmp_path / "outside.jpg")
    (cv4lymphnode / "2d" / "0" / "9-1.jpg").symlink_to(outside)
    with pytest.raises(PictureError, match="a link that leads out of"):
        import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)


def test_nothing_in_an_archive_is_dropped_in_silence(cv4lymphnode, tmp_path, draw, capsys):
    """Kinds that are not read and links to nothing are refused by name; other files are counted."""
    folder = cv4lymphnode / "2d" / "0"
    (folder / "7-0.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n" + bytes(100))
    (folder / "7-1.tga").write_bytes(bytes(range(3, 200)))
    (folder / "8-0.mp4").write_bytes(b"\0\0\0\x18ftypmp42" + bytes(100))
    (folder / "8-1.jpg").symlink_to("gone.jpg")
    (cv4lymphnode / "cdfi" / "3").symlink_to("gone")
    (cv4lymphnode / "notes.txt").touch()
    draw(cv4lymphnode / "2d" / "3" / "1-0.png")
    source = open_source("cv4lymphnode", cv4lymphnode)
    with pytest.raises(PictureError, match="5 of 50 pictures cannot be read") as caught:
        import_cohort(source, tmp_path / "cohort", k=2)
    for problem in (
        "7-0.jp2: holds JPEG 2000, not a picture that is read",
        "7-1.tga: its name says Targa",
        "8-0.mp4: holds a video",
        "8-1.jpg: a link to nothing (gone.jpg)",
        "cdfi/3: a link to nothing",
    ):
        assert problem in caught.value.problem
    cohort = import_cohort(source, tmp_path / "cohort", k=2, skip_unreadable=True)
    assert len(cohort.details.skipped) == 5
    assert "left out: 1 .png (2d/3/1-0.png), 1 .txt (notes.txt)." in capsys.readouterr().err


def test_a_linked_folder_that_no_picture_is_taken_of_is_named(cv4lymphnode, tmp_path, capsys):
    outside = tmp_path / "outside"
    outside.mkdir()
    (cv4lymphnode / "more").symlink_to(outside)
    (cv4lymphnode / "again").symlink_to("2d")
    (cv4lymphnode / "elastic").rename(cv4lymphnode / ".elastic")
    (cv4lymphnode / "elastic").symlink_to(".elastic")
    import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    assert "that no picture was taken of: more.\n" in capsys.readouterr().err


def test_a_picture_named_in_another_encoding_is_refused_in_words(cv4lymphnode, tmp_path):
    (cv4lymphnode / "2d" / "0" / "0-0.jpg").rename(cv4lymphnode / "2d" / "0" / "caf\udce9.jpg")
    source = open_source("cv4lymphnode", cv4lymphnode)
    with pytest.raises(PictureError, match="its name is not UTF-8 text") as caught:
        import_cohort(source, tmp_path / "cohort", k=2)
    assert "caf\\xe9.jpg" in str(caught.value)
    assert "convmv" in caught.value.way_out
    cohort = import_cohort(source, tmp_path / "cohort", k=2, skip_unreadable=True)
    assert load_cohort(tmp_path / "cohort").details.skipped == cohort.details.skipped == ("2d/0/caf\\xe9.jpg",)


def test_a_table_keeps_its_clinical_columns_and_sites(tmp_path, draw):
    lines = ["patient_id,label,2d,site,age"]
    for number in range(8):
        draw(tmp_path / "raw" / f"{number}.png")
        lines.append(
            f"{number:03d},{'benign' if number % 2 else 'malignant'},{number}.png,{'AB'[number // 4]},{40 + number}"
        )
    (tmp_path / "raw" / "patients.csv").write_text("\n".join(lines))
    cohort = import_cohort(open_source("table", tmp_path / "raw" / "patients.csv"), tmp_path / "cohort", by_site=True)
    assert cohort.n_folds == 2
    patients = load_cohort(tmp_path / "cohort").patients.set_index("patient_id")
    assert patients.loc["003", "age"] == 43
    assert patients.loc["003", "site"] == "A"


def test_dicom_stands_wherever_a_picture_may_and_the_frame_is_remembered(cv4lymphnode, tmp_path):
    pydicom = pytest.importorskip("pydicom")
    path = pydicom.data.get_testdata_file("examples_ybr_color.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom comes without the file")
    (cv4lymphnode / "2d" / "0" / "7-1.dcm").write_bytes(Path(path).read_bytes())
    cohort = import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    assert cohort.images.set_index("image_id").loc["2d/0/7-1.dcm", ["width", "height"]].tolist() == [320, 240]
    assert cohort.details.frame == 0
    with pytest.raises(PictureError, match="frame 1 was asked for; it holds 1"):
        import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "other", k=2, frame=1)


def test_the_frames_that_are_not_taken_are_counted_in_one_remark(cv4lymphnode, tmp_path, capsys):
    frames = [Image.new("L", (32, 32), level) for level in (0, 100, 200)]
    frames[0].save(cv4lymphnode / "2d" / "0" / "7-1.gif", save_all=True, append_images=frames[1:])
    frames[0].save(cv4lymphnode / "2d" / "1" / "8-1.tiff", save_all=True, append_images=frames[1:2])
    cohort = import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    (remark,) = [remark for remark in cohort.details.remarks if "frame" in remark]
    assert "2 with 5 in all, of which only frame 0" in remark
    assert "2d/0/7-1.gif (3), 2d/1/8-1.tiff (2)" in remark
    assert remark in capsys.readouterr().err


def test_an_unknown_source_gets_the_nearest_and_options_where_they_belong(tmp_path):
    with pytest.raises(SettingsError, match="Did you mean 'busi'"):
        open_source("bussi", tmp_path)
    with pytest.raises(SettingsError, match="source busi: takes no `--patient-pattern`"):
        open_source("busi", tmp_path, patient_pattern="(.)")
    assert set(source_names()) >= {"cv4lymphnode", "us3m", "busi", "table"}


def test_the_same_archive_gives_the_same_cohort(cv4lymphnode, tmp_path):
    one, two = (
        import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / name, k=2, seed=4) for name in ("a", "b")
    )
    assert one.fingerprint == two.fingerprint
    assert one.folds_fingerprint == two.folds_fingerprint
    assert (tmp_path / "a" / "images.parquet").read_bytes() == (tmp_path / "b" / "images.parquet").read_bytes()


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "busi").is_dir(), reason="no real pictures here")
@pytest.mark.parametrize(("name", "pictures"), [("busi", 97), ("busi_256", 168)])
def test_real_breast_ultrasound_is_imported(tmp_path, name, pictures):
    cohort = import_cohort(open_source("busi", SHARED / "data" / name), tmp_path / "cohort")
    assert len(cohort.images) == pictures
    assert len(cohort.patients) < pictures  # repeats are common in it
    assert np.bincount(cohort.folds["fold"]).min() > 0
    assert Image.open(cohort.picture_path(cohort.images["path"].iloc[0])).size == tuple(
        cohort.images[["width", "height"]].iloc[0]
    )
