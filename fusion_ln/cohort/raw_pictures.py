"""Pictures of a raw archive: decoded once, then assigned to patients and numbered by view."""

from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from fusion_ln.cohort.checks.duplicates import clusters, near_pairs, thumbnail
from fusion_ln.cohort.frames import FrameRule, store_frame
from fusion_ln.cohort.regions.cropping import Cropping, SharedFrame
from fusion_ln.cohort.regions.rule import Found
from fusion_ln.cohort.source import NAMED_AT_MOST, Archive, ImageRow, bullet_list
from fusion_ln.decode.cine import open_cine
from fusion_ln.decode.kinds import is_video
from fusion_ln.decode.picture import burned_in_text, count_frames, read_picture
from fusion_ln.errors import RENAME, PictureError, SourceError, is_text, printable
from fusion_ln.files.hashes import hash_file
from fusion_ln.progress import say
from fusion_ln.threads import map_with_progress

UNUSABLE, CANNOT_BE_CUT = "cannot be read or have no label", "cannot be read or cut out, or have no label"
TAKE_FRAMES = "Take frames of it: `--frames N`, evenly spaced, or `--frames best`."
Group = tuple[str, tuple[int, int]]  # modality, and size of the screen


@dataclass(frozen=True)
class Reading:
    """Choices by which the files of an archive become pictures.

    Attributes:
        cropping: How pictures are cut out of their files.
        frame: Frame of files with several, where ``frames`` is None.
        frames: Frames of cines that become pictures.
        out: The cohort, in whose folder they are kept.
    """

    cropping: Cropping
    frame: int
    frames: FrameRule | None
    out: Path


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
    frame: int = 0  # of its file
    stored: str = ""  # of a frame of a cine: its own file, relative to the cohort

    @property
    def group(self) -> Group:
        """Screens of which may have a frame in common."""
        return self.row.modality, (self.width, self.height)


def read_pictures(archive: Archive, reading: Reading, *, skip: bool) -> tuple[list[RawPicture], list[str]]:
    """Decode every picture; the frames of cines that become pictures are written to the cohort.

    Returns:
        The pictures in order, and the paths that were skipped.
    """
    shared = _files_of_two(archive.images, reading.cropping)
    pictures, unreadable = list[RawPicture](), list(archive.unusable)
    screens = defaultdict[Group, SharedFrame](SharedFrame)
    read = partial(_read_file, archive.root, reading, shared)
    results = map_with_progress("Reading pictures", read, archive.images)
    for row, result in zip(archive.images, results, strict=True):
        if isinstance(result, PictureError):
            unreadable.append((printable(row.path.relative_to(archive.root)), result))
        else:
            pictures += [_add(picture, screens) for picture in result]
    pictures = [_without_frame(picture, screens) for picture in pictures]
    if unreadable:
        n_found = len(archive.images) + len(archive.unusable)
        fault = CANNOT_BE_CUT if reading.cropping.cuts else UNUSABLE
        _report_unreadable(unreadable, n_found=n_found, skip=skip, fault=fault)
    return pictures, [printable(path) for path, _ in unreadable]


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


def _read_file(
    root: Path, reading: Reading, shared: Collection[Path], row: ImageRow
) -> list[RawPicture] | PictureError:
    """Decode a file and describe its pictures; an error states why it cannot be used."""
    if not row.path.resolve().is_relative_to(root.resolve()):
        return PictureError(f"{row.path}: a link that leads out of {root}.", "Give the folder with the files as SRC.")
    path = row.path.relative_to(root).as_posix()
    if not is_text(path):
        return PictureError(f"{row.path}: its name is not UTF-8 text.", RENAME)
    try:
        return _pictures_of(path, row, reading, dual=row.path in shared)
    except PictureError as error:
        if reading.frames is None and (error.fault == "video" or (row.path.is_file() and is_video(row.path))):
            return PictureError(error.problem, TAKE_FRAMES)
        return error


def _pictures_of(path: str, row: ImageRow, reading: Reading, *, dual: bool) -> list[RawPicture]:
    """Decode a still picture, or those frames of a cine that become pictures; all of them have one box.

    It is found in the cine's middle frame, before the frames are chosen by what they show within it.
    """
    cropping, rule = reading.cropping, reading.frames
    find = partial(cropping.find, row.path, (path, row.modality), stated=row.box, shared=dual)
    cine = open_cine(row.path) if rule else None
    if cine and rule:
        found = find(cine.middle()) if cropping.cuts else None
        taken = rule.take(cine, row.modality, found.box if found else None)
    else:
        whole = read_picture(row.path, frame=reading.frame)
        found = find(whole) if cropping.cuts else None
        taken = [(reading.frame, whole)]
    burned_in, n_frames = bool(burned_in_text(row.path)), cine.n_frames if cine else count_frames(row.path)
    pictures = []
    for number, pixels in taken:
        height, width, _ = pixels.shape
        stored = store_frame(reading.out, path, number, pixels) if cine else ""
        sha256 = hash_file(reading.out / stored if cine else row.path)
        small = None
        if row.patient_id is None:
            small = thumbnail(found.box.cut(pixels) if found else pixels)
        held = (row, path, width, height, sha256, small, burned_in, n_frames, found, dual, number, stored)
        pictures.append(RawPicture(*held))
    return pictures


def refuse_burned_in_text(pictures: Sequence[RawPicture], cropping: Cropping) -> int:
    """Count the pictures whose files say that text stands in their pixels; refuse those that are taken whole.

    Raises:
        PictureError: If there are such, and texts are not masked.
    """
    burned_in = [picture for picture in pictures if picture.burned_in]
    files = {each.path for each in pictures}
    named = list(dict.fromkeys(each.path for each in burned_in if each.found is None or each.found.by == "whole"))
    if named and not cropping.mask_text:
        paths = ", ".join(named[:NAMED_AT_MOST]) + (", ..." if len(named) > NAMED_AT_MOST else "")
        raise PictureError(
            f"{len(named)} of {len(files)} pictures hold burned-in text, as their files say (BurnedInAnnotation "
            f"YES), and are taken whole: {paths}. It may name a patient, and a model may read it.",
            "Cut the pictures out of their screens (`--crop auto`, or boxes with `--accept FILE`), fill texts within "
            "them (`--mask-text`), or do both; or leave them out (`--leave-out PATH`).",
        )
    return len({each.path for each in burned_in})


def remark_on_frames(pictures: Sequence[RawPicture], reading: Reading) -> list[str]:
    """Count the files of several frames and what was taken of them, in one line; none without such a file."""
    if rule := reading.frames:
        frames = [picture.path for picture in pictures if picture.stored]
        if not frames:
            return [f"Warning: no file has several frames: `--frames {rule}` took none."]
        return [f"Frames of cines: {len(frames)} of {len(set(frames))} files (`--frames {rule}`)."]
    several = [picture for picture in pictures if picture.n_frames != 1]
    if not several:
        return []
    named = ", ".join(f"{picture.path} ({picture.n_frames or 'countless'})" for picture in several[:NAMED_AT_MOST])
    at_least = "" if all(picture.n_frames for picture in several) else "more than "
    count = f"{at_least}{sum(picture.n_frames for picture in several)}"
    return [
        f"Files of several frames: {len(several)} with {count} in all, of which "
        f"only frame {reading.frame} of each is taken (`--frame`; `--frames N` or `best` takes others or several): "
        f"{named}{', ...' if len(several) > NAMED_AT_MOST else ''}."
    ]


def _report_unreadable(unreadable: Sequence[tuple[str, PictureError]], *, n_found: int, skip: bool, fault: str) -> None:
    """Refuse unreadable pictures, or name them if they are to be skipped and others are left."""
    problem = (
        f"{len(unreadable)} of {n_found} pictures {fault}:\n"
        f"{bullet_list(dict.fromkeys(error.problem for _, error in unreadable))}"
    )
    if not skip:
        ways = sorted({error.way_out for _, error in unreadable if error.way_out})
        ways += ["Or go on without them: `--skip-unreadable`."] * (len(unreadable) < n_found)
        raise PictureError(problem, "\n    ".join(ways))
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
    of_one = [n for n in range(1, len(unknown)) if pictures[unknown[n]].path == pictures[unknown[n - 1]].path]
    pairs = np.concatenate([pairs, [(n - 1, n) for n in of_one]]) if of_one else pairs  # frames of a cine
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
    return _with_frames_in_order(numbered)


def _with_frames_in_order(pictures: list[RawPicture]) -> list[RawPicture]:
    """Count the views of a patient and modality anew, in their order, where some are frames of a cine."""
    anew = {(p.row.patient_id, p.row.modality) for p in pictures if p.stored}
    counts = Counter[tuple[str | None, str]]()
    numbered = list(pictures)
    for at in sorted(range(len(pictures)), key=lambda at: (pictures[at].row.view or 0, at)):
        row = pictures[at].row
        if (key := (row.patient_id, row.modality)) in anew:
            numbered[at] = replace(pictures[at], row=replace(row, view=counts[key]))
            counts[key] += 1
    return numbered
