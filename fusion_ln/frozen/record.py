"""The description of a model that leaves its study, `model.json`: it names no patient and no place on a machine."""

import json
from pathlib import Path
from typing import Annotated, Literal, Self

import numpy as np
from pydantic import Field, FiniteFloat, ValidationError, model_validator

from fusion_ln.errors import ModelError
from fusion_ln.evaluation.external.points import OperatingPoint
from fusion_ln.evaluation.external.profile import CohortProfile
from fusion_ln.evaluation.probabilities.maps import CalibrationMap
from fusion_ln.explanations import MapTests
from fusion_ln.files.formats import parse
from fusion_ln.heads import LATE_HEADS
from fusion_ln.records.parts import LearntParameters, Preparation, Share, Strict
from fusion_ln.settings.base import Answer, Protocol
from fusion_ln.settings.fusion import HeadSettings

FORMAT_VERSION = 3
ALL_PATIENTS = ""  # name of the scores of all patients, each with the pictures that the patient has
FREEZE_AGAIN = "Take a fresh copy of the folder, or freeze the run again (`fusionln freeze RUN --out DIR`)."


class StoredCalibration(Strict):
    """A `CalibrationMap` without mixing, as it is written."""

    slope: Annotated[FiniteFloat, Field(gt=0)]
    offsets: tuple[FiniteFloat, ...]
    shares: tuple[Share, ...]
    patients: Annotated[int, Field(ge=1)]

    @classmethod
    def of(cls, found: CalibrationMap) -> "StoredCalibration":
        offsets, shares = tuple(found.offsets.tolist()), tuple(found.shares.tolist())
        return cls(slope=found.slope, offsets=offsets, shares=shares, patients=found.patients)

    def restore(self) -> CalibrationMap:
        n = len(self.offsets)
        return CalibrationMap(
            self.slope, np.array(self.offsets), np.zeros((n, n)), np.array(self.shares), self.patients
        )


class Study(Strict):
    """The study that a model comes from.

    Attributes:
        cohort: Name of its cohort.
        patients: Number of patients by class.
        n_folds: Number of outer folds.
        fingerprint, folds: SHA-256 of patients and pictures, and of the folds.
        licence: Licence of its cohort; None where that was not at hand, or names none.
        protocol: Early stopping on inner validation, or on the held-out fold as the paper did.
        weights: What its networks began from, in words.
        preparation: What was done to its pictures; None: they are taken whole.
        profile: Its pictures, findings and gaps, of no patient in particular; None where the cohort was not at hand.
    """

    cohort: str
    simulated: bool
    patients: dict[str, int]
    n_folds: Annotated[int, Field(ge=2)]
    fingerprint: str
    folds: str
    protocol: Protocol
    licence: str | None = None
    weights: tuple[str, ...] = ()
    preparation: Preparation | None = None
    profile: CohortProfile | None = None


class Auc(Strict):
    """One-vs-rest AUC of out-of-fold answers, with its 95 % interval; ``of`` a class, or of their ``mean``."""

    of: str
    value: Share
    low: Share
    high: Share


class ModelRecord(Strict):
    """A model: the mean of the models of a study's folds, or one that was trained once more on all patients.

    Attributes:
        answer: ``ensemble`` or ``refit``, the mean or the one.
        title: The head, or the modality of a baseline.
        classes: Names, in label order.
        modalities: Pixels a side of the pictures, by modality in the order of the networks.
        epochs: Of a refit: epochs of the network of each modality, and of a trained head.
        late_head, learnt: A late head, and what it learnt for each model, if anything.
        head: Settings of a trained head in each model.
        calibration: Of the answer from each subset of the modalities that was learnt from enough patients.
        pooled: Of the answer from all others: learnt from every patient with the pictures that each has.
        operating_points: Thresholds of calibrated probabilities, chosen on out-of-fold predictions.
        figures: Of the calibrated answers of the folds' models to the patients whom they held out.
        map_tests: Of the attribution maps of the folds' models; None where none were tested.
        farthest: Distance of features beyond which a patient is unlike the study's, see `learn_threshold`.
        licence: Licence of the weights.
        frozen: Day on which it was frozen.
    """

    format: Literal[3] = 3
    answer: Answer = "ensemble"
    title: str
    classes: Annotated[tuple[str, ...], Field(min_length=2)]
    modalities: Annotated[dict[str, int], Field(min_length=1)]
    epochs: dict[str, int] | None = None
    late_head: str | None = None
    learnt: tuple[LearntParameters | None, ...] | None = None
    head: tuple[HeadSettings, ...] | None = None
    calibration: dict[str, StoredCalibration]
    pooled: StoredCalibration
    operating_points: tuple[OperatingPoint, ...] = ()
    figures: tuple[Auc, ...] = ()
    study: Study
    map_tests: MapTests | None = None
    farthest: Annotated[FiniteFloat, Field(ge=0)] = 0
    licence: str
    frozen: str
    versions: dict[str, str]

    @model_validator(mode="after")
    def _check_parts(self) -> Self:
        n = len(self.classes)
        for subset, found in {**self.calibration, "pooled": self.pooled}.items():
            if len(found.offsets) != n or len(found.shares) != n:
                raise ValueError(f"calibration {subset}: not of {n} classes")
            if found is not self.pooled and not set(subset.split("+")) <= self.modalities.keys():
                raise ValueError(f"calibration {subset}: of other modalities than {', '.join(self.modalities)}")
        for name, held in (("head", self.head), ("learnt", self.learnt)):
            if held is not None and len(held) != len(self.numbers):
                raise ValueError(f"{name}: {len(held)} of {len(self.numbers)} models")
        if self.late_head is not None and self.late_head not in LATE_HEADS:
            raise ValueError(f"late_head: {self.late_head} is no late head")
        return self

    @property
    def fine_tuned(self) -> bool:
        """True if the networks were fine-tuned with the fusion: their own heads then mean nothing any more."""
        return any(settings.finetune for settings in self.head or ())

    @property
    def numbers(self) -> tuple[int, ...]:
        """Numbers of the models in the names of their files: their folds; of a refit, the one after the last."""
        n_folds = self.study.n_folds
        return (n_folds,) if self.answer == "refit" else tuple(range(n_folds))

    def calibration_of(self, subset: str) -> CalibrationMap:
        """Return the calibration of the answer from these modalities, named as in ``2d+elastic``."""
        return self.calibration.get(subset, self.pooled).restore()


def parse_model_record(text: str, file: Path) -> ModelRecord:
    """Read the content of a model.json.

    Raises:
        ModelError: If it is damaged or of another format, naming ``file`` and the first key that does not fit.
    """
    try:
        held: object = parse(text, json.loads)
    except ValueError as error:
        raise ModelError(f"{file}: not valid JSON ({error}).", FREEZE_AGAIN) from None
    if isinstance(held, dict) and held.get("format") != FORMAT_VERSION:
        raise ModelError(
            f"{file}: model format {held.get('format')!r}; this version reads format {FORMAT_VERSION}.",
            "Use the version of fusion_ln that wrote it, or freeze the run again.",
        )
    try:
        return ModelRecord.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise ModelError(f"{file}: {f'{place}: ' if place else ''}{first['msg']}.", FREEZE_AGAIN) from None
