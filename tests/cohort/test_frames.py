"""Frames of cines become views: evenly spaced, the sharpest of those at rest, or those with most flow."""

import numpy as np
import pandas as pd
import pytest
from cines import WRITERS, draw_cine, write_animation, write_dicom, write_dicom_video
from tiny import fusionln, refused

from fusion_ln.cohort.checks.check import check_pictures
from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.frames import FrameRule
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.regions.alike import take_alike
from fusion_ln.cohort.regions.box import Box
from fusion_ln.cohort.regions.cropping import Cropping, read_accepted
from fusion_ln.cohort.regions.rule import CropRule
from fusion_ln.cohort.source import open_source
from fusion_ln.decode.cine import open_cine
from fusion_ln.errors import PictureError, SettingsError
from fusion_ln.files.hashes import hash_file


def numbers(rule, path, modality="2d", box=None):
    return [number for number, _ in FrameRule.parse(rule).take(open_cine(path), modality, box)]


@pytest.mark.parametrize("text", ["4", "best", "best:4"])
def test_a_rule_reads_as_it_is_written(text):
    assert str(FrameRule.parse(text)) == text


@pytest.mark.parametrize("text", ["0", "-1", "2.5", "", "best:", "best:0", ":3", "worst:2", "99999", "³"])
def test_what_is_no_rule_is_refused(text):
    with pytest.raises(SettingsError, match=rf"--frames {text!r}(.|\n)*Expected a whole number from 1, `best`"):
        FrameRule.parse(text)


@pytest.mark.parametrize("suffix", WRITERS)
def test_the_best_frame_is_the_sharpest_of_those_at_rest(tmp_path, suffix):
    """Frame 3 is sharper, but the tissue moves."""
    pytest.importorskip({".avi": "av", ".dcm": "pydicom"}.get(suffix, "PIL"))
    frames = draw_cine(12, sharp={3: 0, 8: 0.7, 10: 1}, shifted=(2, 3))
    assert numbers("best", WRITERS[suffix](tmp_path / f"a{suffix}", frames)) == [8]


def test_the_best_frame_of_colour_doppler_has_most_flow(tmp_path):
    path = write_animation(tmp_path / "a.tiff", draw_cine(7, sharp={2: 0}, flow=(0, 9, 12, 30, 41, 20, 3)))
    assert numbers("best", path, "cdfi") == [4]


def test_the_best_of_each_part_and_the_middles_of_parts_are_taken(tmp_path):
    path = write_animation(tmp_path / "a.tiff", draw_cine(10, sharp={0: 1, 7: 0}))
    assert numbers("best:2", path) == [0, 7]
    assert numbers("3", path) == [1, 5, 8]  # 10/6, 30/6 and 50/6
    assert numbers("10", path) == list(range(10))


def test_only_what_lies_in_the_box_tells_the_best_frame(tmp_path):
    frames = draw_cine(6, sharp={4: 0})
    frames[2, :, 60:] = draw_cine(1, sharp={0: 0})[0, :, 60:]
    frames[2, ::2, 62::2] = 255  # a sharp banner
    path = write_animation(tmp_path / "a.tiff", frames)
    assert numbers("best", path) == [2]
    assert numbers("best", path, box=Box(0, 0, 56, 64)) == [4]


def test_more_frames_than_there_are_is_refused(tmp_path):
    path = write_animation(tmp_path / "a.tiff", draw_cine(3, sharp={}))
    with pytest.raises(PictureError, match=r"a\.tiff: holds 3 frames; `--frames best:4` takes 4 of each cine"):
        numbers("best:4", path)


# --- import ----------------------------------------------------------------------------------------------------------


@pytest.fixture
def mixed(cv4lymphnode):
    """Stills, and of patients 0-0, 0-1 and 1-0 a cine of ten frames each, frame 6 the sharpest."""
    pytest.importorskip("av")
    pytest.importorskip("pydicom")
    frames = draw_cine(10, sharp={6: 0, 1: 1})
    for place, suffix in (("2d/0/0-7", ".dcm"), ("2d/0/1-7", ".avi"), ("2d/1/0-7", ".tiff")):
        WRITERS[suffix](cv4lymphnode / f"{place}{suffix}", frames)
    return cv4lymphnode


def import_frames(root, out, rule="best:2", **options):
    return import_cohort(open_source("cv4lymphnode", root), out, k=2, frames=FrameRule.parse(rule), **options)


def test_stills_and_cines_lie_in_one_cohort_and_source_files_stay(mixed, tmp_path):
    before = {path: (hash_file(path), path.stat().st_mtime_ns) for path in mixed.rglob("*.*")}
    cohort = load_cohort(import_frames(mixed, tmp_path / "cohort").root)
    assert {path: (hash_file(path), path.stat().st_mtime_ns) for path in mixed.rglob("*.*")} == before
    frames = cohort.images[cohort.images["cine"] != ""]
    assert frames["cine"].value_counts().to_dict() == {"2d/0/0-7.dcm": 2, "2d/0/1-7.avi": 2, "2d/1/0-7.tiff": 2}
    assert set(frames["frame"]) == {1, 6}
    assert frames.groupby("cine")["patient_id"].nunique().max() == 1
    assert cohort.pictures == mixed.resolve() or cohort.pictures == mixed
    of_dicom = frames[frames["cine"] == "2d/0/0-7.dcm"]
    views = cohort.images[(cohort.images["patient_id"] == of_dicom["patient_id"].iloc[0])]
    assert views.loc[views["modality"] == "2d", "view"].tolist() == [0, 1, 2, 3]
    expected = dict(open_cine(mixed / "2d/0/0-7.dcm").read([1, 6]))
    for image, number in of_dicom[["image_id", "frame"]].itertuples(index=False):
        np.testing.assert_array_equal(cohort.read_picture(image), expected[number])
    still = cohort.images[cohort.images["cine"] == ""].iloc[0]
    assert cohort.read_picture(still["image_id"]).shape == (still["height"], still["width"], 3)


def test_the_same_frames_give_the_same_fingerprint_and_others_another(mixed, tmp_path):
    one, two = (import_frames(mixed, tmp_path / name) for name in "ab")
    other = import_frames(mixed, tmp_path / "c", "2")
    assert one.fingerprint == two.fingerprint != other.fingerprint
    assert str(one.preparation) == "taken from cines (`--frames best:2`)"
    assert any("Frames of cines: 6 of 3 files (`--frames best:2`)." in line for line in one.details.remarks)


def test_a_cine_has_one_box_which_a_corrected_table_changes(mixed, tmp_path):
    import_frames(mixed, tmp_path / "cohort", cropping=Cropping(CropRule.parse("0,0,32,30")))
    fusionln("cohort", "check", tmp_path / "cohort", code=1)  # the pictures of this archive are alike
    table = pd.read_csv(tmp_path / "cohort" / "crops.csv")
    row = table["path"] == "2d/0/1-7.avi"
    assert row.sum() == 1
    table.loc[row, ["x", "y", "width", "height"]] = 8, 4, 40, 50
    table[row].to_csv(tmp_path / "boxes.csv", index=False)
    accepted = Cropping(CropRule.parse("0,0,32,30"), read_accepted(tmp_path / "boxes.csv"))
    cohort = import_frames(mixed, tmp_path / "other", cropping=accepted)
    frames = cohort.images[cohort.images["cine"] == "2d/0/1-7.avi"]
    assert frames[["crop_x", "crop_y", "crop_width", "crop_height"]].to_numpy().tolist() == [[8, 4, 40, 50]] * 2
    assert cohort.read_picture(frames["image_id"].iloc[0]).shape == (50, 40, 3)


def test_a_new_cine_gives_what_its_import_gave(mixed, tmp_path):
    """Also to the byte of the file that a cohort keeps, by which a training picture is known."""
    cohort = import_frames(mixed, tmp_path / "cohort", cropping=Cropping(CropRule.parse("4,4,30,26")))
    frames = cohort.images[cohort.images["cine"] == "2d/0/1-7.avi"]
    taken = take_alike(cohort.preparation, mixed / "2d/0/1-7.avi", "2d")
    assert [each.sha256 for each in taken] == frames["sha256"].tolist()
    for each, image in zip(taken, frames["image_id"], strict=True):
        np.testing.assert_array_equal(each.pixels, cohort.read_picture(image))


def test_frames_stay_with_the_patient_where_nobody_is_named(busi, tmp_path):
    """The cine's frames do not look alike."""
    noise = np.random.default_rng(3).integers(0, 256, (4, 6, 8, 3), dtype=np.uint8).repeat(8, 1).repeat(8, 2)
    write_animation(busi / "benign" / "benign (99).tiff", noise)
    cohort = import_cohort(open_source("busi", busi), tmp_path / "cohort", k=2, frames=FrameRule(4))
    frames = cohort.images[cohort.images["cine"] != ""]
    assert len(frames) == 4
    assert len(set(frames["patient_id"])) == 1
    assert sorted(frames["view"]) == [0, 1, 2, 3]


def test_without_the_option_a_cine_keeps_its_message_and_names_the_option(mixed, tmp_path):
    with pytest.raises(PictureError, match=r"1-7\.avi: holds a video, not a picture(.|\n)*`--frames best`"):
        import_cohort(open_source("cv4lymphnode", mixed), tmp_path / "cohort", k=2)
    cohort = import_cohort(open_source("cv4lymphnode", mixed), tmp_path / "cohort", k=2, leave_out=["*.avi"])
    assert any("only frame 0 of each is taken (`--frame`; `--frames N`" in line for line in cohort.details.remarks)


def test_a_video_within_dicom_names_the_option_too(cv4lymphnode, tmp_path):
    pytest.importorskip("av")
    pytest.importorskip("pydicom")
    write_dicom_video(cv4lymphnode / "2d/0/0-7.dcm", draw_cine(6, sharp={2: 0}))
    with pytest.raises(PictureError, match=r"0-7\.dcm: a video \(MPEG2(.|\n)*`--frames best`"):
        import_cohort(open_source("cv4lymphnode", cv4lymphnode), tmp_path / "cohort", k=2)
    cohort = import_frames(cv4lymphnode, tmp_path / "cohort", "best")
    frames = cohort.images.loc[cohort.images["cine"] != "", ["cine", "frame"]]
    assert frames.to_numpy().tolist() == [["2d/0/0-7.dcm", 2]]


def test_a_cohort_holds_the_frame_that_was_taken_of_each_cine(cv4lymphnode, tmp_path):
    source = open_source("cv4lymphnode", cv4lymphnode)
    assert import_cohort(source, tmp_path / "stills", k=2).preparation is None
    for label in "012":
        for patient in range(4):
            write_animation(cv4lymphnode / f"2d/{label}/{patient}-9.tiff", draw_cine(3, sharp={}))
    first = import_cohort(source, tmp_path / "first", k=2)
    assert load_cohort(first.root).preparation.of_cines == "`--frame 0`"
    second = import_cohort(source, tmp_path / "second", k=2, frame=1, leave_out=["*.jpg"])
    assert str(load_cohort(second.root).preparation) == "taken from cines (`--frame 1`)"
    third = import_cohort(source, tmp_path / "third", k=2, frame=2, leave_out=["*.jpg"])
    assert second.fingerprint != third.fingerprint  # of the same files


def test_the_check_says_of_a_cine_that_its_file_named_text(mixed, tmp_path):
    """Its frames are PNG, which cannot say it."""
    write_dicom(mixed / "2d/0/0-7.dcm", draw_cine(10, sharp={6: 0, 1: 1}), BurnedInAnnotation="YES")
    cohort = import_frames(mixed, tmp_path / "cohort", cropping=Cropping(mask_text=True))
    found = check_pictures(load_cohort(cohort.root)).findings
    said = found[found["kind"] == "burned-in text"]
    assert said["detail"].tolist() == ["BurnedInAnnotation of 2d/0/0-7.dcm was YES at the import"]


def test_options_of_frames_that_clash_or_do_nothing_are_told(cv4lymphnode, tmp_path):
    with pytest.raises(SettingsError, match="--frame 2 beside --frames best"):
        import_frames(cv4lymphnode, tmp_path / "cohort", "best", frame=2)
    cohort = import_frames(cv4lymphnode, tmp_path / "cohort", "best")
    assert "Warning: no file has several frames: `--frames best` took none." in cohort.details.remarks
    assert cohort.preparation is None
    given = ["--out", tmp_path / "c", "--frames", "best", "--frame", "0"]
    assert "give one of them" in fusionln("cohort", "import", "cv4lymphnode", cv4lymphnode, *given, code=2)
    assert "--frames '0'" in refused("cohort", "import", "edcu", cv4lymphnode, "--out", tmp_path / "c", "--frames", "0")
