"""Structured reports of answers, opened by pydicom and highdicom and walked as readers of TID 1500 do."""

import json
import shutil
import subprocess
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from fusion_ln.errors import ModelError, PictureError, RunError
from fusion_ln.frozen.answer import Answers
from fusion_ln.predict.structured_report import read_references, refuse_chosen_frames, require_digest, write_report
from fusion_ln.records.parts import Preparation

pydicom = pytest.importorskip("pydicom")
highdicom = pytest.importorskip("highdicom")
MODALITIES, CLASSES = ("2d", "cdfi", "elastic"), ("benign", "淋巴瘤", "m" * 80)
PROBS = np.array([[0.123456789012, 0.7, 0.176543210988]])


def save_picture(path, *, frames=1, without=(), **tags):
    """Write an ultrasound picture as a scanner does."""
    header = pydicom.Dataset()
    header.file_meta = pydicom.dataset.FileMetaDataset()
    header.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    still, loop = pydicom.uid.UltrasoundImageStorage, pydicom.uid.UltrasoundMultiFrameImageStorage
    header.SOPClassUID = loop if frames > 1 else still
    header.SOPInstanceUID, header.SeriesInstanceUID = pydicom.uid.generate_uid(), pydicom.uid.generate_uid()
    header.StudyInstanceUID, header.PatientID, header.PatientName = "1.2.3.4", "4711", "Müller^Änne"
    header.SpecificCharacterSet, header.PatientSex, header.PatientBirthDate = "ISO_IR 100", "F", "19600229"
    header.StudyDate, header.Modality, header.PatientComments = "20260101", "US", "to be kept at home"
    header.Rows = header.Columns = 20
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated = header.BitsStored = 8
    header.HighBit, header.PixelRepresentation = 7, 0
    if frames > 1:
        header.NumberOfFrames = frames
    header.PixelData = bytes(400 * frames)
    for name, value in tags.items():
        setattr(header, name, value)
    for name in without:
        delattr(header, name)
    header.save_as(path, enforce_file_format=True)
    return header


@pytest.fixture
def model(tmp_path):
    study = SimpleNamespace(protocol="nested", simulated=True, preparation=None)
    record = SimpleNamespace(title="Cross-attention", classes=CLASSES, study=study)
    return SimpleNamespace(root=tmp_path / "model", digest="ab" * 32, record=record, modalities=list(MODALITIES))


def answers(present=(True, True, False), distance=0.5):
    return Answers(
        patients=np.array(["patient"]),
        present=np.array([present]),
        probs=PROBS,
        raw=PROBS,
        member=np.array([[True, True, False]]),
        contributions=np.zeros((1, 3)),
        distance=np.array([distance]),
        alone=np.zeros((1, 3, 3)),
    )


@pytest.fixture
def pictures(tmp_path):
    """A still, a loop of four frames and a PNG."""
    headers = {"2d": save_picture(tmp_path / "a.dcm"), "elastic": save_picture(tmp_path / "c", frames=4)}
    Image.new("RGB", (20, 20)).save(tmp_path / "b.png")
    return headers, {"2d": tmp_path / "a.dcm", "cdfi": tmp_path / "b.png", "elastic": tmp_path / "c"}


def write(path, model, given, pictures, frame=0):
    write_report(path, model, given, read_references(pictures), kind="calibrated", frame=frame)
    return pydicom.dcmread(path)


def code_of(item):
    return item.ConceptNameCodeSequence[0].CodeValue


def children(item, code):
    return [each for each in item.ContentSequence if code_of(each) == code]


def test_a_reader_of_tid_1500_finds_every_probability_and_picture(tmp_path, model, pictures):
    """Walked with pydicom alone, by DICOM's codes: report, measurements, group, measured values."""
    headers, given = pictures
    report = write(tmp_path / "sr.dcm", model, answers((True, True, True)), given, frame=2)
    assert report.SOPClassUID.name == "Comprehensive SR Storage"
    assert (report.ContentTemplateSequence[0].TemplateIdentifier, code_of(report)) == ("1500", "126000")
    (container,) = children(report, "126010")  # Imaging Measurements
    (group,) = children(container, "125007")  # Measurement Group
    measured = [item for item in group.ContentSequence if item.ValueType == "NUM"]
    assert [item.MeasuredValueSequence[0].FloatingPointValue for item in measured] == PROBS[0].tolist()
    assert {item.MeasuredValueSequence[0].MeasurementUnitsCodeSequence[0].CodeValue for item in measured} == {"1"}
    names = [item.ConceptNameCodeSequence[0] for item in measured]
    assert names[1].CodeMeaning == "Probability of 淋巴瘤"
    assert all(len(name.CodeMeaning) <= 64 and name.CodingSchemeDesignator == "99FUSIONLN" for name in names)
    sources = [item.ReferencedSOPSequence[0] for item in children(group, "121112")]
    assert [item.ReferencedSOPInstanceUID for item in sources] == [each.SOPInstanceUID for each in headers.values()]
    assert ["ReferencedFrameNumber" in item for item in sources] == [False, True]
    assert sources[1].ReferencedFrameNumber == 3
    texts = {code_of(item): item.TextValue for item in group.ContentSequence if item.ValueType == "TEXT"}
    assert texts["111001"] == "fusion_ln: Cross-attention"
    parameters = [item.TextValue for item in children(group, "111002")]
    assert f"model digest: {model.digest}" in parameters
    assert f"CLASS2: {CLASSES[2]}" in parameters
    assert "never for a diagnosis" in texts["121106"]
    assert "simulated patients" in texts["121106"]
    assert "no DICOM files: cdfi" in texts["121106"]
    assert "means nothing" not in texts["121106"]
    values = [item.ConceptCodeSequence[0] for item in group.ContentSequence if item.ValueType == "CODE"]
    assert [value.CodeValue for value in values if value.CodingSchemeDesignator == "99FUSIONLN"] == [
        "CLASS1", "CLASS0", "CLASS1",
    ]  # fmt: skip


def test_the_report_is_unverified_and_of_the_patients_study(tmp_path, model, pictures):
    report = write(tmp_path / "sr.dcm", model, answers(), pictures[1])
    assert (report.VerificationFlag, report.PreliminaryFlag) == ("UNVERIFIED", "PRELIMINARY")
    assert (report.StudyInstanceUID, report.PatientID, str(report.PatientName)) == ("1.2.3.4", "4711", "Müller^Änne")
    assert (report.PatientSex, report.PatientBirthDate, report.StudyDate) == ("F", "19600229", "20260101")
    assert "PatientComments" not in report
    assert report.DeviceSerialNumber == model.digest
    evidence = report.CurrentRequestedProcedureEvidenceSequence[0].ReferencedSeriesSequence
    assert len(evidence) == 1  # the elastogram was not used


def test_highdicom_reads_the_report_again(tmp_path, model, pictures):
    write(tmp_path / "sr.dcm", model, answers(distance=3), pictures[1])
    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    (group,) = report.content.get_image_measurement_groups()
    assert [measurement.value for measurement in group.get_measurements()] == PROBS[0].tolist()
    assert b"this answer means nothing" in (tmp_path / "sr.dcm").read_bytes()


@pytest.mark.parametrize("reader", ["tid1500reader", "dciodvfy"])
def test_other_programs_read_the_report_without_an_error(tmp_path, model, pictures, reader):
    """The reader of dcmqi and the checker of dicom3tools; skipped where they are not installed."""
    if not (program := shutil.which(reader)):
        pytest.skip(f"no {reader}")
    write(tmp_path / "sr.dcm", model, answers(), pictures[1])
    files = ["--inputDICOM", tmp_path / "sr.dcm", "--outputMetadata", tmp_path / "out.json"]
    done = subprocess.run(
        [program, *(files if reader == "tid1500reader" else files[1:2])], capture_output=True, text=True
    )
    assert not [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
    if reader == "tid1500reader":
        held = json.loads((tmp_path / "out.json").read_text(encoding="utf-8"))
        items = held["Measurements"][0]["measurementItems"]
        assert [float(item["value"]) for item in items] == PROBS[0].tolist()
        assert held["imageLibrary"] == [pictures[0]["2d"].SOPInstanceUID]
        assert held["VerificationFlag"] == "UNVERIFIED"


def test_elements_that_break_the_standard_are_left_empty(tmp_path, model):
    path = tmp_path / "a.dcm"
    with pydicom.config.disable_value_validation():
        save_picture(path, PatientSex="female", PatientBirthDate="29.2.1960", without=["StudyDate", "PatientName"])
    report = write(tmp_path / "sr.dcm", model, answers(), {"2d": path})
    assert not any(report[name].value for name in ("PatientSex", "PatientBirthDate", "StudyDate", "PatientName"))
    assert report.PatientID == "4711"


def test_pictures_without_a_study_are_refused_in_words(tmp_path, pictures, model):
    png = {"cdfi": pictures[1]["cdfi"]}
    with pytest.raises(PictureError, match="none of the pictures is a DICOM file"):
        read_references(png)
    save_picture(tmp_path / "d.dcm", without=["SeriesInstanceUID"])
    with pytest.raises(PictureError, match="without a valid SeriesInstanceUID"):
        read_references({"2d": tmp_path / "d.dcm"})
    save_picture(tmp_path / "f.dcm", frames=2)
    (tmp_path / "f.dcm").write_bytes((tmp_path / "f.dcm").read_bytes().replace(b"IS\x02\x002 ", b"IS\x02\x00zz"))
    with pytest.raises(PictureError, match="damaged"):
        read_references({"2d": tmp_path / "f.dcm"})
    save_picture(tmp_path / "e.dcm", PatientID="4712")
    with pytest.raises(PictureError, match="different patients"):
        read_references({**pictures[1], "cdfi": tmp_path / "e.dcm"})
    save_picture(tmp_path / "n.dcm", PatientID="", PatientName="Other^Person")
    with pytest.raises(PictureError, match="PatientName"):
        read_references({**pictures[1], "cdfi": tmp_path / "n.dcm"})
    with pytest.raises(PictureError, match=r"of elastic, and .* takes 2d, cdfi"):
        write_report(
            tmp_path / "sr.dcm",
            SimpleNamespace(**{**vars(model), "modalities": ["2d", "cdfi"]}),
            answers(present=(True, True)),
            read_references({"elastic": pictures[1]["elastic"]}),
            kind="calibrated",
            frame=0,
        )
    with pytest.raises(RunError, match="cannot be written"):
        write(tmp_path / "b.png" / "sr.dcm", model, answers(), pictures[1])


def test_a_report_names_the_frame_of_the_study_where_none_was_asked_for(tmp_path, model, pictures):
    _, given = pictures
    model.record.study.preparation = Preparation(frame=2)
    report = write(tmp_path / "sr.dcm", model, answers((True, True, True)), given, frame=None)
    (group,) = children(children(report, "126010")[0], "125007")
    sources = [item.ReferencedSOPSequence[0] for item in children(group, "121112")]
    assert [item.get("ReferencedFrameNumber") for item in sources] == [None, 3]


def test_a_report_on_a_cine_needs_the_frame_where_the_model_chooses(pictures):
    references = read_references(pictures[1])
    study = SimpleNamespace(preparation=Preparation(frames="best"))
    chooses = SimpleNamespace(modalities=["2d", "elastic"], record=SimpleNamespace(study=study))
    with pytest.raises(PictureError, match=r"elastic of several frames(.|\n)*Name it with `--frame N`"):
        refuse_chosen_frames(chooses, references, None)
    refuse_chosen_frames(chooses, references, 2)
    refuse_chosen_frames(chooses, {"2d": references["2d"]}, None)


def test_a_run_has_no_digest_to_be_named_by(model):
    with pytest.raises(ModelError, match="Freeze it first: `fusionln freeze"):
        require_digest(SimpleNamespace(**{**vars(model), "digest": None}))


def test_a_missing_extra_is_named(pictures, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "highdicom.sr", None)
    with pytest.raises(PictureError, match=r'pip install "fusion_ln\[dicom\]"'):
        read_references(pictures[1])
