"""AULI, OCAU, DDTI and EDCU: small archives with the quirks of the real ones."""

import os
from pathlib import Path

import numpy as np
import pytest
from cines import write_video
from PIL import Image

from fusion_ln.cohort.folder import load_cohort
from fusion_ln.cohort.frames import FrameRule
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.source import open_source
from fusion_ln.cohort.sources.auli import AULI
from fusion_ln.cohort.sources.ddti import DDTI
from fusion_ln.cohort.sources.edcu import EDCU
from fusion_ln.cohort.sources.ocau import CLASSES, OCAU
from fusion_ln.errors import CohortError, PictureError, SettingsError, SourceError

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.mark.parametrize("source", [AULI, OCAU, DDTI, EDCU])
def test_missing_empty_and_foreign_folders_get_the_expected_layout(tmp_path, source):
    (tmp_path / "empty").mkdir()
    (tmp_path / "foreign" / "holiday").mkdir(parents=True)
    for name, problem in {"missing": "no such folder", "empty": "empty", "foreign": "not laid out"}.items():
        with pytest.raises(SourceError, match=problem) as caught:
            source(tmp_path / name).read()
        assert "Expected: " in caught.value.way_out


# --- auli ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def auli(tmp_path, draw):
    """Five pictures a class, numbered anew in each, with all outlines but one."""
    root = tmp_path / "raw" / "7272660"
    for folder in ("Benign", "Malignant", "Normal"):
        for number in range(1, 6):
            draw(root / folder / "image" / f"{number}.jpg", colour=number == 1)
            for what in ("outline", "liver") if folder == "Normal" else ("outline", "liver", "mass"):
                path = root / folder / "segmentation" / what / f"{number}.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text("[[1, 2], [3, 4], [5, 1]]")
    (root / "Malignant" / "segmentation" / "liver" / "3.json").unlink()
    return root


def test_two_files_of_one_patient_where_each_has_one_are_refused(auli, draw):
    draw(auli / "Benign" / "image" / "1.png")
    with pytest.raises(SourceError, match=r"1\.jpg and 1\.png: two files of one name; expected: one picture"):
        open_source("auli", auli).read()


def test_auli_takes_a_picture_for_a_patient_and_names_missing_outlines(auli, tmp_path):
    cohort = import_cohort(open_source("auli", auli.parent), tmp_path / "cohort")
    assert cohort.classes == ("benign", "malignant", "normal")
    assert cohort.modalities == ("2d",)
    assert len(cohort.patients) == len(cohort.images) == 15
    assert {"Benign/1", "Malignant/1", "Normal/1"} <= set(cohort.patients["patient_id"])
    assert any("1 outlines are missing" in r and "Malignant/segmentation/liver/3.json" in r for r in details(cohort))


def details(cohort):
    return load_cohort(cohort.root).details.remarks


# --- ocau ------------------------------------------------------------------------------------------------------------


@pytest.fixture
def ocau(tmp_path, draw):
    """Five train pictures an organ and, in test, one with two dashes and an RGBA copy of it with another name."""
    root = tmp_path / "raw"
    for organ in CLASSES:
        for number in range(5):
            draw(root / "train" / f"{organ}-{number:04d}.png")
        path = draw(root / "test" / f"{organ}--0056.png")
        Image.open(path).convert("RGBA").save(root / "test" / f"{organ}-0051.png")
    return root


def test_ocau_reads_names_with_two_dashes_and_takes_copies_for_one_patient(ocau, tmp_path, capsys):
    cohort = import_cohort(open_source("ocau", ocau), tmp_path / "cohort")
    assert cohort.classes == CLASSES
    assert len(cohort.images) == 6 * 7
    assert "42 pictures form 36 groups" in capsys.readouterr().err
    patients = cohort.images.set_index("path")["patient_id"]
    assert patients["test/liver--0056.png"] == patients["test/liver-0051.png"]
    assert cohort.folds["patient_id"].is_unique  # so copies are in one fold


def test_ocau_names_a_picture_of_an_unknown_organ(ocau, draw):
    draw(ocau / "train" / "heart-0001.png")
    with pytest.raises(SourceError, match=r"heart-0001\.png: unknown organ 'heart'"):
        OCAU(ocau).read()


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "ocau").is_dir(), reason="no real pictures here")
def test_real_ocau_is_imported_in_full(tmp_path, capsys):
    cohort = import_cohort(open_source("ocau", SHARED / "data" / "ocau"), tmp_path / "cohort")
    assert "as its authors state" in capsys.readouterr().err
    patients = cohort.images.set_index("path")["patient_id"]
    for number in range(5):
        assert patients[f"test/spleen--{56 + number:04d}.png"] == patients[f"test/spleen-{51 + number:04d}.png"]
    assert cohort.images.merge(cohort.folds, on="patient_id").groupby("patient_id")["fold"].nunique().max() == 1
    assert len(cohort.patients) < len(cohort.images) == 366


# --- ddti ------------------------------------------------------------------------------------------------------------

XML = "<?xml version='1.0'?><case><number>{0}</number><sex>F</sex>{1}<mark><image>1</image><svg>[]</svg></mark></case>"


@pytest.fixture
def ddti(tmp_path, draw):
    """Twelve cases, two of each category, the first with two pictures."""
    root = tmp_path / "raw"
    for case, category in enumerate(["2", "3", "4a", "4b", "4C", " 5 "] * 2, start=1):
        draw(root / f"{case}_1.jpg")
        (root / f"{case}.xml").write_text(XML.format(case, f"<tirads>{category}</tirads>"))
    draw(root / "1_2.jpg")
    return root


def test_ddti_calls_a_case_malignant_from_4a_and_keeps_pictures_together(ddti, tmp_path):
    cohort = import_cohort(open_source("ddti", ddti), tmp_path / "cohort", k=2)
    labels = cohort.patients.set_index("patient_id")["label"]
    assert [cohort.classes[labels[str(case)]] for case in range(1, 7)] == ["benign"] * 2 + ["malignant"] * 4
    assert cohort.images.loc[cohort.images["patient_id"] == "1", "path"].tolist() == ["1_1.jpg", "1_2.jpg"]
    assert "Labels: TI-RADS below 4a is benign, 4a and above malignant." in details(cohort)


def test_the_category_from_which_a_case_is_malignant_can_be_changed(ddti, tmp_path):
    cohort = import_cohort(open_source("ddti", ddti, malignant_from="4C"), tmp_path / "cohort", k=2)
    assert cohort.patients["label"].tolist().count(1) == 4
    with pytest.raises(SettingsError, match="not a TI-RADS category"):
        open_source("ddti", ddti, malignant_from="6").read()


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (XML.format(13, ""), "13.xml: without TI-RADS, so its 2 pictures have no label"),
        (XML.format(13, "<tirads/>"), "13.xml: without TI-RADS"),
        (XML.format(13, "<tirads>7x</tirads>"), "13.xml: unknown TI-RADS '7x'"),
        ("<case><tirads>2", "13.xml: is no valid XML"),
        (None, "13.xml: is missing"),
    ],
)
def test_a_case_without_known_category_is_named_and_skipped_when_asked(ddti, tmp_path, draw, content, problem):
    for number in (1, 2):
        draw(ddti / f"13_{number}.jpg")
    if content:
        (ddti / "13.xml").write_text(content)
    with pytest.raises(PictureError, match="2 of 15 pictures cannot be read or have no label") as caught:
        import_cohort(open_source("ddti", ddti), tmp_path / "cohort", k=2)
    assert problem in caught.value.problem
    cohort = import_cohort(open_source("ddti", ddti), tmp_path / "cohort", k=2, skip_unreadable=True)
    assert load_cohort(cohort.root).details.skipped == ("13_1.jpg", "13_2.jpg")
    assert "13" not in set(cohort.patients["patient_id"])


def test_a_case_without_pictures_is_named_and_can_be_left_out(ddti, tmp_path):
    (ddti / "20.xml").write_text(XML.format(20, "<tirads>2</tirads>"))
    with pytest.raises(PictureError, match=r"20\.xml: has no picture"):
        import_cohort(open_source("ddti", ddti), tmp_path / "cohort", k=2)
    import_cohort(open_source("ddti", ddti), tmp_path / "cohort", k=2, leave_out=["20.xml"])


# --- edcu ------------------------------------------------------------------------------------------------------------


def number_frames(n_frames, seed):
    """Squares on noise whose grey tells the frame: 10 times its number."""
    noise = np.random.default_rng(seed).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    frames = np.stack([noise] * n_frames)
    frames[:, 16:48, 16:48] = 10 * np.arange(n_frames)[:, None, None, None]
    return frames


@pytest.fixture
def edcu(tmp_path):
    """Nine videos of 20 frames, three a class, one exactly on each cut point."""
    pytest.importorskip("av")
    root = tmp_path / "raw"
    lines = ["FileName,EF,ESV,EDV,FrameHeight,FrameWidth,FPS,NumberOfFrames,Split"]
    for number, ef in enumerate([22.5, 31, 39.99, 40, 44, 49.5, 50, 61.2, 77]):
        write_video(root / "Videos" / f"0X{number}.avi", number_frames(20, number))
        lines.append(f"0X{number}{'.avi' if number == 1 else ''},{ef},1,2,64,64,20,{17 if number == 2 else 20},TRAIN")
    (root / "FileList.csv").write_text("\n".join(lines))
    return root


def test_edcu_takes_frames_of_videos_and_classes_by_ejection_fraction(edcu, tmp_path):
    cohort = import_cohort(open_source("edcu", edcu), tmp_path / "cohort", k=3, frames=FrameRule(5))
    assert cohort.classes == ("EF below 40", "EF 40 to 50", "EF from 50")
    assert cohort.patients["label"].tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    assert len(cohort.images) == 9 * 5
    assert cohort.pictures == cohort.root
    loaded = load_cohort(cohort.root)
    paths = loaded.images.loc[loaded.images["patient_id"] == "0X4", "path"]
    greys = [np.asarray(Image.open(loaded.picture_path(path)))[32, 32].mean() for path in paths]
    np.testing.assert_allclose(greys, [20, 60, 100, 140, 180], atol=4)  # the middles of five parts of 20 frames
    assert any("EF below 40, EF 40 to 50, EF from 50 %" in remark for remark in details(cohort))


def test_the_cut_points_between_the_classes_can_be_changed(edcu, tmp_path):
    cohort = import_cohort(open_source("edcu", edcu, cut_points=(45.0,)), tmp_path / "cohort", k=2)
    assert cohort.classes == ("EF below 45", "EF from 45")
    assert cohort.patients["label"].tolist() == [0] * 5 + [1] * 4
    with pytest.raises(SettingsError, match="rising numbers"):
        open_source("edcu", edcu, cut_points=(50.0, 40.0)).read()


def halve(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize(
    ("spoil", "problem"),
    [
        (Path.unlink, "line 6: the video Videos/0X4.avi is missing"),
        (halve, r"0X4\.avi: (ends|stops decoding) after \d+ "),
        (lambda path: path.write_bytes(b"RIFF" * 99), r"0X4\.avi: cannot be opened as a video"),
        (lambda path: path.write_bytes(b""), r"0X4\.avi: cannot be opened as a video"),
    ],
)
def test_missing_broken_and_cut_videos_are_named_and_skipped_on_request(edcu, tmp_path, spoil, problem):
    spoil(edcu / "Videos" / "0X4.avi")
    with pytest.raises(PictureError, match=problem):
        import_cohort(open_source("edcu", edcu), tmp_path / "cohort", k=2)
    assert not (tmp_path / "cohort" / "frames").exists()
    cohort = import_cohort(open_source("edcu", edcu), tmp_path / "cohort", k=2, skip_unreadable=True)
    assert load_cohort(cohort.root).details.skipped == ("Videos/0X4.avi",)
    assert len(cohort.patients) == 8


@pytest.mark.parametrize(
    ("old", "new", "problem"),
    [
        ("0X4,44", "0X4,high", "line 6: the ejection fraction 'high' of 0X4.avi is no number"),
        ("0X4,44", "0X4,144", "line 6: the ejection fraction 144 of 0X4.avi is not between 0 and 100"),
        ("0X4,44", "0X3,44", "'0X3' stands in it twice"),
        ("FileName,EF", "Name,EF", "no column 'FileName'"),
    ],
)
def test_each_mistake_in_the_table_of_videos_is_named(edcu, tmp_path, old, new, problem):
    table = edcu / "FileList.csv"
    table.write_text(table.read_text().replace(old, new))
    with pytest.raises((PictureError, SourceError)) as caught:
        import_cohort(open_source("edcu", edcu), tmp_path / "cohort", k=2)
    assert problem in caught.value.problem


def test_frames_are_removed_when_the_folds_cannot_be_drawn(edcu, tmp_path):
    with pytest.raises(CohortError, match="fewer than the 5 folds"):
        import_cohort(open_source("edcu", edcu), tmp_path / "cohort", k=5)
    assert not (tmp_path / "cohort" / "frames").exists()
