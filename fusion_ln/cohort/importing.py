"""A raw archive becomes a cohort: its pictures are read once, where they lie, and described."""

import fnmatch
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import TABLES, Cohort, folds_origin, save_cohort
from fusion_ln.cohort.duplicates import clusters, near_pairs, thumbnail
from fusion_ln.cohort.folds import draw_folds
from fusion_ln.cohort.head import CohortDetails
from fusion_ln.cohort.sources.auli import AULI
from fusion_ln.cohort.sources.busi import BUSI
from fusion_ln.cohort.sources.cv4lymphnode import CV4LymphNode
from fusion_ln.cohort.sources.ddti import DDTI
from fusion_ln.cohort.sources.edcu import EDCU
from fusion_ln.cohort.sources.ocau import OCAU
from fusion_ln.cohort.sources.rows import Archive, ImageRow, Source, named
from fusion_ln.cohort.sources.table import Table
from fusion_ln.cohort.sources.us3m import US3M
from fusion_ln.cohort.video import with_frames
from fusion_ln.decode.picture import read_picture
from fusion_ln.errors import CohortError, PictureError, SettingsError, SourceError, unknown
from fusion_ln.files import hash_file
from fusion_ln.manifests import load_manifest, manifest_names
from fusion_ln.progress import say
from fusion_ln.terms import HEIGHT, IMAGE, LABEL, MODALITY, PATH, PATIENT, SHA256, SITE, VIEW, WIDTH
from fusion_ln.threads import map_with_progress

# The one table of sources; each is made of SRC and, some of them, of an option of their own.
SOURCES: dict[str, type[Any]] = {
    source.name: source for source in (CV4LymphNode, US3M, AULI, OCAU, BUSI, DDTI, EDCU, Table)
}
FRAMES = "frames"  # folder in the cohort for pictures that are frames of videos


@dataclass(frozen=True)
class _Picture:
    """What is kept of a picture after it was read."""

    row: ImageRow
    path: str  # relative to the archive
    width: int
    height: int
    sha256: str
    thumbnail: np.ndarray | None  # only where the archive tells no patients


def open_source(name: str, src: Path, **options: Any) -> Source:
    """The source ``name`` on the raw folder or file ``src``.

    Raises:
        SettingsError: If there is no such source, or it has no such option.
    """
    if name not in SOURCES:
        raise SettingsError(*unknown("source", name, list(SOURCES)))
    known = {field.name for field in fields(SOURCES[name])}
    for option in options:
        if option not in known:
            raise SettingsError(f"source {name}: takes no `--{option.replace('_', '-')}`.", "Leave the option out.")
    source: Source = SOURCES[name](src, **options)
    return source


def import_cohort(
    source: Source,
    out: Path,
    *,
    k: int = 5,
    by_site: bool = False,
    seed: int = 0,
    frame: int = 0,
    skip_unreadable: bool = False,
    leave_out: Sequence[str] = (),
) -> Cohort:
    """Read every picture that ``source`` finds and write a cohort that describes them; the raw files stay as they are.

    Args:
        source: See `open_source`.
        out: The cohort folder to make.
        k, by_site, seed: How the folds are drawn, see `draw_folds`.
        frame: Frame of animations and of multi-frame DICOM files.
        skip_unreadable: Go on without pictures that cannot be read or have no label; they are named here and in the
            cohort's details.
        leave_out: Patterns (``*`` and ``?``) of paths, relative to the archive, that are not to be used.

    Frames of videos are written to ``out/frames`` as PNG, so that the cohort needs no video reader.

    Raises:
        SourceError: If the archive is not laid out as expected.
        PictureError: If pictures cannot be read or have no label; names the first ten of them.
        CohortError: If ``out`` holds something, or the folds cannot be drawn. Nothing is written then.
    """
    refuse_occupied(out)
    archive = _without(source.read(), leave_out)
    _refuse_modality_names(archive.modalities)
    with _removed_on_failure(out / FRAMES):
        pictures, skipped, root = _read_pictures(archive, out / FRAMES, frame, skip=skip_unreadable)
        pictures = _number_views(_name_patients(pictures))
        labels, modalities = {p.row.label for p in pictures}, {p.row.modality for p in pictures}
        classes = tuple(name for name in archive.classes if name in labels)
        patients = _patient_table(pictures, classes, archive.clinical)
        remarks = [*archive.remarks, *_compare_with_stated(source.name, pictures, archive.classes)]
        remarks += [f"Class {name} has no picture: left out." for name in archive.classes if name not in labels]
        remarks += [f"No picture of modality {name}." for name in archive.modalities if name not in modalities]
        for remark in remarks:
            say(remark)
        folds = draw_folds(patients, k=k, by_site=by_site, seed=seed, classes=classes)
        details = CohortDetails(
            frame=frame,
            remarks=tuple(remarks),
            left_out=tuple(leave_out),
            skipped=tuple(skipped),
            folds=folds_origin(k, by_site, seed),
        )
        cohort = Cohort(
            root=out,
            name=out.resolve().name if source.name == Table.name else source.name,
            classes=classes,
            modalities=tuple(name for name in archive.modalities if name in modalities),
            source=source.name,
            licence=_manifest(source.name).get("licence", "not stated"),
            patients=patients,
            images=_image_table(pictures),
            folds=folds,
            pictures=root,
            details=details,
        )
        save_cohort(cohort)
        return cohort


def refuse_occupied(out: Path) -> None:
    """Raise CohortError if ``out`` holds anything, save the rest of an import that was killed."""
    if out.exists() and not out.is_dir():
        raise CohortError(f"{out}: is a file.", "Choose another folder with `--out DIR`.")
    held = {path.name for path in out.iterdir()} if out.is_dir() else set()
    if "cohort.toml" in held:
        raise CohortError(f"{out}: holds a cohort already.", "Choose another folder with `--out DIR`, or delete it.")
    own = (*(f"{table}.parquet" for table in TABLES), FRAMES)  # or a temporary file beside one of them
    if other := sorted(name for name in held if not name.lstrip(".").startswith(own)):
        raise CohortError(f"{out}: holds something else ({other[0]}).", "Choose another folder with `--out DIR`.")


def _refuse_modality_names(modalities: Sequence[str]) -> None:
    """Refuse names that cannot be told apart in ``2d+cdfi`` or typed as in ``--picture NAME=FILE``."""
    for name in modalities:
        if held := [sign for sign in name if sign in "+=," or not sign.isprintable()]:
            raise SourceError(
                f"modality {name!r}: holds {held[0]!r}.",
                "Rename it: a modality's name takes any printable sign but `+`, `=` and `,`.",
            )


def _without(archive: Archive, patterns: Sequence[str]) -> Archive:
    paths = [row.path.relative_to(archive.root).as_posix() for row in archive.images]
    everything = [*paths, *(path for path, _ in archive.unusable)]
    gone: set[str] = set()
    for pattern in patterns:
        matches = {path for path in everything if path == pattern or fnmatch.fnmatchcase(path, pattern)}
        if not matches:
            raise SettingsError(
                f"--leave-out {pattern!r}: matches no picture.",
                f"Paths look like {everything[0] if everything else 'nothing'!r}.",
            )
        gone |= matches
    kept = [row for row, path in zip(archive.images, paths, strict=True) if path not in gone]
    unusable = tuple((path, reason) for path, reason in archive.unusable if path not in gone)
    if not kept and not unusable:
        raise SourceError(f"{archive.root}: no pictures.", "Check SRC and `--leave-out`.")
    n_gone = sum(path in gone for path in everything)
    remarks = (f"Left out as asked: {n_gone} of {len(everything)} pictures.",) if patterns else ()
    return replace(archive, images=kept, unusable=unusable, remarks=(*archive.remarks, *remarks))


@contextmanager
def _removed_on_failure(folder: Path) -> Iterator[None]:
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _read_pictures(archive: Archive, frames: Path, frame: int, *, skip: bool) -> tuple[list[_Picture], list[str], Path]:
    """Decode every picture; frames of videos become PNG files in ``frames`` first.

    Returns:
        The pictures in order, the paths that were skipped, and the folder that holds the pictures.
    """
    if any(row.frames for row in archive.images):
        archive = with_frames(archive, frames)
    pictures, unreadable = [], list(archive.unusable)
    results = map_with_progress("Reading pictures", partial(_describe, archive.root, frame), archive.images)
    for row, result in zip(archive.images, results, strict=True):
        if isinstance(result, PictureError):
            unreadable.append((row.path.relative_to(archive.root).as_posix(), result))
        else:
            pictures.append(result)
    if unreadable:
        _answer_unreadable(unreadable, n_found=len(pictures) + len(unreadable), skip=skip)
    return pictures, [path for path, _ in unreadable], archive.root


def _describe(root: Path, frame: int, row: ImageRow) -> _Picture | PictureError:
    if not row.path.resolve().is_relative_to(root.resolve()):
        return PictureError(f"{row.path}: a link that leads out of {root}.", "Give the folder with the files as SRC.")
    try:
        pixels = read_picture(row.path, frame=frame)
    except PictureError as error:
        return error
    height, width, _ = pixels.shape
    small = thumbnail(pixels) if row.patient_id is None else None
    return _Picture(row, row.path.relative_to(root).as_posix(), width, height, hash_file(row.path), small)


def _answer_unreadable(unreadable: Sequence[tuple[str, PictureError]], *, n_found: int, skip: bool) -> None:
    what = (
        f"{len(unreadable)} of {n_found} pictures cannot be read or have no label:\n"
        f"{named([error.problem for _, error in unreadable])}"
    )
    if not skip:
        ways = sorted({error.way_out for _, error in unreadable if error.way_out})
        raise PictureError(what, "\n    ".join([*ways, "Or go on without them: `--skip-unreadable`."]))
    if len(unreadable) == n_found:
        raise PictureError(what, "None is left.")
    say(f"Skipped: {what}")


def _name_patients(pictures: list[_Picture]) -> list[_Picture]:
    """Where the archive tells no patients, the pictures of a class that look alike become one.

    The patient is called after the first of its pictures.
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


def _number_views(pictures: list[_Picture]) -> list[_Picture]:
    """Number the views of a patient and modality that have no number; refuse two pictures with the same one."""
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


def _patient_table(pictures: list[_Picture], classes: tuple[str, ...], clinical: pd.DataFrame | None) -> pd.DataFrame:
    if len(classes) < 2:
        raise SourceError(f"only one class has pictures ({classes[0]}).", "A cohort needs at least two: check SRC.")
    rows = {(row.patient_id, classes.index(row.label), row.site) for row in (picture.row for picture in pictures)}
    patients = pd.DataFrame(sorted(rows), columns=[PATIENT, LABEL, SITE])
    if (twice := patients[PATIENT].duplicated()).any():
        name = patients.loc[twice, PATIENT].iloc[0]
        raise SourceError(f"patient {name}: stands under two labels or two sites.", "Mend the archive's labels.")
    return patients if clinical is None else patients.merge(clinical, on=PATIENT, how="left")


def _image_table(pictures: list[_Picture]) -> pd.DataFrame:
    columns = [IMAGE, PATIENT, MODALITY, VIEW, PATH, WIDTH, HEIGHT, SHA256]
    rows = [
        (p.path, p.row.patient_id, p.row.modality, p.row.view, p.path, p.width, p.height, p.sha256) for p in pictures
    ]
    return pd.DataFrame(rows, columns=columns).sort_values([PATIENT, MODALITY, VIEW], ignore_index=True)


def _manifest(source: str) -> dict[str, Any]:
    return load_manifest(source) if source in manifest_names() else {}


def _compare_with_stated(source: str, pictures: Sequence[_Picture], classes: Sequence[str]) -> list[str]:
    """What was found, per class, beside what the archive's description states."""
    who: dict[str, set[tuple[str | None, str]]] = {
        "patients": {(picture.row.patient_id, picture.row.label) for picture in pictures},
        "pictures": {(picture.path, picture.row.label) for picture in pictures},
    }
    remarks = []
    for unit, stated in _manifest(source).get("expected", {}).items():
        labels = [label for _, label in who[unit]]
        found = {name: labels.count(name) for name in classes}
        if found == stated:
            remarks.append(f"Found {_counts(found, unit)}, as its authors state.")
        else:
            remarks.append(
                f"Warning: found {_counts(found, unit)}; its authors state {_counts(stated, unit)}. A partial copy?"
            )
    return remarks


def _counts(by_class: dict[str, int], unit: str) -> str:
    return f"{sum(by_class.values())} {unit} ({', '.join(f'{name} {count}' for name, count in by_class.items())})"
