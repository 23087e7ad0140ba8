"""The record of an evaluation, `evaluation.json`: what was fixed before, and the figures."""

import json
from pathlib import Path
from typing import Literal

from pydantic import Field, ValidationError

from fusion_ln.errors import RunError
from fusion_ln.evaluation.external.answers import EVALUATE_AGAIN
from fusion_ln.evaluation.external.figures import Figures, PointEstimate
from fusion_ln.evaluation.external.points import OperatingPoint
from fusion_ln.evaluation.external.profile import CohortProfile
from fusion_ln.evaluation.external.protocol import StoredProtocol, Verdict
from fusion_ln.evaluation.external.recalibrate import Recalibration
from fusion_ln.files.formats import parse, write_json
from fusion_ln.records.parts import Strict
from fusion_ln.terms import EVALUATION_RECORD

EVALUATION_FILE, PREDICTIONS, RECALIBRATION = EVALUATION_RECORD, "predictions.parquet", "recalibration.json"


class EvaluatedModel(Strict):
    """The model that was evaluated.

    Attributes:
        name: Name of its folder.
        digest: Names its content; None of a run that was frozen for the occasion.
        title: Its head, or the modality of a baseline.
        patients: Patients of its study by class.
        paper: Whether its training stopped on the patients who then tested it.
        profile: Of the cohort that it learnt from.
        points: Its operating points.
        auc: Of its own study's patients out of fold, by class; the mean under ``mean``; empty if it brings none.
    """

    name: str
    digest: str | None
    title: str
    modalities: tuple[str, ...]
    study: str
    simulated: bool
    patients: dict[str, int]
    paper: bool
    frozen: str
    profile: CohortProfile | None
    points: tuple[OperatingPoint, ...]
    auc: dict[str, PointEstimate] = Field(default_factory=dict)


class EvaluatedCohort(Strict):
    """The cohort that the model was evaluated on.

    Attributes:
        patients: All of them; ``predicted``: those with a picture that the model takes.
        classes: Patients by class in the model's order, if labels were looked at.
        unlike: Patients with a picture unlike all that the model learnt from; None where the model does not tell.
        attainable: AUC that a phantom's pictures allow, if it is known and every patient has the same ones.
    """

    name: str
    fingerprint: str
    simulated: bool
    patients: int
    predicted: int
    classes: dict[str, int] | None
    profile: CohortProfile
    unlike: int | None = None
    attainable: float | None = None


class Endpoint(Strict):
    """The primary endpoint of a protocol and what was found."""

    name: str
    margin: float
    found: PointEstimate
    verdict: Verdict


class EvaluationRecord(Strict):
    """An evaluation.

    Attributes:
        labels: Whether the true classes were looked at.
        earlier: Days of earlier evaluations of this model on this cohort with its labels.
        endpoint: Of the protocol; None without one.
        cases: Local cases of a recalibration; None without one.
    """

    format: Literal[1] = 1
    model: EvaluatedModel
    cohort: EvaluatedCohort
    evaluated: str
    labels: bool
    earlier: tuple[str, ...] = ()
    protocol: StoredProtocol | None = None
    endpoint: Endpoint | None = None
    cases: int | None = None

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, in label order."""
        return tuple(self.model.patients)


def judge_endpoint(protocol: StoredProtocol, figures: Figures) -> Endpoint:
    """Find the endpoint of a protocol among the figures and judge it."""
    content = protocol.content
    found = figures.endpoints()[content.endpoint]
    return Endpoint(name=content.endpoint, margin=content.margin, found=found, verdict=content.judge(found))


def write_record(folder: Path, record: EvaluationRecord, figures: Figures | None) -> None:
    """Write the record and its figures as one JSON object, atomically."""
    measured = figures.model_dump(mode="json") if figures else {}
    write_json(folder / EVALUATION_FILE, {**record.model_dump(mode="json"), **measured})


def read_record(folder: Path) -> tuple[EvaluationRecord, Figures | None]:
    """Read the record of an evaluation and its figures; label-free, there are none.

    Raises:
        RunError: If it is missing, damaged or of another format.
    """
    path = folder / EVALUATION_FILE
    held = _read(path)
    names = Figures.model_fields
    try:
        record = EvaluationRecord.model_validate({k: v for k, v in held.items() if k not in names})
        figures = Figures.model_validate({k: v for k, v in held.items() if k in names}) if record.labels else None
    except ValidationError as error:
        raise _damaged(path, error) from None
    return record, figures


def read_recalibration(folder: Path) -> Recalibration:
    """Read `recalibration.json`.

    Raises:
        RunError: See `read_record`.
    """
    path = folder / RECALIBRATION
    try:
        return Recalibration.model_validate(_read(path))
    except ValidationError as error:
        raise _damaged(path, error) from None


def _read(path: Path) -> dict[str, object]:
    try:
        held: object = parse(path.read_text(encoding="utf-8"), json.loads)
    except (OSError, ValueError) as error:
        raise RunError(f"{path}: cannot be read as the record of an evaluation ({error}).", EVALUATE_AGAIN) from None
    if not isinstance(held, dict):
        raise RunError(f"{path}: holds no record of an evaluation.", EVALUATE_AGAIN)
    return held


def _damaged(path: Path, error: ValidationError) -> RunError:
    first = error.errors()[0]
    return RunError(f"{path}: {'.'.join(map(str, first['loc']))}: {first['msg']}.", EVALUATE_AGAIN)
