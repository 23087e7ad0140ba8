"""Pictures of a raw archive: decoded once, then assigned to patients and numbered by view."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fusion_ln.cohort.duplicates import clusters, near_pairs, thumbnail
from fusion_ln.cohort.source import Archive, ImageRow, bullet_list
from fusion_ln.cohort.video import with_frames
from fusion_ln.decode.picture import read_picture
from fusion_ln.errors import PictureError, SourceError
from fusion_ln.files import hash_file
from fusion_ln.progress import say
from fusion_ln.threads import map_with_progress


@dataclass(frozen=True)
class RawPicture:
    """A decoded picture of an archive, without its pixels."""

    row: ImageRow
    path: str  # relative to the archive
    width: int
    height: int
    sha256: str
    thumbnail: np.ndarray | None  # only where the archive names no patients


def read_pictures(
    archive: Archive, frames: Path, frame: int, *, skip: bool
) -> tuple[list[RawPicture], list[str], Path]:
    """Decode every picture; frames of videos become PNG files in ``frames`` first.

    Returns:
        The pictures in order, the paths that were skipped, and the folder that holds the pictures.
    """
    if any(row.frames for row in archive.images):
        archive = with_frames(archive, frames)
    pictures, unreadable = [], list(archive.unusable)
    results = map_with_progress("Reading pictures", partial(_read_picture, archive.root, frame), archive.images)
    for row, result in zip(archive.images, results, strict=True):
        if isinstance(result, PictureError):
            unreadable.append((row.path.relative_to(archive.root).as_posix(), result))
        else:
            pictures.append(result)
    if unreadable:
        _report_unreadable(unreadable, n_found=len(pictures) + len(unreadable), skip=skip)
    return pictures, [path for path, _ in unreadable], archive.root


def _read_picture(root: Path, frame: int, row: ImageRow) -> RawPicture | PictureError:
    """Decode a picture and describe it; an error states why it cannot be used."""
    if not row.path.resolve().is_relative_to(root.resolve()):
        return PictureError(f"{row.path}: a link that leads out of {root}.", "Give the folder with the files as SRC.")
    try:
        pixels = read_picture(row.path, frame=frame)
    except PictureError as error:
        return error
    height, width, _ = pixels.shape
    small = thumbnail(pixels) if row.patient_id is None else None
    return RawPicture(row, row.path.relative_to(root).as_posix(), width, height, hash_file(row.path), small)


def _report_unreadable(unreadable: Sequence[tuple[str, PictureError]], *, n_found: int, skip: bool) -> None:
    """Refuse unreadable pictures, or name them if they are to be skipped and others are left."""
    problem = (
        f"{len(unreadable)} of {n_found} pictures cannot be read or have no label:\n"
        f"{bullet_list([error.problem for _, error in unreadable])}"
    )
    if not skip:
        ways = sorted({error.way_out for _, error in unreadable if error.way_out})
        raise PictureError(problem, "\n    ".join([*ways, "Or go on without them: `--skip-unreadable`."]))
    if len(unreadable) == n_found:
        raise PictureError(problem, "None is left.")
    say(f"Skipped: {problem}")


def name_patients(pictures: list[RawPicture]) -> list[RawPicture]:
    """Take pictures of a class that look alike for one patient, where the archive names no patients.

    The patient is named after the first of its pictures.
    """
    unknown = [index for index, picture in enumerate(pictures) if picture.row.patient_id is None]
    if not unknown:
        return pictures
    pairs, _ = near_pairs(np.stack([pictures[index].thumbnail for index in unknown]))  # type: ignore[misc]
    labels = np.array([pictures[index].row.label for index in unknown])
    same = labels[pairs[:, 0]] == labels[pairs[:, 1]]
    groups = clusters(len(unknown), pairs[same])
    say(
        f"No patient ids in this archive: {len(unknown)} pictures form {len(np.unique(groups))} groups of those that "
        "look alike, each taken for one patient."
    )
    if n_torn := int((~same).sum()):
        say(f"Warning: {n_torn} pairs look alike under two labels; `fusionln cohort check` names them.")
    first: dict[int, str] = {}
    for index, group in zip(unknown, groups, strict=True):
        picture = pictures[index]
        patient = first.setdefault(int(group), Path(picture.path).with_suffix("").as_posix())
        pictures[index] = replace(picture, row=replace(picture.row, patient_id=patient))
    return pictures


def number_views(pictures: list[RawPicture]) -> list[RawPicture]:
    """Assign numbers to the views of a patient and modality that have none; refuse two pictures with the same one."""
    taken: dict[tuple[str | None, str, int], str] = {}
    numbered = []
    counts: dict[tuple[str | None, str], int] = {}
    for picture in pictures:
        row = picture.row
        view = row.view
        if view is None:
            view = counts.get((row.patient_id, row.modality), 0)
            counts[row.patient_id, row.modality] = view + 1
        key = (row.patient_id, row.modality, view)
        if (other := taken.setdefault(key, picture.path)) != picture.path:
            raise SourceError(
                f"{other} and {picture.path}: both are view {view} of patient {row.patient_id}, {row.modality}.",
                "Give each picture a view of its own.",
            )
        numbered.append(replace(picture, row=replace(row, view=view)))
    return numbered
