"""A cohort: patients, their pictures and their folds, kept in one folder that every command reads."""

from dataclasses import dataclass, field
from functools import cached_property
from itertools import repeat
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.cohort.head import CohortDetails
from fusion_ln.cohort.regions.box import Box
from fusion_ln.cohort.regions.text import mask_text
from fusion_ln.decode.picture import read_picture
from fusion_ln.errors import CohortError
from fusion_ln.files.hashes import hash_table
from fusion_ln.records.parts import CohortSummary, Preparation
from fusion_ln.terms import (
    CINE,
    CROP,
    CROP_BY,
    FOLD,
    IMAGE,
    INNER,
    LABEL,
    MODALITY,
    PATH,
    PATIENT,
    SHA256,
    UNLABELLED,
    UNUSED,
    VIEW,
)
from fusion_ln.units import are_nodes, count_units, patient_of

MASKED = ":masked"  # in what is said of a picture whose texts are filled


@dataclass(frozen=True)
class Cohort:
    """Checked content of a cohort folder.

    Attributes:
        root: The cohort folder.
        pictures: Folder that ``images.path`` is relative to: the cohort folder, or the raw archive it describes.
        classes: Class names; the position is the label.
        modalities: Modality names in the order in which they are shown.
        patients: ``patient_id, label, site`` and any clinical columns, sorted by patient; or one row per node, under
            its name as a unit (`fusion_ln.units`), as in the other tables.
        images: ``image_id, patient_id, modality, view, path, width, height, sha256``, sorted by
            patient, modality, view. Of a cropped cohort also ``crop_x, crop_y, crop_width, crop_height, crop_by,
            mm_per_pixel``: the box of the picture in its file, which has ``width`` and ``height``. Where frames of
            cines became pictures also ``cine, frame``: their file, relative to the archive, and number in it; the
            ``path`` of such a picture is relative to the cohort folder.
        folds: See `draw_folds`.
        simulated: True for a phantom cohort; every page made from it says so.
        details: Further entries of its source: frame, remarks, settings of a phantom.
    """

    root: Path
    name: str
    classes: tuple[str, ...]
    modalities: tuple[str, ...]
    source: str
    licence: str
    patients: pd.DataFrame
    images: pd.DataFrame
    folds: pd.DataFrame
    pictures: Path
    simulated: bool = False
    details: CohortDetails = field(default_factory=CohortDetails)

    @property
    def n_folds(self) -> int:
        return int(self.folds[FOLD].max()) + 1

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 of patients, labels and pictures with their boxes; not of paths nor of clinical columns.

        The frame that was taken of each cine counts where the import counted cines, as earlier ones did not.
        """
        patients = hash_table(self.patients[[PATIENT, LABEL]])
        boxes = CROP if self.is_cropped else ()
        pictures = hash_table(self.images[[IMAGE, PATIENT, MODALITY, VIEW, SHA256, *boxes]])
        masked = [MASKED] if self.details.mask_text else []
        frame = [f"frame {self.details.frame}"] if self.details.frame and self.details.cines else []
        parts = [*self.classes, *self.modalities, patients, pictures, *masked, *frame]
        return hash_table(pd.DataFrame({"part": parts}))

    @cached_property
    def folds_fingerprint(self) -> str:
        """SHA-256 of the folds."""
        return hash_table(self.folds)

    def describe(self) -> CohortSummary:
        """Summarise the cohort for the record of a run, which knows it again by the fingerprints."""
        return CohortSummary(
            name=self.name,
            simulated=self.simulated,
            classes=self.classes,
            modalities=self.modalities,
            patients=len({patient_of(unit) for unit in self.patients[PATIENT]}),
            fingerprint=self.fingerprint,
            folds=self.folds_fingerprint,
            n_folds=self.n_folds,
            preparation=self.preparation,
            nodes=len(self.patients) if self.of_nodes else None,
        )

    @property
    def preparation(self) -> Preparation | None:
        """Preparation of its pictures; None if they are taken whole."""
        held = self.details
        frame = held.frame if (held.frame or held.cines) and not held.frames else None
        if not (self.is_cropped or held.mask_text or held.frames) and frame is None:
            return None
        boxes = self.images[CROP_BY].value_counts().sort_index().to_dict() if self.is_cropped else {}
        return Preparation(
            crop=held.crop,
            accepted=held.accepted,
            mask_text=held.mask_text,
            frames=held.frames,
            frame=frame,
            burned_in=held.burned_in,
            boxes={str(by): int(count) for by, count in boxes.items()},
        )

    def images_of(self, modality: str) -> pd.DataFrame:
        """Select the rows of ``images`` of one modality.

        Raises:
            CohortError: If the cohort has no such modality, or no picture of it.
        """
        rows = self.images[self.images[MODALITY] == modality]
        if modality not in self.modalities or rows.empty:
            held = ", ".join(m for m in self.modalities if (self.images[MODALITY] == m).any())
            raise CohortError(
                f"cohort {self.name}: no picture of modality {modality!r}.", f"It has {held}: choose one of them."
            )
        return rows.reset_index(drop=True)

    @property
    def is_cropped(self) -> bool:
        """True if its pictures are boxes of their files."""
        return CROP[0] in self.images

    @cached_property
    def _places(self) -> dict[str, tuple[str, Box | None]]:
        """Path and box of every picture."""
        boxes = map(Box._make, self.images[list(CROP)].to_numpy().tolist()) if self.is_cropped else repeat(None)
        return dict(zip(self.images[IMAGE], zip(self.images[PATH], boxes, strict=False), strict=True))

    def contents_of(self, modality: str) -> list[str]:
        """Describe what each picture of a modality shows: hash of its file, box, and whether texts are filled."""
        images, masked = self.images_of(modality), MASKED if self.details.mask_text else ""
        boxes = [f":{self._places[image][1]}" if self.is_cropped else "" for image in images[IMAGE]]
        return [f"{sha256}{box}{masked}" for sha256, box in zip(images[SHA256], boxes, strict=True)]

    @cached_property
    def of_nodes(self) -> bool:
        """True if its units are nodes of patients."""
        return are_nodes(self.patients[PATIENT])

    def count_units(self) -> str:
        """Count its patients and, if they have such, their nodes."""
        return count_units(self.patients[PATIENT].tolist())

    def refuse_nodes(self, reason: str, way_out: str) -> None:
        """Refuse nodes where every row must be a patient, for a ``reason`` in a few words.

        Raises:
            CohortError: If its units are nodes.
        """
        if self.of_nodes:
            raise CohortError(f"cohort {self.name}: has {self.count_units()}; {reason}.", way_out)

    @cached_property
    def _stored(self) -> frozenset[str]:
        """Paths of the pictures that are frames of cines."""
        return frozenset(self.images.loc[self.images[CINE] != "", PATH] if CINE in self.images else ())

    def folder_of(self, path: str) -> Path:
        """Return the folder that a path of ``images.path`` is relative to."""
        return self.root if path in self._stored else self.pictures

    @property
    def is_unlabelled(self) -> bool:
        """True if its patients have no labels: their only class then says so."""
        return self.classes == (UNLABELLED,)

    def refuse_unlabelled(self) -> None:
        """Refuse patients without labels.

        Raises:
            CohortError: If there are such.
        """
        if self.is_unlabelled:
            raise CohortError(
                f"cohort {self.name}: its patients have no labels.",
                "Import it with labels. Without, `fusionln predict` and `fusionln evaluate --label-free` take it.",
            )

    def refuse_repeated_pictures(self, modality: str) -> None:
        """Refuse a modality with a picture file that another patient has, too, in this modality or another one.

        It could stand on both sides of a fold; and of two patients, one has a picture that is not theirs.

        Raises:
            CohortError: Naming the first pair.
        """
        same = self.images[self.images[SHA256].isin(self.images_of(modality)[SHA256])]
        owners = same[PATIENT].map(patient_of)
        same = same[owners.groupby(same[SHA256]).transform("nunique") > 1]
        if len(same):
            first = same[same[SHA256] == same[SHA256].iloc[0]].drop_duplicates(PATIENT)[[PATIENT, MODALITY]]
            pair = " and ".join(f"{patient} ({kind})" for patient, kind in first[:2].itertuples(index=False))
            count = same[SHA256].nunique()
            raise CohortError(
                f"cohort {self.name}: patients {pair} have the same picture"
                + (f"; {count} pictures stand under several patients." if count > 1 else "."),
                f"`fusionln cohort check {self.root}` lists them all. Import without them (`--leave-out PATH`), or "
                "under one patient.",
            )

    def patients_with(self, modality: str) -> list[str]:
        """List the patients with at least one picture of ``modality``."""
        return self.images.loc[self.images[MODALITY] == modality, PATIENT].drop_duplicates().tolist()

    def training_part(self, fold: int) -> tuple[list[str], list[str]]:
        """List training and inner validation patients of an outer fold; no held-out patient is in either.

        The fold after the last is that of a refit: it holds nobody out, and all patients are training patients.
        """
        if fold == self.n_folds:
            return self.folds[PATIENT].tolist(), []
        training = self.folds[self.folds[FOLD] != fold]
        if f"{UNUSED}{fold}" in training:
            training = training[~training[f"{UNUSED}{fold}"]]
        inner = training[f"{INNER}{fold}"]
        return training.loc[~inner, PATIENT].tolist(), training.loc[inner, PATIENT].tolist()

    def held_out(self, fold: int) -> list[str]:
        """List the patients of an outer fold."""
        return self.folds.loc[self.folds[FOLD] == fold, PATIENT].tolist()

    def read_picture(self, image: str) -> np.ndarray:
        """Read a picture by its ``image_id``, cut to its box, texts filled if asked. uint8, shape (H, W, 3).

        Raises:
            CohortError: If its path leads out of the pictures' folder, or its box out of the picture.
            PictureError: If the picture cannot be read.
        """
        return self.prepare(image, self.read_file(image))

    def read_file(self, image: str) -> np.ndarray:
        """Read the whole file of a picture; of one with several frames, the imported frame. uint8, shape (H, W, 3).

        Raises:
            CohortError, PictureError: See `read_picture`.
        """
        path, _ = self._places[image]
        return read_picture(self.picture_path(path), frame=self.details.frame)

    def prepare(self, image: str, pixels: np.ndarray) -> np.ndarray:
        """Cut a picture out of the pixels of its file, and fill its texts if asked.

        Raises:
            CohortError: See `cut`.
        """
        picture = self.cut(image, pixels)
        return mask_text(picture) if self.details.mask_text else picture

    def cut(self, image: str, pixels: np.ndarray) -> np.ndarray:
        """Cut the box of a picture out of what belongs to the pixels of its file, shape (H, W, ...).

        Raises:
            CohortError: If the box leads out of them.
        """
        path, box = self._places[image]
        if box and (problem := box.within(pixels.shape[1], pixels.shape[0])):
            raise CohortError(
                f"cohort {self.name}: {path}: {problem}.", "Restore the file, or import the cohort again."
            )
        return box.cut(pixels) if box else pixels

    def picture_path(self, path: str) -> Path:
        """Locate a picture of ``images.path``.

        Raises:
            CohortError: If the path leads out of the pictures' folder.
        """
        folder = self.folder_of(path).resolve()
        found = (folder / path).resolve()
        if not found.is_relative_to(folder):
            raise CohortError(
                f"cohort {self.name}: picture {path!r} lies outside {folder}.",
                "Move the pictures into one folder, or give the common folder as SRC.",
            )
        return found
