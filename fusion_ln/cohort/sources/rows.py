"""What every source yields, and how sources look into a raw folder."""

import re
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol

import pandas as pd

from fusion_ln.decode.picture import looks_like_picture
from fusion_ln.errors import PictureError, SourceError

NAMED_AT_MOST = 10  # offenders that one message names; it says how many there are


@dataclass(frozen=True)
class ImageRow:
    """One picture of a raw archive.

    Attributes:
        patient_id: None where the archive does not tell: pictures that look alike then become one patient.
        label: A class name.
        view: None: numbered from 0 in the order of the paths.
        frames: 0 for a picture; of a video, how many of its frames become pictures.
    """

    patient_id: str | None
    label: str
    modality: str
    path: Path
    view: int | None = None
    site: str = ""
    frames: int = 0


@dataclass(frozen=True)
class Archive:
    """What a source found.

    Attributes:
        root: Folder that holds all the pictures.
        clinical: Further columns, one row per ``patient_id``.
        remarks: What a person should hear: what was found, what was left out.
        unusable: Path, relative to ``root``, and reason of what should have become a picture with a label but cannot.
    """

    root: Path
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    images: Sequence[ImageRow]
    clinical: pd.DataFrame | None = None
    remarks: tuple[str, ...] = field(default=())
    unusable: tuple[tuple[str, PictureError], ...] = field(default=())


class Source(Protocol):
    """Reads a raw archive; never writes to it."""

    name: ClassVar[str]

    def read(self) -> Archive:
        """Find the pictures, ordered by path; does not open them.

        Raises:
            SourceError: If the archive is not laid out as the source expects.
        """
        ...


def find_layout(folder: Path, fits: Callable[[Path], bool], layout: str) -> Path:
    """The folder of that layout: ``folder`` itself or one at most two levels below it.

    Raises:
        SourceError: If ``folder`` is missing or empty, or none or several folders fit.
    """
    way_out = f"Expected: {layout}"
    if not folder.is_dir():
        reason = "is a file, not a folder" if folder.exists() else "no such folder"
        raise SourceError(f"{folder}: {reason}.", way_out)
    level = [folder]
    for _ in range(3):
        if found := [place for place in level if fits(place)]:
            if len(found) > 1:
                names = ", ".join(str(place) for place in found[:NAMED_AT_MOST])
                raise SourceError(f"{folder}: several folders look like the archive ({names}).", "Give one as SRC.")
            return found[0]
        level = [child for place in level for child in subfolders(place)]
    empty = not any(folder.iterdir())
    raise SourceError(f"{folder}: {'empty' if empty else 'not laid out as expected'}.", way_out)


def subfolders(folder: Path) -> list[Path]:
    """Folders in ``folder``, in natural order; hidden ones are left out."""
    return sorted(
        (child for child in folder.iterdir() if child.is_dir() and not child.name.startswith(".")), key=natural
    )


def pictures_in(folder: Path) -> list[Path]:
    """Files in ``folder`` that should be pictures, in natural order; hidden ones are left out."""
    files = (path for path in folder.iterdir() if path.is_file() and not path.name.startswith("."))
    return sorted((path for path in files if looks_like_picture(path)), key=natural)


def natural(path: Path | str) -> list[tuple[int, str]]:
    """Sorting key that puts ``benign (2)`` before ``benign (10)``."""
    parts = re.split(r"(\d+)", str(path))
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def named(offenders: Collection[object]) -> str:
    """The first few of many, and how many more there are."""
    text = "\n".join(f"    {offender}" for offender in list(offenders)[:NAMED_AT_MOST])
    more = len(offenders) - NAMED_AT_MOST
    return text + (f"\n    ... and {more} more" if more > 0 else "")
