import os
from pathlib import Path

import pytest
from PIL import Image

from fusion_ln.cohort.checks.check import FINDING_COLUMNS, check_pictures, describe_check
from fusion_ln.cohort.importing import import_cohort
from fusion_ln.cohort.phantom.simulate import simulate_cohort
from fusion_ln.cohort.regions.cropping import Cropping
from fusion_ln.cohort.source import open_source
from fusion_ln.errors import PictureError

SHARED = Path(os.environ.get("FUSIONLN_SHARED", Path(__file__).parents[3] / "shared"))


@pytest.fixture
def audit(tmp_path):
    """Import an archive, damage it with ``after``, and audit it."""

    def run(source, raw, after=lambda: None, k=2, cropping=None):
        cohort = import_cohort(open_source(source, raw), tmp_path / "cohort", k=k, cropping=cropping)
        after()
        return check_pictures(cohort)

    return run


def found(audit):
    return {
        (row["severity"], row["kind"], row["image_id"], row["other_image_id"]) for _, row in audit.findings.iterrows()
    }


def test_a_sound_cohort_has_only_the_notes_it_deserves(cv4lymphnode, audit):
    result = audit("cv4lymphnode", cv4lymphnode)
    assert not result.has_problems
    assert set(result.findings["kind"]) == {"missing modality"}  # patient 3 of each class has no elastogram
    assert result.findings["patient_id"].tolist() == ["0/3", "1/3", "2/3"]
    assert tuple(result.findings.columns) == FINDING_COLUMNS


def test_damaged_missing_and_exchanged_files_are_problems(cv4lymphnode, audit, draw):
    def after():
        cut = cv4lymphnode / "2d" / "0" / "0-0.jpg"
        cut.write_bytes(cut.read_bytes()[:-300])
        (cv4lymphnode / "2d" / "0" / "1-0.jpg").unlink()
        draw(cv4lymphnode / "2d" / "0" / "2-0.jpg")

    result = audit("cv4lymphnode", cv4lymphnode, after)
    assert result.has_problems
    details = result.findings.set_index("image_id")["detail"]
    assert "truncated" in details["2d/0/0-0.jpg"]
    assert "no such file" in details["2d/0/1-0.jpg"]
    assert ("problem", "changed", "2d/0/2-0.jpg", "") in found(result)


def test_the_same_picture_under_two_labels_is_a_problem(busi, audit):
    (busi / "normal" / "normal (9).png").write_bytes((busi / "benign" / "benign (4).png").read_bytes())
    result = audit("busi", busi)
    assert ("problem", "two labels", "benign/benign (4).png", "normal/normal (9).png") in found(result)
    assert "= normal/normal (9).png (normal): the same pixels" in describe_check(result)


def test_a_nearly_equal_picture_under_two_labels_is_a_problem(busi, audit):
    with Image.open(busi / "benign" / "benign (4).png") as image:
        image.resize((90, 80)).save(busi / "normal" / "normal (9).jpg", quality=70)
    result = audit("busi", busi)
    assert ("problem", "two labels", "benign/benign (4).png", "normal/normal (9).jpg") in found(result)


def test_a_picture_of_two_patients_is_a_problem_that_names_the_folds(cv4lymphnode, audit):
    folder = cv4lymphnode / "2d" / "1"
    (folder / "9-1.jpg").write_bytes((folder / "2-0.jpg").read_bytes())
    result = audit("cv4lymphnode", cv4lymphnode, k=4)
    [row] = [row for _, row in result.findings.iterrows() if row["kind"] == "two patients"]
    assert row["severity"] == "problem"
    assert (row["patient_id"], row["other_patient_id"]) == ("1/2", "1/9")
    assert ("in folds" in row["detail"]) == (row["fold"] != row["other_fold"])


def test_nearly_equal_pictures_of_two_patients_leak_only_across_folds(cv4lymphnode, audit):
    folder = cv4lymphnode / "2d" / "1"
    for number in range(4):  # every patient of the class gets a near copy of the same picture
        with Image.open(folder / "0-0.jpg") as image:
            copy = image.copy()
        copy.putpixel((5 * number, 3), 255 if copy.mode == "L" else (255, 255, 255))
        copy.save(folder / f"{number}-8.jpg", quality=95)
    result = audit("cv4lymphnode", cv4lymphnode)
    near = result.findings[result.findings["kind"] == "two patients"]
    assert len(near) == 4 * 3 // 2 + 3  # each copy with each other, and with the original but for its own patient
    assert ((near["severity"] == "problem") == (near["fold"] != near["other_fold"])).all()
    assert set(near["severity"]) == {"problem", "note"}


def test_a_file_of_two_modalities_is_a_problem_and_twice_in_one_a_note(cv4lymphnode, audit):
    data = (cv4lymphnode / "cdfi" / "0" / "0-2.jpg").read_bytes()
    (cv4lymphnode / "elastic" / "0" / "0-3.jpg").write_bytes(data)
    (cv4lymphnode / "cdfi" / "0" / "0-4.jpg").write_bytes(data)
    result = audit("cv4lymphnode", cv4lymphnode)
    assert ("problem", "two modalities", "cdfi/0/0-2.jpg", "elastic/0/0-3.jpg") in found(result)
    assert ("note", "repeated", "cdfi/0/0-2.jpg", "cdfi/0/0-4.jpg") in found(result)


def test_grey_and_coloured_pictures_in_the_wrong_place_are_notes(cv4lymphnode, audit, draw):
    draw(cv4lymphnode / "cdfi" / "0" / "0-2.jpg", colour=False)
    draw(cv4lymphnode / "2d" / "1" / "1-0.jpg", colour=True)
    result = audit("cv4lymphnode", cv4lymphnode)
    assert not result.has_problems
    assert {("note", "grey", "cdfi/0/0-2.jpg", ""), ("note", "coloured", "2d/1/1-0.jpg", "")} <= found(result)


def test_pictures_that_show_next_to_nothing_are_problems(cv4lymphnode, audit):
    """12 bits shown as if they were 16 reach 15 of 255; one corner of text makes no picture."""
    folder = cv4lymphnode / "2d" / "0"
    with Image.open(folder / "0-0.jpg") as image:
        image.point([level // 17 for level in range(256)] * len(image.getbands())).save(folder / "7-0.png")
    for number, grey in enumerate((0, 255, 128)):
        image = Image.new("L", (60, 60), grey)
        image.paste(255 - grey, (0, 0, 5, 5))
        image.save(folder / f"8-{number}.png")
    result = audit("cv4lymphnode", cv4lymphnode)
    assert {(kind, name) for _, kind, name, _ in found(result) if kind in ("black", "white", "flat")} == {
        ("black", "2d/0/7-0.png"),
        ("black", "2d/0/8-0.png"),
        ("white", "2d/0/8-1.png"),
        ("flat", "2d/0/8-2.png"),
    }
    assert "2d/0/8-2.png: 98 % of its pixels are between 128 and 128 of 255" in describe_check(result)


def test_burned_in_text_is_refused_by_import_unless_masked_and_said_by_check(cv4lymphnode, audit):
    pydicom = pytest.importorskip("pydicom")
    path = pydicom.data.get_testdata_file("examples_ybr_color.dcm", download=False)
    if path is None:
        pytest.skip("this pydicom comes without the file")
    header = pydicom.dcmread(path)
    for name, answer in (("7-1.dcm", "YES"), ("8-1.dcm", "NO")):
        header.BurnedInAnnotation = answer
        header.save_as(cv4lymphnode / "2d" / "0" / name)
    with pytest.raises(PictureError, match=r"1 of 47 pictures hold burned-in text.*2d/0/7-1.dcm") as caught:
        audit("cv4lymphnode", cv4lymphnode)
    assert "`--crop auto`" in caught.value.way_out
    assert "`--mask-text`" in caught.value.way_out
    result = audit("cv4lymphnode", cv4lymphnode, cropping=Cropping(mask_text=True))
    assert result.cohort.details.burned_in == 1
    assert [name for _, kind, name, _ in found(result) if kind == "burned-in text"] == ["2d/0/7-1.dcm"]
    assert "BurnedInAnnotation of 2 DICOM files" in describe_check(result)


def test_a_check_says_what_it_looked_at(busi, audit):
    text = describe_check(audit("busi", busi))
    assert "Looked at, for every picture: the file as it was imported (SHA-256); nearly black" in text
    assert "DICOM" not in text


def test_many_findings_are_counted_in_the_text_and_whole_in_the_table(busi, audit):
    def after():
        for path in busi.rglob("*.png"):
            path.write_bytes(b"")

    result = audit("busi", busi, after)
    assert len(result.findings) == 18
    assert "cannot be read (18)" in describe_check(result)
    assert "... and 8 more" in describe_check(result)


def test_a_simulated_cohort_has_no_repeats(tmp_path):
    result = check_pictures(simulate_cohort(tmp_path / "phantom", n_patients=40, image_size=64, missing=0.1))
    assert not result.has_problems
    assert set(result.findings["kind"]) <= {"missing modality"}


@pytest.mark.real_data
@pytest.mark.skipif(not (SHARED / "data" / "busi").is_dir(), reason="no real pictures here")
def test_the_pictures_of_busi_that_stand_under_two_labels_are_found(tmp_path):
    """Those that the data's description names, and no other pair."""
    raw = tmp_path / "raw"
    for part in ("busi/Dataset_BUSI_with_GT", "busi_256"):
        for path in (SHARED / "data" / part).rglob("*.png"):
            copy = raw / path.parent.name / path.name
            copy.parent.mkdir(parents=True, exist_ok=True)
            copy.write_bytes(path.read_bytes())
    result = check_pictures(import_cohort(open_source("busi", raw), tmp_path / "cohort"))
    pairs = result.findings[result.findings["severity"] == "problem"]
    names = {(Path(a).stem, Path(b).stem) for a, b in zip(pairs["image_id"], pairs["other_image_id"], strict=True)}
    assert names == {
        ("benign (433)", "malignant (145)"),
        ("benign (399)", "malignant (93)"),
        ("benign (437)", "normal (34)"),
        ("benign (435)", "malignant (145)"),
    }
    doppler = result.findings[result.findings["kind"] == "coloured"]["image_id"]
    assert {Path(name).stem for name in doppler} == {"benign (6)", "benign (234)", "benign (261)", "benign (323)"}
