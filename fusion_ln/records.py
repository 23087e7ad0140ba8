"""The record of a run, `run.json`: settings, cohort, versions, hardware and time of each fit."""

import json
import os
import platform
import re
import shlex
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Self, TypedDict

from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    SerializerFunctionWrapHandler,
    Tag,
    TypeAdapter,
    ValidationError,
    model_serializer,
    model_validator,
)

from fusion_ln.clinical.settings import ClinicalSettings
from fusion_ln.errors import RunError
from fusion_ln.files import parse
from fusion_ln.settings import BaselineSettings, LateSettings, PretrainSettings, Protocol, TrainedFusionSettings

FORMAT_VERSION = 1
# Keys that make it the same run; the others say when, where and how fast it was computed.
RUN_IDENTITY = ("format", "kind", "settings", "cohort")
RECORDED_PACKAGES = ("fusion_ln", "torch", "torchvision", "timm", "lightning-fabric", "numpy", "pandas", "scikit-learn")
PASSWORD = re.compile(r"(://[^/@:\s]*):[^@\s]*@")  # in the URL of a database

LearntParameters = Mapping[str, list[float] | list[list[float]]]  # what a late head learns, by name


class _Recorded(BaseModel):
    """Base of everything recorded: frozen; an entry that is None is not written."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class CohortSummary(_Recorded):
    """A cohort as a run records it.

    Attributes:
        fingerprint, folds: SHA-256 of patients and pictures, and of the folds.
    """

    name: str
    simulated: bool
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    patients: int
    fingerprint: str
    folds: str
    n_folds: int


class TaskSummaries(_Recorded):
    """The cohorts of a pre-training."""

    tasks: tuple[CohortSummary, ...]


class PatientCounts(_Recorded):
    """Patients with a prediction, and patients without."""

    predicted: int
    skipped: int


class FoldRecord(_Recorded):
    """Time and best epoch of the fit of one fold."""

    fold: int
    seconds: float
    pictures_per_second: float
    epochs: int
    best_epoch: int
    precision: str
    peak_memory_mib: int | None = None


class PretrainingFit(_Recorded):
    """Time and best epoch of a pre-training; ``patients`` are those trained on and validated on, by task."""

    seconds: float
    pictures_per_second: float
    epochs: int
    best_epoch: int
    precision: str
    patients: dict[str, tuple[int, int]]


class Hardware(_Recorded):
    """The machine that computed a run."""

    system: str
    processor: str
    cores: int
    memory_gib: float


class Origin(TypedDict):
    """When, by which command and with what a run was begun."""

    command: str
    started: str
    versions: dict[str, str]
    hardware: Hardware


class _Record(_Recorded):
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
    patients: PatientCounts | None = None

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
    cohort_paths: tuple[str, ...]
    fit: PretrainingFit | None = None


class TableRecord(_Recorded):
    """Record of a bare table of predictions, whose making is unknown."""

    kind: Literal["table"] = "table"
    folds: tuple[FoldRecord, ...] = ()
    protocol: ClassVar[Protocol] = "nested"


def _tag_of(record: dict[str, Any]) -> str:
    """Both fusions are of kind ``fusion``; only a trained one has settings of its training."""
    kind = str(record.get("kind"))
    if kind != "fusion":
        return kind
    settings = record.get("settings")
    return "trained fusion" if isinstance(settings, dict) and "training" in settings else "late fusion"


PredictionRecord = BaselineRecord | LateFusionRecord | TrainedFusionRecord | ClinicalRecord
RunRecord = Annotated[
    Annotated[BaselineRecord, Tag("baseline")]
    | Annotated[LateFusionRecord, Tag("late fusion")]
    | Annotated[TrainedFusionRecord, Tag("trained fusion")]
    | Annotated[ClinicalRecord, Tag("clinical")]
    | Annotated[PretrainingRecord, Tag("pretraining")],
    Discriminator(_tag_of),
]
KINDS = ("baseline", "fusion", "clinical", "pretraining")
_RECORDS: TypeAdapter[RunRecord] = TypeAdapter(RunRecord)


def parse_record(text: str, file: Path) -> RunRecord:
    """Read the content of a run.json.

    Raises:
        RunError: If it is damaged or of another format, naming ``file`` and the first key that does not fit.
    """
    try:
        held: object = parse(text, json.loads)
    except ValueError as error:
        raise _damaged(file, f"not valid JSON ({error})") from None
    if not isinstance(held, dict):
        raise _damaged(file, "not a JSON object")
    if held.get("format") != FORMAT_VERSION:
        raise RunError(
            f"{file}: run format {held.get('format')!r}; this version reads format {FORMAT_VERSION}.",
            "Read it with the version of fusion_ln that wrote it, or run again in another folder (`--out DIR`).",
        )
    if held.get("kind") not in KINDS:
        raise _damaged(file, f"kind: {held.get('kind')!r}; expected one of {', '.join(KINDS)}")
    try:
        return _RECORDS.validate_python(held, context={"recorded": True})
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"][1:]))  # without the tag
        raise _damaged(file, f"{key}: {first['msg'].removeprefix('Value error, ')}".removeprefix(": ")) from None


def _damaged(file: Path, found: str) -> RunError:
    return RunError(
        f"{file}: cannot be read as the record of a run; {found}.",
        "Restore the file, or run again in another folder (`--out DIR`).",
    )


def new_origin() -> Origin:
    """Capture command, time, versions and hardware of a run that begins now."""
    return {
        "command": PASSWORD.sub(r"\1:***@", shlex.join(["fusionln", *sys.argv[1:]])),
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "versions": installed_versions(),
        "hardware": hardware(),
    }


def installed_versions() -> dict[str, str]:
    """Look up the versions of Python and of the packages that shape a result."""
    found = {"python": platform.python_version()}
    for package in RECORDED_PACKAGES:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = "not installed"
    return found


def hardware() -> Hardware:
    """Describe the machine of this process."""
    return Hardware(
        system=platform.platform(terse=True),
        processor=_processor(),
        cores=len(os.sched_getaffinity(0)),
        memory_gib=round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
    )


def _processor() -> str:
    with suppress(OSError, StopIteration):
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return platform.machine()
