"""An answer as a DICOM structured report (TID 1500, Measurement Report), which refers to the pictures it is about."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from fusion_ln import __version__
from fusion_ln.decode.dicom import INSTALL_DICOM, open_dicom
from fusion_ln.decode.limits import damaged
from fusion_ln.decode.picture import is_dicom
from fusion_ln.errors import ModelError, PictureError
from fusion_ln.evaluation.probabilities.cv_plus import MISS_RATE
from fusion_ln.files.atomic import write_atomically
from fusion_ln.frozen.answer import Answers
from fusion_ln.frozen.describe import warnings_of
from fusion_ln.frozen.load import FrozenModel
from fusion_ln.progress import say
from fusion_ln.terms import listed

if TYPE_CHECKING:
    from highdicom.sr import CodedConcept, ComprehensiveSR, MeasurementReport
    from pydicom import Dataset

INSTALL = INSTALL_DICOM.replace("the DICOM reader", "it")
UNLIKE_WARNING = "A picture is unlike all that the model learnt from: this answer means nothing."
SCHEME = "99FUSIONLN"  # of codes of our own; DICOM reserves designators that begin with 99 for such
UTF_8 = "ISO_IR 192"
LONGEST_MEANING = 64  # letters of a code's meaning
UIDS = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID")
# Of patient and study, as the pictures name them; the standard lets each be empty.
OF_PATIENT = (
    "PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID", "StudyDate",
    "StudyTime", "ReferringPhysicianName",
)  # fmt: skip


def read_references(pictures: Mapping[str, Path]) -> "dict[str, Dataset]":
    """Read what a report names of each DICOM picture of a patient: its UIDs, the patient and the study.

    Returns:
        By modality; pictures of other kinds are left out.

    Raises:
        PictureError: If highdicom is missing, no picture is a DICOM file, one lacks a UID, or they are of two patients.
    """
    try:
        import highdicom.sr  # noqa: F401 (tells that the extra is there)
    except ImportError:
        raise PictureError("--sr: highdicom, which writes structured reports, is not installed.", INSTALL) from None
    found = {modality: _reference(path) for modality, path in pictures.items() if is_dicom(path)}
    if not found:
        raise PictureError(
            "--sr: none of the pictures is a DICOM file, and a structured report belongs to a patient's DICOM study.",
            "Give at least one picture as DICOM, or write the answer with `--json FILE`.",
        )
    for keyword in ("PatientID", "PatientName", "PatientBirthDate"):
        if len({str(reference.get(keyword)) for reference in found.values()} - {""}) > 1:
            raise PictureError(
                f"--sr: the DICOM pictures ({', '.join(found)}) name different patients ({keyword}).",
                "Give pictures of one patient.",
            )
    return found


def _reference(path: Path) -> "Dataset":
    with open_dicom(path) as file:
        try:
            return _copy_names(path, file.header)
        except PictureError:
            raise
        except Exception as error:  # damaged elements are met with nearly any exception
            raise damaged(path, error) from None


def _copy_names(path: Path, header: "Dataset") -> "Dataset":
    from pydicom import Dataset
    from pydicom.uid import UID

    reference = Dataset()
    for keyword in UIDS:
        value = UID(str(header.get(keyword, "")))
        if not value.is_valid:
            raise PictureError(
                f"{path}: a DICOM file without a valid {keyword}, so that no structured report can refer to it.",
                "Export it again from the scanner or archive, or leave `--sr` away.",
            )
        setattr(reference, keyword, value)
    for keyword in OF_PATIENT:
        setattr(reference, keyword, _readable(header, keyword))
    reference.NumberOfFrames = int(header.get("NumberOfFrames", 1))
    return reference


def _readable(header: "Dataset", keyword: str) -> str:
    """Return the text of an element; nothing where it is missing, or breaks what the standard says of its values."""
    from pydicom.config import RAISE
    from pydicom.datadict import dictionary_VR
    from pydicom.valuerep import DA, TM, validate_value

    try:
        value = str(header.get(keyword) or "")
        representation = dictionary_VR(keyword)
        validate_value(representation, value, RAISE)
        if representation in ("DA", "TM"):
            (DA if representation == "DA" else TM)(value)
    except Exception:  # damaged text is met with nearly any exception
        return ""
    return value if keyword != "PatientSex" or value in ("M", "F", "O") else ""


def write_report(
    path: Path,
    model: FrozenModel,
    answers: Answers,
    references: "Mapping[str, Dataset]",
    *,
    kind: str,
    frame: int | None = None,
) -> None:
    """Write a model's answer to one patient as a structured report: unverified, preliminary, for research only.

    Args:
        path: File to write.
        model: A frozen model: its digest identifies the algorithm.
        answers: Of the patient alone.
        references: The DICOM pictures, see `read_references`.
        kind: Kind of the probabilities, as in the table of answers.
        frame: Frame that was asked for, counted from 0; None: that of the model's study, or the first.

    Raises:
        ModelError: If the model is a run, which has no digest.
        PictureError: If no DICOM picture is of a modality that the model takes.
        RunError: If the file cannot be written.
    """
    used = {m: references[m] for m in _used(model, answers) if m in references}
    if not used:
        raise PictureError(
            f"--sr: the DICOM pictures are of {', '.join(references)}, and {model.root} takes "
            f"{', '.join(model.modalities)}.",
            "Give a picture that the model takes as DICOM.",
        )
    if other := _not_referred_to(model, answers, used):
        say(f"{path}: refers to no picture of {', '.join(other)}, since only DICOM files can be referred to.")
    if frame is None:
        frame = ((study := model.record.study.preparation) and study.frame) or 0
    report = _build(model, answers, used, kind=kind, frame=frame)
    write_atomically(path, lambda temporary: report.save_as(temporary, enforce_file_format=True))


def require_digest(model: FrozenModel) -> str:
    """Return the digest of a frozen model.

    Raises:
        ModelError: If it is a run, which has none.
    """
    if model.digest is None:
        raise ModelError(
            f"{model.root}: a run, which has no digest that would name it in a structured report.",
            f"Freeze it first: `fusionln freeze {model.root} --out MODEL --licence NAME`.",
        )
    return model.digest


def refuse_chosen_frames(model: FrozenModel, references: "Mapping[str, Dataset]", frame: int | None) -> None:
    """Refuse a cine whose frames the model's study would choose: a report names the frame that was looked at.

    Raises:
        PictureError: If there is one, and no frame was named.
    """
    rule = (held := model.record.study.preparation) and held.frames
    several = [m for m, each in references.items() if each.NumberOfFrames > 1 and m in model.modalities]
    if rule and several and frame is None:
        raise PictureError(
            f"--sr: {listed(several)} of several frames, among which the model chooses (`--frames {rule}`); a report "
            "names the frame that was looked at.",
            "Name it with `--frame N`.",
        )


def _build(
    model: FrozenModel, answers: Answers, references: "Mapping[str, Dataset]", *, kind: str, frame: int
) -> "ComprehensiveSR":
    from highdicom import UID
    from highdicom.sr import ComprehensiveSR

    digest = require_digest(model)
    return ComprehensiveSR(
        evidence=list(references.values()),
        content=_describe(model, digest, answers, references, kind=kind, frame=frame),
        series_instance_uid=UID(),
        series_number=1,
        sop_instance_uid=UID(),
        instance_number=1,
        manufacturer="fusion_ln",
        manufacturer_model_name="fusion_ln",
        device_serial_number=digest[:LONGEST_MEANING],
        software_versions=__version__,
        series_description="Research only, never for a diagnosis",
        specific_character_set=UTF_8,
        is_verified=False,
    )


def _describe(
    model: FrozenModel,
    digest: str,
    answers: Answers,
    references: "Mapping[str, Dataset]",
    *,
    kind: str,
    frame: int,
) -> "MeasurementReport":
    """Describe the answer as the content tree of TID 1500."""
    from highdicom.sr import (
        AlgorithmIdentification,
        DeviceObserverIdentifyingAttributes,
        Measurement,
        MeasurementReport,
        MeasurementsAndQualitativeEvaluations,
        ObservationContext,
        ObserverContext,
        QualitativeEvaluation,
        RelationshipTypeValues,
        SourceImageForMeasurementGroup,
        TextContentItem,
        TrackingIdentifier,
    )
    from pydicom.sr.codedict import codes

    record, names = model.record, _class_codes(model.record.classes)
    device = DeviceObserverIdentifyingAttributes(
        uid=f"2.25.{int(digest[:32], 16)}", name="fusion_ln", manufacturer_name="fusion_ln", model_name=record.title,
        serial_number=digest,
    )  # fmt: skip
    likeliest = int(answers.probs[0].argmax())
    judged = [("LIKELIEST", "Likeliest class", likeliest)]
    judged += [("NOTRULEDOUT", _not_ruled_out(), int(c)) for c in np.flatnonzero(answers.member[0])]
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(identifier="Answer of the model to all pictures"),
        algorithm_id=AlgorithmIdentification(
            name=f"fusion_ln: {record.title}",
            version=__version__,
            parameters=[f"model digest: {digest}", f"probabilities: {kind}", *_class_lines(record.classes)],
        ),
        measurements=[
            Measurement(name=probability, value=float(value), unit=codes.UCUM.NoUnits)
            for (_, probability), value in zip(names, answers.probs[0], strict=True)
        ],
        qualitative_evaluations=[
            QualitativeEvaluation(name=_code(value, meaning), value=names[c][0]) for value, meaning, c in judged
        ],
        source_images=[
            SourceImageForMeasurementGroup(
                each.SOPClassUID, each.SOPInstanceUID, [frame + 1] if each.NumberOfFrames > 1 else None
            )
            for each in references.values()
        ],
    )
    comment = TextContentItem(
        name=codes.DCM.Comment,
        value=_comment(model, answers, references),
        relationship_type=RelationshipTypeValues.CONTAINS,
    )
    group[0].ContentSequence.append(comment)
    return MeasurementReport(
        observation_context=ObservationContext(observer_device_context=ObserverContext(codes.DCM.Device, device)),
        procedure_reported=codes.SCT.DiagnosticUltrasonography,
        imaging_measurements=[group],
    )


def _code(value: str, meaning: str) -> "CodedConcept":
    from highdicom.sr import CodedConcept

    short = meaning if len(meaning) <= LONGEST_MEANING else f"{meaning[: LONGEST_MEANING - 3]}..."
    return CodedConcept(value, SCHEME, short)


def _class_codes(classes: Sequence[str]) -> "list[tuple[CodedConcept, CodedConcept]]":
    """Return a code of each class, and one of its probability; `_class_lines` say the names in full."""
    return [(_code(f"CLASS{c}", name), _code(f"PROB{c}", f"Probability of {name}")) for c, name in enumerate(classes)]


def _class_lines(classes: Sequence[str]) -> list[str]:
    return [f"CLASS{c}: {name}" for c, name in enumerate(classes)]


def _not_ruled_out() -> str:
    return f"Not ruled out at {100 * (1 - MISS_RATE):.0f} %"


def _comment(model: FrozenModel, answers: Answers, references: "Mapping[str, Dataset]") -> str:
    """Warn, and name the pictures that the report cannot refer to."""
    lines = warnings_of(model)
    if answers.unlike[0]:
        lines.append(UNLIKE_WARNING)
    lines.append(f"Answered from {', '.join(_used(model, answers))}.")
    if other := _not_referred_to(model, answers, references):
        lines.append(f"Not referred to, since no DICOM files: {', '.join(other)}.")
    return " ".join(lines)


def _used(model: FrozenModel, answers: Answers) -> list[str]:
    return [m for m, present in zip(model.modalities, answers.present[0], strict=True) if present]


def _not_referred_to(model: FrozenModel, answers: Answers, references: "Mapping[str, Dataset]") -> list[str]:
    return [m for m in _used(model, answers) if m not in references]
