"""Import of a raw archive as a cohort: its pictures are read once, where they lie, and described."""

import fnmatch
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import save_cohort
from fusion_ln.cohort.folds import draw_folds, folds_origin
from fusion_ln.cohort.frames import FrameRule
from fusion_ln.cohort.head import CohortDetails, new_cohort
from fusion_ln.cohort.leftovers import with_leftovers
from fusion_ln.cohort.raw_pictures import (
    RawPicture,
    Reading,
    name_patients,
    number_views,
    read_pictures,
    refuse_burned_in_text,
    remark_on_frames,
)
from fusion_ln.cohort.regions.cropping import Cropping, describe_boxes, refuse_shared_boxes
from fusion_ln.cohort.source import Archive, Source
from fusion_ln.errors import SettingsError, SourceError, printable
from fusion_ln.manifests import load_manifest, manifest_names
from fusion_ln.progress import say
from fusion_ln.terms import (
    CINE,
    CROP,
    CROP_BY,
    FRAME,
    HEIGHT,
    IMAGE,
    LABEL,
    MM_PER_PIXEL,
    MODALITY,
    PATH,
    PATIENT,
    SHA256,
    SITE,
    UNLABELLED,
    VIEW,
    WIDTH,
)
from fusion_ln.units import SEPARATOR, patient_of


def import_cohort(
    source: Source,
    out: Path,
    *,
    k: int = 5,
    by_site: bool = False,
    seed: int = 0,
    frame: int = 0,
    frames: FrameRule | None = None,
    skip_unreadable: bool = False,
    leave_out: Sequence[str] = (),
    cropping: Cropping | None = None,
) -> Cohort:
    """Read every picture that ``source`` finds and write a cohort that describes them; the raw files stay as they are.

    Args:
        source: See `fusion_ln.cohort.source.open_source`.
        out: The cohort folder to make.
        k, by_site, seed: See `draw_folds`.
        frame: Frame of animations and of multi-frame DICOM files.
        frames: Frames of such files and of videos that become pictures; None: those of the source by itself, if it has
            such, else ``frame`` alone. They are written to ``out/frames`` as PNG, so that the cohort needs no video
            reader.
        skip_unreadable: Go on without pictures that cannot be read or have no label; they are named here and in the
            cohort's details.
        leave_out: Patterns (``*`` and ``?``) of paths, relative to the archive, to leave out.
        cropping: How pictures are cut out of their files; None: they are taken whole.

    Raises:
        SourceError: If the archive is not laid out as expected.
        SettingsError: If both ``frame`` and ``frames`` are given.
        PictureError: If pictures cannot be read or have no label; names the first ten of them.
        CohortError: If ``out`` holds something, or the folds cannot be drawn. Nothing is written then.
    """
    cropping = cropping or Cropping()
    reading = Reading(cropping, frame, frames or _default_frames(source), out)
    if frame and reading.frames:
        raise SettingsError(
            f"--frame {frame} beside --frames {reading.frames}: one frame of every file, or chosen ones.",
            "Give one of them.",
        )
    with new_cohort(out):
        archive = source.read()
        if source.root.is_dir():  # a table names its pictures; others beside them are not meant
            archive = with_leftovers(archive)
        archive = _without(archive, leave_out)
        _refuse_unknown_boxes(archive, cropping)
        _refuse_modality_names(archive.modalities)
        pictures, skipped = read_pictures(archive, reading, skip=skip_unreadable)
        pictures = number_views(name_patients(pictures))
        _refuse_separators(pictures, archive)
        n_burned_in = refuse_burned_in_text(pictures, cropping)
        labels, modalities = {p.row.label for p in pictures}, {p.row.modality for p in pictures}
        classes = tuple(name for name in archive.classes if name in labels)
        patients = _patient_table(pictures, classes, archive.clinical)
        remarks = [*map(printable, archive.remarks), *_compare_with_stated(source.name, pictures, archive.classes)]
        remarks += [f"Class {name} has no picture: left out." for name in archive.classes if name not in labels]
        remarks += [f"No picture of modality {name}." for name in archive.modalities if name not in modalities]
        remarks += [*remark_on_frames(pictures, reading), *_remark_on_boxes(pictures, cropping)]
        for remark in remarks:
            say(remark)
        folds = draw_folds(patients, k=k, by_site=by_site, seed=seed, classes=classes)
        details = CohortDetails(
            frame=frame,
            remarks=tuple(remarks),
            left_out=tuple(leave_out),
            skipped=tuple(skipped),
            folds=folds_origin(k, by_site, seed),
            **_preparation_details(pictures, reading, n_burned_in),
        )
        manifest = _manifest(source.name)
        cohort = Cohort(
            root=out,
            name=source.name if manifest else out.resolve().name,
            classes=classes,
            modalities=tuple(name for name in archive.modalities if name in modalities),
            source=source.name,
            licence=manifest.get("licence", "not stated"),
            patients=patients,
            images=_image_table(pictures),
            folds=folds,
            pictures=out if all(picture.stored for picture in pictures) else archive.root,
            details=details,
        )
        save_cohort(cohort)
        return cohort


def _refuse_modality_names(modalities: Sequence[str]) -> None:
    """Refuse names that cannot be told apart in ``2d+cdfi`` or typed as in ``--picture NAME=FILE``."""
    for name in modalities:
        if held := [sign for sign in name if sign in "+=," or not sign.isprintable()]:
            raise SourceError(
                f"modality {name!r}: holds {held[0]!r}.",
                "Rename it: a modality's name takes any printable sign but `+`, `=` and `,`.",
            )


def _refuse_separators(pictures: Sequence[RawPicture], archive: Archive) -> None:
    """Refuse patients who would be taken for nodes of others, by their names."""
    if archive.of_nodes:
        return
    if held := [unit for unit in (str(picture.row.patient_id) for picture in pictures) if SEPARATOR in unit]:
        raise SourceError(
            f"patient {held[0]!r}: holds {SEPARATOR!r}, which stands between patient and node.",
            "Rename it, or name nodes in the column node_id of a table.",
        )


def _without(archive: Archive, patterns: Sequence[str]) -> Archive:
    """Leave out the pictures whose paths match a pattern."""
    paths = [row.path.relative_to(archive.root).as_posix() for row in archive.images]
    all_paths = [*paths, *(path for path, _ in archive.unusable)]
    left_out: set[str] = set()
    for pattern in patterns:
        matches = {path for path in all_paths if path == pattern or fnmatch.fnmatchcase(path, pattern)}
        if not matches:
            raise SettingsError(
                f"--leave-out {pattern!r}: matches no picture.",
                f"Paths look like {all_paths[0] if all_paths else 'nothing'!r}.",
            )
        left_out |= matches
    kept = [row for row, path in zip(archive.images, paths, strict=True) if path not in left_out]
    unusable = tuple((path, reason) for path, reason in archive.unusable if path not in left_out)
    if not kept and not unusable:
        raise SourceError(f"{archive.root}: no pictures.", "Check SRC and `--leave-out`.")
    n_left_out = sum(path in left_out for path in all_paths)
    remarks = (f"Left out as asked: {n_left_out} of {len(all_paths)} pictures.",) if patterns else ()
    return replace(archive, images=kept, unusable=unusable, remarks=(*archive.remarks, *remarks))


def _patient_table(pictures: list[RawPicture], classes: tuple[str, ...], clinical: pd.DataFrame | None) -> pd.DataFrame:
    if len(classes) < 2 and classes != (UNLABELLED,):
        raise SourceError(f"only one class has pictures ({classes[0]}).", "A cohort needs at least two: check SRC.")
    rows = {(row.patient_id, classes.index(row.label), row.site) for row in (picture.row for picture in pictures)}
    patients = pd.DataFrame(sorted(rows), columns=[PATIENT, LABEL, SITE])
    if (twice := patients[PATIENT].duplicated()).any():
        name = patients.loc[twice, PATIENT].iloc[0]
        raise SourceError(f"patient {name}: stands under two labels or two sites.", "Mend the archive's labels.")
    sites = patients[SITE].groupby(patients[PATIENT].map(patient_of)).agg(set)
    if torn := [patient for patient, of in sites.items() if len(of) > 1]:
        raise SourceError(f"patient {torn[0]}: has nodes at two sites.", "Give the patient one site.")
    if clinical is None:
        return patients
    return patients.merge(clinical, on=PATIENT, how="left")


def _refuse_unknown_boxes(archive: Archive, cropping: Cropping) -> None:
    """Refuse a box of no picture: it would be lost in silence."""
    known = {(row.path.relative_to(archive.root).as_posix(), row.modality) for row in archive.images}
    if unknown := sorted(cropping.accepted.keys() - known):
        path, modality = unknown[0]
        raise SettingsError(
            f"--accept: {path} of {modality} is no picture of SRC ({len(unknown)} such lines).",
            "Paths are relative to SRC; remove the lines of pictures that are left out.",
        )


def _default_frames(source: Source) -> FrameRule | None:
    return FrameRule.parse(source.default_frames) if source.default_frames else None


def _preparation_details(pictures: Sequence[RawPicture], reading: Reading, n_burned_in: int) -> dict[str, Any]:
    """Collect what a cohort says of its frames and its cropping; entries that say nothing are left out."""
    cropping = reading.cropping
    held = {
        "frames": str(reading.frames) if any(picture.stored for picture in pictures) else None,
        "crop": cropping.word if cropping.cuts else None,
        "accepted": cropping.n_corrected,
        "mask_text": cropping.mask_text,
        "cines": len({picture.path for picture in pictures if picture.n_frames != 1 or picture.stored}),
        "burned_in": n_burned_in,
        "burned_in_cines": tuple(sorted({each.path for each in pictures if each.burned_in and each.stored})),
    }
    return {name: value for name, value in held.items() if value}


def _remark_on_boxes(pictures: Sequence[RawPicture], cropping: Cropping) -> list[str]:
    """Say how the pictures were found in their files; refuse two modalities of one file that have the same box."""
    found = [picture.found for picture in pictures if picture.found]
    if not found:
        given = sum(picture.row.box is not None for picture in pictures)
        return [f"Warning: {given} boxes of the table are not applied: `--crop auto` takes them."] if given else []
    boxes = {
        (each.path, each.row.modality, "" if each.stored else f"{each.row.patient_id} {each.row.view}"): each.found.box
        for each in pictures
        if each.found
    }  # one of all frames of a cine
    refuse_shared_boxes([(path, modality, box) for (path, modality, _), box in boxes.items()])
    return [f"Cut out of their files ({cropping.word}): {describe_boxes(found)}."]


def _image_table(pictures: list[RawPicture]) -> pd.DataFrame:
    columns = [IMAGE, PATIENT, MODALITY, VIEW, PATH, WIDTH, HEIGHT, SHA256]
    cropped, of_cines = pictures[0].found is not None, any(picture.stored for picture in pictures)
    if of_cines:
        columns += [CINE, FRAME]
    if cropped:
        columns += [*CROP, CROP_BY, MM_PER_PIXEL]
    rows = []
    for p in pictures:
        path = p.stored or p.path
        image = f"{path}#{p.row.modality}" if p.shared else path
        row = (image, p.row.patient_id, p.row.modality, p.row.view, path, p.width, p.height, p.sha256)
        cine = (p.path if p.stored else "", p.frame) if of_cines else ()
        box = (*p.found.box, p.found.by, p.found.mm_per_pixel or np.nan) if p.found else ()
        rows.append((*row, *cine, *box))
    return pd.DataFrame(rows, columns=columns).sort_values([PATIENT, MODALITY, VIEW], ignore_index=True)


def _manifest(source: str) -> dict[str, Any]:
    """Read the manifest of a source; empty for one that reads any data set."""
    return load_manifest(source) if source in manifest_names() else {}


def _compare_with_stated(source: str, pictures: Sequence[RawPicture], classes: Sequence[str]) -> list[str]:
    """Compare the counts of each class with those that the archive's manifest states."""
    members: dict[str, set[tuple[str | None, str]]] = {
        "patients": {(picture.row.patient_id, picture.row.label) for picture in pictures},
        "pictures": {(picture.path, picture.row.label) for picture in pictures},
    }
    remarks = []
    for unit, stated in _manifest(source).get("expected", {}).items():
        labels = [label for _, label in members[unit]]
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
