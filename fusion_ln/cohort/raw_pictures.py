"""Pictures of a raw archive: decoded once, then assigned to patients and numbered by view."""

import os
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fusion_ln.cohort.checks.duplicates import clusters, near_pairs, thumbnail
from fusion_ln.cohort.regions.cropping import Cropping, SharedFrame
from fusion_ln.cohort.regions.rule import Found
from fusion_ln.cohort.source import NAMED_AT_MOST, Archive, ImageRow, bullet_list
from fusion_ln.cohort.video import with_frames
from fusion_ln.decode.picture import burned_in_text, count_frames, read_picture
from fusion_ln.errors import RENAME, PictureError, SourceError, is_text, printable
from fusion_ln.files.hashes import hash_file
from fusion_ln.progress import say
from fusion_ln.threads import map_with_progress

UNUSABLE, CANNOT_BE_CUT = "cannot be read or have no label", "cannot be read or cut out, or have no label"
Group = tuple[str, tuple[int, int]]  # modality, and size of the screen


@dataclass(frozen=True)
class RawPicture:
    """A decoded picture of an archive, without its pixels."""

    row: ImageRow
    path: str  # relative to the archive
    width: int
    height: int
    sha256: str
    thumbnail: np.ndarray | None  # only where the archive names no patients
    burned_in: bool  # its file says that text stands in its pixels
    n_frames: int  # of its file, which gives one; `UNCOUNTED` of very many
    found: Found | None = None  # its box, where pictures are cut out of their files
    shared: bool = False  # its file shows another modality, too

    @property
    def group(self) -> Group:
        """Screens of which may have a frame in common."""
        return self.row.modality, (self.width, self.height)


def read_pictures(
    archive: Archive, frames: Path, frame: int, *, skip: bool, cropping: Cropping
) -> tuple[list[RawPicture], list[str], Path]:
    """Decode every picture; frames of videos become PNG files in ``frames`` first.

    Returns:
        The pictures in order, the paths that were skipped, and the folder that holds the pictures.
    """
    if any(row.frames for row in archive.images):
        archive = with_frames(archive, frames)
    shared = _files_of_two(archive.images, cropping)
    pictures, unreadable = list[RawPicture](), list(archive.unusable)
    screens = defaultdict[Group, SharedFrame](SharedFrame)
    read = partial(_read_picture, archive.root, frame, cropping, shared)
    results = map_with_progress("Reading pictures", read, archive.images)
    for row, result in zip(archive.images, results, strict=True):
        if isinstance(result, PictureError):
            unreadable.append((printable(row.path.relative_to(archive.root)), result))
        else:
            pictures.append(_add(result, screens))
    pictures = [_without_frame(picture, screens) for picture in pictures]
    if unreadable:
        n_found = len(pictures) + len(unreadable)
        _report_unreadable(unreadable, n_found=n_found, skip=skip, fault=CANNOT_BE_CUT if cropping.cuts else UNUSABLE)
    return pictures, [printable(path) for path, _ in unreadable], archive.root


def with_leftovers(archive: Archive) -> Archive:
    """Name what lies in the archive's folder and did not become one of its pictures, so that nothing is lost unsaid.

    A link to nothing becomes one of ``unusable``; other files are counted by suffix in a remark, and another names
    links to folders of which no picture was taken.
    """
    taken = {row.path for row in archive.images} | {archive.root / path for path, _ in archive.unusable}
    unusable, others, linked = list(archive.unusable), dict[str, list[str]](), list[Path]()
    for folder, names, files in os.walk(archive.root):
        names[:] = sorted(name for name in names if not name.startswith("."))
        links = [name for name in names if Path(folder, name).is_symlink()]  # to folders, which walk() does not enter
        for path in (Path(folder, name) for name in sorted([*files, *links]) if not name.startswith(".")):
            if path.is_symlink() and not path.exists():
                unusable.append((printable(path.relative_to(archive.root)), _dangling(path)))
            elif path not in taken and path.is_file():
                others.setdefault(path.suffix.lower(), []).append(printable(path.relative_to(archive.root)))
            elif path.is_dir():
                linked.append(path)
    remarks = list(archive.remarks)
    if others:
        counts = (f"{len(paths)} {suffix or 'without a suffix'} ({paths[0]})" for suffix, paths in others.items())
        remarks.append(f"Not among the pictures of {archive.root}, and left out: {', '.join(sorted(counts))}.")
    if untaken := _untaken(linked, taken):
        names = [printable(path.relative_to(archive.root)) for path in untaken]
        more = f" and {len(names) - NAMED_AT_MOST} more" if len(names) > NAMED_AT_MOST else ""
        listed = ", ".join(names[:NAMED_AT_MOST]) + more
        remarks.append(f"Links to folders in {archive.root} that no picture was taken of: {listed}.")
    return replace(archive, remarks=tuple(remarks), unusable=tuple(unusable))


def _untaken(linked: Sequence[Path], taken: Collection[Path]) -> list[Path]:
    """List the linked folders that hold no picture that was taken, by the link's name or by the folder's own."""
    if not linked:
        return []
    holding = {parent for path in taken for parent in (*path.parents, *path.resolve().parents)}
    return [path for path in linked if path not in holding and path.resolve() not in holding]


def _dangling(path: Path) -> PictureError:
    return PictureError(f"{path}: a link to nothing ({path.readlink()}).", "Mend or remove the link.")


def _add(picture: RawPicture, screens: Mapping[Group, SharedFrame]) -> RawPicture:
    """Add a picture to those of its group."""
    if picture.found is None:
        return picture
    patient = picture.row.patient_id or picture.path
    return replace(picture, found=screens[picture.group].add(patient, picture.found))


def _without_frame(picture: RawPicture, screens: Mapping[Group, SharedFrame]) -> RawPicture:
    """Cut off the frame that a picture shares with its group."""
    if picture.found is None:
        return picture
    return replace(picture, found=screens[picture.group].cut(picture.found, picture.group[1]))


def _files_of_two(rows: Sequence[ImageRow], cropping: Cropping) -> set[Path]:
    """List the files that stand for two modalities; refuse them where they are not cut."""
    first: dict[Path, ImageRow] = {}
    shared = set()
    for row in rows:
        if (other := first.setdefault(row.path, row)) is not row:
            shared.add(row.path)
            if not cropping.cuts:
                raise SourceError(
                    f"{row.path}: is both {other.modality} and {row.modality} of patient {row.patient_id}.",
                    "A file shows one modality: import with `--crop auto`, which finds the two panes of a screen, or "
                    "leave one of them out.",
                )
    return shared


def _read_picture(
    root: Path, frame: int, cropping: Cropping, shared: Collection[Path], row: ImageRow
) -> RawPicture | PictureError:
    """Decode a picture and describe it; an error states why it cannot be used."""
    if not row.path.resolve().is_relative_to(root.resolve()):
        return PictureError(f"{row.path}: a link that leads out of {root}.", "Give the folder with the files as SRC.")
    path = row.path.relative_to(root).as_posix()
    if not is_text(path):
        return PictureError(f"{row.path}: its name is not UTF-8 text.", RENAME)
    try:
        pixels = read_picture(row.path, frame=frame)
        burned_in = bool(burned_in_text(row.path))
        dual = row.path in shared
        found = cropping.find(row.path, (path, row.modality), pixels, row.box, shared=dual) if cropping.cuts else None
    except PictureError as error:
        return error
    height, width, _ = pixels.shape
    small = None
    if row.patient_id is None:
        small = thumbnail(found.box.cut(pixels) if found else pixels)
    n_frames = count_frames(row.path)
    return RawPicture(row, path, width, height, hash_file(row.path), small, burned_in, n_frames, found, dual)


def refuse_burned_in_text(pictures: Sequence[RawPicture], cropping: Cropping) -> int:
    """Count the pictures whose files say that text stands in their pixels; refuse those that are taken whole.

    Raises:
        PictureError: If there are such, and texts are not masked.
    """
    burned_in = [picture for picture in pictures if picture.burned_in]
    named = [each.path for each in burned_in if each.found is None or each.found.by == "whole"]
    if named and not cropping.mask_text:
        paths = ", ".join(named[:NAMED_AT_MOST]) + (", ..." if len(named) > NAMED_AT_MOST else "")
        raise PictureError(
            f"{len(named)} of {len(pictures)} pictures hold burned-in text, as their files say (BurnedInAnnotation "
            f"YES), and are taken whole: {paths}. It may name a patient, and a model may read it.",
            "Cut the pictures out of their screens (`--crop auto`, or boxes with `--accept FILE`), fill texts within "
            "them (`--mask-text`), or do both; or leave them out (`--leave-out PATH`).",
        )
    return len(burned_in)


def remark_on_frames(pictures: Sequence[RawPicture], frame: int) -> list[str]:
    """Count the files of several frames, of which one was taken, in one line; none without such a file."""
    several = [picture for picture in pictures if picture.n_frames != 1]
    if not several:
        return []
    named = ", ".join(f"{picture.path} ({picture.n_frames or 'countless'})" for picture in several[:NAMED_AT_MOST])
    at_least = "" if all(picture.n_frames for picture in several) else "more than "
    count = f"{at_least}{sum(picture.n_frames for picture in several)}"
    return [
        f"Files of several frames: {len(several)} with {count} in all, of which "
        f"only frame {frame} of each is taken (`--frame`): {named}{', ...' if len(several) > NAMED_AT_MOST else ''}."
    ]


def _report_unreadable(unreadable: Sequence[tuple[str, PictureError]], *, n_found: int, skip: bool, fault: str) -> None:
    """Refuse unreadable pictures, or name them if they are to be skipped and others are left."""
    problem = (
        f"{len(unreadable)} of {n_found} pictures {fault}:\n"
        f"{bullet_list(dict.fromkeys(error.problem for _, error in unreadable))}"
    )
    if not skip:
        ways = sorted({error.way_out for _, error in unreadable if error.way_out})
        raise PictureError(problem, "\n    ".join([*ways, "Or go on without them: `--skip-unreadable`."]))
    if len(unreadable) == n_found:
        raise PictureError(problem, "None is left.")
    say(printable(f"Skipped: {problem}"))


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
