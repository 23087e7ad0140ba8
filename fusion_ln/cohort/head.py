"""`cohort.toml`: name, classes, modalities and origin of a cohort."""

import shutil
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import tomli_w
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from fusion_ln.errors import CohortError
from fusion_ln.files.formats import parse, write_text
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.terms import COHORT_HEAD

FORMAT_VERSION = 1
HEAD = COHORT_HEAD
TABLES = ("patients", "images", "folds")
FRAMES = "frames"  # folder in the cohort for pictures that are frames of cines
UNFINISHED = ".unfinished"  # in a folder while it becomes a cohort
OURS = ("images", FRAMES, "truth.parquet", "posteriors.parquet")  # besides the tables


class Attainable(BaseModel):
    """Figures of the exact probabilities, by subset of the modalities: ``auc, auc_<class>, recall_<class>, ...``.

    No model can be expected to exceed the AUC; the recalls are those of two rules, not bounds.

    Attributes:
        tables: Over the simulation's own distribution.
        cohort: Over the patients of the cohort.
    """

    model_config = ConfigDict(frozen=True)

    tables: dict[str, dict[str, float]] = {}
    cohort: dict[str, dict[str, float]] = {}


class CohortDetails(BaseModel):
    """Origin of a cohort; its source sets the entries that it has, and may add others.

    Attributes:
        frame: Frame of animations and multi-frame DICOM files that was imported.
        frames: Rule by which frames of cines became pictures, see `Preparation`; empty: there are none.
        remarks: Oddities found by the import.
        left_out: Patterns of paths that were not imported.
        skipped: Pictures that could not be read or had no label.
        folds: Rule by which the folds were drawn.
        crop: Rule by which pictures were cut out of their files, see `Preparation`; ``none``: they were not.
        accepted: Number of boxes that somebody gave or corrected.
        mask_text: Whether texts within pictures are filled.
        cines: Number of files of several frames.
        burned_in: Number of files that say that text stands in their pixels.
        burned_in_cines: Those of them whose frames became pictures, which no longer say it.
        n_patients, image_size, seed, missing, missing_link, sites, shortcut: Settings of a simulation.
        nodes: Most nodes of a simulated patient; None where the units are patients.
        shift: Differences of a simulated hospital from the home ones, and their sizes.
        attainable: Figures of the exact probabilities; empty where the truth behind the pictures is unknown.
    """

    model_config = ConfigDict(frozen=True, extra="allow")

    frame: int = Field(0, ge=0)
    frames: str = ""
    remarks: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    skipped: tuple[str, ...] = ()
    folds: str = ""
    crop: str = "none"
    accepted: int = 0
    mask_text: bool = False
    cines: int = 0
    burned_in: int = 0
    burned_in_cines: tuple[str, ...] = ()
    n_patients: int | None = None
    image_size: int | None = None
    seed: int | None = None
    missing: float | None = None
    missing_link: float | None = None
    nodes: int | None = None
    sites: tuple[str, ...] = ()
    shortcut: float | None = None
    shift: dict[str, float | dict[str, float]] = {}
    attainable: Attainable = Attainable()


class CohortHead(BaseModel):
    """Content of `cohort.toml`.

    Attributes:
        root: Folder of the pictures, if it is not the cohort's.
        hashes: SHA-256 of each table when the folds were drawn.
    """

    model_config = ConfigDict(frozen=True)

    format: int = FORMAT_VERSION
    name: str
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    source: str
    licence: str
    simulated: bool
    root: str | None = None
    details: CohortDetails = CohortDetails()
    hashes: dict[str, str] = {}


def read_head(folder: Path) -> CohortHead:
    """Read `cohort.toml`.

    Raises:
        CohortError: If the folder is no cohort, or the file is damaged or of another format.
    """
    path = folder / HEAD
    if not path.is_file():
        found = "is not a folder" if not folder.is_dir() else f"holds no {HEAD}"
        raise CohortError(
            f"{folder}: {found}, so it is not a cohort.",
            "Make one with `fusionln cohort import SOURCE SRC --out DIR` or `fusionln cohort phantom --out DIR`.",
        )
    way_out = "Restore it or import the cohort again."
    try:
        held = parse(path.read_text(encoding="utf-8"), tomllib.loads)
    except ValueError as error:
        raise CohortError(f"{path}: not valid TOML ({error}).", way_out) from None
    if held.get("format") != FORMAT_VERSION:
        raise CohortError(
            f"{path}: cohort format {held.get('format')!r}; this version reads format {FORMAT_VERSION}.",
            "Import the cohort again.",
        )
    try:
        return CohortHead.model_validate(held)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        if first["type"] == "missing":
            raise CohortError(f"{path}: lacks {key!r}.", way_out) from None
        raise CohortError(f"{path}: {key}: {first['msg']}.", way_out) from None


def write_head(folder: Path, head: CohortHead) -> None:
    """Write `cohort.toml`, atomically, with the entries that were set."""
    held = {"format": head.format, **head.model_dump(exclude_unset=True, exclude_none=True)}
    write_text(folder / HEAD, tomli_w.dumps(held))


@contextmanager
def new_cohort(out: Path) -> Iterator[None]:
    """Keep a folder for a new cohort while the body writes it, `HEAD` last.

    It begins empty: what a command that was killed left there is removed first, and what this one wrote if it fails.

    Raises:
        CohortError: If the folder holds anything else.
    """
    with locked(out / LOCK):
        _refuse_occupied(out)
        _clear(out)
        write_text(
            out / UNFINISHED, "fusionln makes a cohort here. Without cohort.toml it did not finish: start it again.\n"
        )
        try:
            yield
        except BaseException:
            _clear(out)
            raise
        (out / UNFINISHED).unlink(missing_ok=True)


def _refuse_occupied(out: Path) -> None:
    if out.exists() and not out.is_dir():
        raise CohortError(f"{out}: is a file.", "Choose another folder with `--out DIR`.")
    held = {path.name for path in out.iterdir()} - {LOCK} if out.is_dir() else set()
    if HEAD in held:
        raise CohortError(f"{out}: holds a cohort already.", "Choose another folder with `--out DIR`, or delete it.")
    if other := sorted(name for name in held if not _is_ours(name, marked=UNFINISHED in held)):
        raise CohortError(f"{out}: holds something else ({other[0]}).", "Choose another folder with `--out DIR`.")


def _is_ours(name: str, *, marked: bool) -> bool:
    """Test if a command that makes a cohort wrote this; pictures may be anybody's in a folder without its mark."""
    names = [f"{table}.parquet" for table in TABLES] + [HEAD, UNFINISHED] + [*OURS] * marked
    return any(name == each or name.startswith(f".{each}.") for each in names)


def _clear(out: Path) -> None:
    """Remove what a cohort that was not finished left; the mark last, so that this, too, may be killed."""
    left = [path for path in out.iterdir() if path.name not in (LOCK, UNFINISHED)] if out.is_dir() else []
    for path in (path for path in left if _is_ours(path.name, marked=True)):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)
    (out / UNFINISHED).unlink(missing_ok=True)
