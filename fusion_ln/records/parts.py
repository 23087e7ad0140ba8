"""Parts of records: cohorts, patients and fits."""

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    FiniteFloat,
    SerializerFunctionWrapHandler,
    model_serializer,
    model_validator,
)

Share = Annotated[FiniteFloat, Field(ge=0, le=1)]
LearntParameters = Mapping[str, list[float] | list[list[float]]]  # what a late head learns, by name


class Recorded(BaseModel):
    """Base of everything recorded: frozen; an entry that is None is not written."""

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    @model_serializer(mode="wrap")
    def _without_absent(self, dump: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in dump(self).items() if value is not None}


class Strict(BaseModel):
    """Base of what is stored beside records: frozen; a key that is not known is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid")


# Entries of a cohort that follow from its pictures and patients, which are hashed; `owners` is an earlier version's.
DESCRIPTIVE = ("preparation", "patients", "nodes", "owners")
GIVEN = "given"  # in place of a rule: boxes that somebody looked at


class Preparation(Recorded):
    """Preparation of pictures that are not taken whole, as their files hold them.

    Attributes:
        crop: Rule by which they were cut out, see `fusion_ln.cohort.regions.rule.CropRule`; or `GIVEN`.
        accepted: Number of boxes that somebody gave or corrected.
        mask_text: Whether texts within them are filled.
        frames: Rule by which they were taken from cines, see `fusion_ln.cohort.frames.FrameRule`; empty: none was.
        frame: Frame that was taken of each file of several; None: ``frames`` were, or there was no such file.
        burned_in: Number of files that say that text stands in their pixels.
        boxes: Number of pictures by how their box was found.
    """

    crop: str = "none"
    accepted: int = 0
    mask_text: bool = False
    frames: str = ""
    frame: int | None = None
    burned_in: int = 0
    boxes: dict[str, int] = {}

    def __str__(self) -> str:
        """Describe it in a clause: "cut out of their screens (`--crop auto`) and their texts filled"."""
        how = "boxes given by hand" if self.crop == GIVEN else f"`--crop {self.crop}`"
        parts = [f"cut out of their screens ({how})"] * (self.crop != "none")
        parts += ["their texts filled (`--mask-text`)"] * self.mask_text
        return " and ".join([*[f"taken from cines ({self.of_cines})"] * bool(self.of_cines), *parts])

    @property
    def of_each(self) -> str:
        """Describe what was done to each picture, wherever it came from; "taken whole" for nothing."""
        return str(self.model_copy(update={"frames": "", "frame": None})) or "taken whole"

    @property
    def of_cines(self) -> str:
        """Name the option by which pictures were taken from cines; empty where there was no cine."""
        if self.frames:
            return f"`--frames {self.frames}`"
        return "" if self.frame is None else f"`--frame {self.frame}`"

    @property
    def untold(self) -> int:
        """Number of boxes that no rule finds in a picture by itself: of shared frames, or given one by one."""
        return sum(self.boxes.get(by, 0) for by in ("frame", "table", "accepted"))

    def counts(self) -> str:
        """Describe it in sentences, with how many pictures were prepared how."""
        boxes = ", ".join(f"{by} {count}" for by, count in self.boxes.items())
        accepted = f" {self.accepted} boxes were given or corrected by hand." * bool(self.accepted)
        named = f" {self.burned_in} files say that text stands in their pixels." * bool(self.burned_in)
        return f"Pictures {self}{f' ({boxes})' * bool(boxes)}.{accepted}{named}"


class CohortSummary(Recorded):
    """A cohort as a run records it.

    Attributes:
        patients: Number of its patients.
        fingerprint, folds: SHA-256 of patients and pictures, and of the folds.
        preparation: Of its pictures; None: they are taken whole.
        nodes: Number of their nodes; None: its units are patients.
    """

    name: str
    simulated: bool
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    patients: int
    fingerprint: str
    folds: str
    n_folds: int
    preparation: Preparation | None = None
    nodes: int | None = None

    @model_validator(mode="before")
    @classmethod
    def _with_names_of_today(cls, held: Any) -> Any:
        """Read a record in which ``patients`` counted nodes, and ``owners`` their patients."""
        if isinstance(held, dict) and held.get("owners"):
            return {**held, "patients": held["owners"], "nodes": held.get("patients")}
        return held

    @property
    def n_units(self) -> int:
        return self.nodes or self.patients

    def count_nodes(self) -> str:
        """Count nodes and their patients; empty where the units are patients."""
        return f"{self.nodes} nodes of {self.patients} patients" if self.nodes else ""


class TaskSummaries(Recorded):
    """The cohorts of a pre-training."""

    tasks: tuple[CohortSummary, ...]


def tell_apart(*cohorts: dict[str, Any]) -> list[dict[str, Any]]:
    """Reduce cohorts, as records hold them, to what tells them apart: their fingerprints hold the pictures.

    The frame of each cine counts where all tell it. Earlier versions did not, and fingerprints of their imports do not
    hold it.
    """
    frames = [(each.get("preparation") or {}).get("frame") for each in cohorts]
    told = None not in frames
    return [
        {key: each[key] for key in each if key not in DESCRIPTIVE} | ({"frame": frame} if told else {})
        for each, frame in zip(cohorts, frames, strict=True)
    ]


class UnitCounts(Recorded):
    """Patients, or nodes, with a prediction and without."""

    predicted: int
    skipped: int


class FoldRecord(Recorded):
    """Time and best epoch of the fit of one fold."""

    fold: int
    seconds: float
    pictures_per_second: float
    epochs: int
    best_epoch: int
    precision: str
    peak_memory_mib: int | None = None


class PretrainingFit(Recorded):
    """Time and best epoch of a pre-training; ``patients`` are those trained on and validated on, by task."""

    seconds: float
    pictures_per_second: float
    epochs: int
    best_epoch: int
    precision: str
    patients: dict[str, tuple[int, int]]
