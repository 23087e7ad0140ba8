"""Records of the kinds of runs, one class each."""

from typing import Any, ClassVar, Literal, Self

from pydantic import BaseModel, model_validator

from fusion_ln.clinical.settings import ClinicalSettings
from fusion_ln.records.origin import Hardware
from fusion_ln.records.parts import (
    CohortSummary,
    FoldRecord,
    LearntParameters,
    PretrainingFit,
    Recorded,
    TaskSummaries,
    UnitCounts,
)
from fusion_ln.settings.base import Protocol
from fusion_ln.settings.fusion import LateSettings, TrainedFusionSettings
from fusion_ln.settings.pretraining import PretrainSettings
from fusion_ln.settings.training import BaselineSettings

# Keys that make it the same run; the others say when, where and how fast it was computed.
RUN_IDENTITY = ("format", "kind", "settings", "cohort")


class _Record(Recorded):
    """Entries of every run's record, in the order in which they are written."""

    format: Literal[1] = 1
    kind: str
    settings: BaseModel
    cohort: BaseModel
    command: str
    started: str
    versions: dict[str, str]
    hardware: Hardware
    folds: tuple[FoldRecord, ...] = ()

    def identity(self) -> dict[str, Any]:
        """Return the entries in `RUN_IDENTITY`, as they are written."""
        return {key: value for key, value in self.model_dump(mode="json").items() if key in RUN_IDENTITY}


class _OneCohortRecord(_Record):
    """Record of a run with out-of-fold predictions; ``cohort_path`` is the cohort's folder when it was made."""

    settings: BaselineSettings | LateSettings | TrainedFusionSettings | ClinicalSettings
    cohort: CohortSummary
    cohort_path: str | None = None
    units: UnitCounts | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_names_of_today(cls, held: Any) -> Any:
        """Read a record of an earlier version, in which ``patients`` counted nodes, too."""
        if isinstance(held, dict) and "patients" in held:
            return {**{key: held[key] for key in held if key != "patients"}, "units": held["patients"]}
        return held

    @property
    def protocol(self) -> Protocol:
        return self.settings.protocol


class BaselineRecord(_OneCohortRecord):
    """Record of a baseline."""

    kind: Literal["baseline"] = "baseline"
    settings: BaselineSettings


class _FusionRecord(_OneCohortRecord):
    """Entries of every fusion; ``members`` are the folders of its baselines, relative to the run's."""

    kind: Literal["fusion"] = "fusion"
    settings: LateSettings | TrainedFusionSettings
    members: tuple[str, ...]

    @model_validator(mode="after")
    def _check_members(self) -> Self:
        if len(self.members) != len(self.settings.members):
            raise ValueError(f"members: {len(self.members)} folders of {len(self.settings.members)} baselines")
        return self


class LateFusionRecord(_FusionRecord):
    """Record of a late fusion; ``learnt`` is what the head learnt, by fold (``weights`` are one per baseline)."""

    settings: LateSettings
    learnt: tuple[LearntParameters | None, ...] | None = None

    @property
    def is_stacked(self) -> bool:
        """True for a regression on the inner validation patients: these are fitted, so they teach no calibration."""
        return any(each and "coefficients" in each for each in self.learnt or ())

    @model_validator(mode="after")
    def _check_learnt(self) -> Self:
        held, n_members, n_folds = self.learnt, len(self.members), self.cohort.n_folds
        weights = [each["weights"] for each in held or () if each and "weights" in each]
        if (held is not None and len(held) != n_folds) or any(len(each) != n_members for each in weights):
            raise ValueError(f"learnt: expected an entry for each of {n_folds} folds, for {n_members} baselines")
        return self


class TrainedFusionRecord(_FusionRecord):
    """Record of a fusion with a trained head."""

    settings: TrainedFusionSettings


class ClinicalRecord(_OneCohortRecord):
    """Record of a model of columns of the cohort's table; a stack names its ``members``, the pictures' run first."""

    kind: Literal["clinical"] = "clinical"
    settings: ClinicalSettings
    members: tuple[str, ...] = ()
    learnt: tuple[LearntParameters, ...] = ()


class PretrainingRecord(_Record):
    """Record of a pre-training; it has a ``fit`` once it is finished."""

    kind: Literal["pretraining"] = "pretraining"
    settings: PretrainSettings
    cohort: TaskSummaries
    simulated: bool
    fit: PretrainingFit | None = None


class TableRecord(Recorded):
    """Record of a bare table of predictions, whose making is unknown."""

    kind: Literal["table"] = "table"
    folds: tuple[FoldRecord, ...] = ()
    protocol: ClassVar[Protocol] = "nested"
