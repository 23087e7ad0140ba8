"""A cohort: patients, their pictures and their folds, kept in one folder that every command reads."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.cohort.folds import draw_folds, folds_origin
from fusion_ln.cohort.head import HEAD, TABLES, CohortDetails, CohortHead, read_head, write_head
from fusion_ln.decode.picture import read_picture
from fusion_ln.decode.readers import find_readers
from fusion_ln.decode.stored import Kind, load_table, wrong_column
from fusion_ln.errors import CohortError
from fusion_ln.files import LOCK, hash_table, locked, write_parquet
from fusion_ln.records import CohortSummary
from fusion_ln.runs import RunFolder
from fusion_ln.terms import (
    FOLD,
    HEIGHT,
    IMAGE,
    INNER,
    LABEL,
    MODALITY,
    PATH,
    PATIENT,
    SHA256,
    SITE,
    UNUSED,
    VIEW,
    WIDTH,
)  # fmt: skip

IMAGE_COLUMNS = (IMAGE, PATIENT, MODALITY, VIEW, PATH, WIDTH, HEIGHT, SHA256)
TEXTS = (PATIENT, IMAGE, MODALITY, PATH, SHA256)
NUMBERS = (LABEL, FOLD, VIEW, WIDTH, HEIGHT)


@dataclass(frozen=True)
class Cohort:
    """Checked content of a cohort folder.

    Attributes:
        root: The cohort folder.
        pictures: Folder that ``images.path`` is relative to: the cohort folder, or the raw archive it describes.
        classes: Class names; the position is the label.
        modalities: Modality names in the order in which they are shown.
        patients: ``patient_id, label, site`` and any clinical columns, sorted by patient.
        images: ``image_id, patient_id, modality, view, path, width, height, sha256``, sorted by
            patient, modality, view.
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
        """SHA-256 of patients, labels and pictures; not of paths nor of clinical columns."""
        patients = hash_table(self.patients[[PATIENT, LABEL]])
        pictures = hash_table(self.images[[IMAGE, PATIENT, MODALITY, VIEW, SHA256]])
        return hash_table(pd.DataFrame({"part": [*self.classes, *self.modalities, patients, pictures]}))

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
            patients=len(self.patients),
            fingerprint=self.fingerprint,
            folds=self.folds_fingerprint,
            n_folds=self.n_folds,
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

    def refuse_repeated_pictures(self, modality: str) -> None:
        """Refuse a modality in which two patients have the same picture file: it could stand on both sides of a fold.

        Raises:
            CohortError: Naming the first pair.
        """
        repeated = self.images_of(modality).groupby(SHA256)[PATIENT].unique()
        repeated = repeated[repeated.map(len) > 1]
        if len(repeated):
            first, second = repeated.iloc[0][:2]
            raise CohortError(
                f"cohort {self.name}: patients {first} and {second} have the same {modality} picture"
                + (f"; {len(repeated)} pictures stand under several patients." if len(repeated) > 1 else "."),
                f"`fusionln cohort check {self.root}` lists them all. Import without them (`--leave-out PATH`), or "
                "under one patient.",
            )

    def patients_with(self, modality: str) -> list[str]:
        """List the patients with at least one picture of ``modality``."""
        return self.images.loc[self.images[MODALITY] == modality, PATIENT].drop_duplicates().tolist()

    def training_part(self, fold: int) -> tuple[list[str], list[str]]:
        """List training and inner validation patients of an outer fold; no held-out patient is in either."""
        training = self.folds[self.folds[FOLD] != fold]
        if f"{UNUSED}{fold}" in training:
            training = training[~training[f"{UNUSED}{fold}"]]
        inner = training[f"{INNER}{fold}"]
        return training.loc[~inner, PATIENT].tolist(), training.loc[inner, PATIENT].tolist()

    def held_out(self, fold: int) -> list[str]:
        """List the patients of an outer fold."""
        return self.folds.loc[self.folds[FOLD] == fold, PATIENT].tolist()

    def read_picture(self, path: str) -> np.ndarray:
        """Read a picture of ``images.path``; of a file with several frames, the imported one. uint8, shape (H, W, 3).

        Raises:
            CohortError: If the path leads out of the pictures' folder.
            PictureError: If the picture cannot be read.
        """
        return read_picture(self.picture_path(path), frame=self.details.frame)

    def picture_path(self, path: str) -> Path:
        """Locate a picture of ``images.path``.

        Raises:
            CohortError: If the path leads out of the pictures' folder.
        """
        folder = self.pictures.resolve()
        found = (folder / path).resolve()
        if not found.is_relative_to(folder):
            raise CohortError(
                f"cohort {self.name}: picture {path!r} lies outside {folder}.",
                "Move the pictures into one folder, or give the common folder as SRC.",
            )
        return found


def save_cohort(cohort: Cohort) -> None:
    """Write the folder; ``cohort.toml`` comes last, so a folder without it is an unfinished one."""
    _check(cohort)
    tables = {"patients": cohort.patients, "images": cohort.images, "folds": cohort.folds}
    for name, table in tables.items():
        write_parquet(cohort.root / f"{name}.parquet", table)
    pictures = cohort.pictures.resolve()
    head = CohortHead(
        name=cohort.name,
        classes=cohort.classes,
        modalities=cohort.modalities,
        source=cohort.source,
        licence=cohort.licence,
        simulated=cohort.simulated,
        root=None if pictures == cohort.root.resolve() else str(pictures),
        details=cohort.details,
        hashes={name: hash_table(table) for name, table in tables.items()},
    )
    write_head(cohort.root, head)


def load_cohort(folder: Path) -> Cohort:
    """Read a cohort folder; check that its tables match each other and have not changed since the folds were drawn.

    Raises:
        CohortError: If it is not a cohort, is damaged, or was changed since its folds were drawn.
    """
    head = read_head(folder)
    tables = {name: _read_table(folder / f"{name}.parquet") for name in TABLES}
    for name, table in tables.items():
        if hash_table(table) != head.hashes.get(name):
            raise CohortError(
                f"{folder / name}.parquet: changed since the cohort's folds were drawn.",
                f"Restore it, or draw new folds with `fusionln cohort folds {folder}` (older runs will not match).",
            )
    return _build(folder, head, tables)


def open_run_cohort(run: RunFolder, folder: Path | None) -> Cohort:
    """Read the cohort of a run: from ``folder`` or, without one, from the folder that the run was made on.

    Raises:
        CohortError: If it is no longer there.
        RunError: If the run was made on another cohort, or on other folds.
    """
    record = run.read_prediction_record()
    held = Path(record.cohort_path or "")
    if folder is None and not (held / HEAD).is_file():
        raise CohortError(
            f"{run.root}: its cohort {record.cohort.name} is no longer at {record.cohort_path}.",
            "Say where it is with `--cohort DIR`.",
        )
    cohort = load_cohort(folder or held)
    run.check_cohort(cohort.describe())
    return cohort


def redraw_folds(folder: Path, *, k: int = 5, by_site: bool = False, seed: int = 0) -> Cohort:
    """Accept the tables as they are now, draw new folds and write the cohort back."""
    head = read_head(folder)
    with locked(folder / LOCK):
        tables = {name: _read_table(folder / f"{name}.parquet") for name in ("patients", "images")}
        _check_patients(f"{folder / 'patients.parquet'}", tables["patients"], head.classes)
        folds = draw_folds(tables["patients"], k=k, by_site=by_site, seed=seed, classes=head.classes)
        cohort = _build(folder, head, {**tables, "folds": folds})
        details = cohort.details.model_copy(update={"folds": folds_origin(k, by_site, seed)})
        save_cohort(cohort := replace(cohort, details=details))
    return cohort


def _read_table(path: Path) -> pd.DataFrame:
    way_out = "Restore it or import the cohort again."
    try:
        table = load_table(path)
    except ValueError as error:
        raise CohortError(f"{path}: {error}.", way_out) from None
    kinds: dict[str, Kind] = {**dict.fromkeys(TEXTS, "text"), **dict.fromkeys(NUMBERS, "whole")}
    if wrong := wrong_column(table, {name: kind for name, kind in kinds.items() if name in table}):
        raise CohortError(f"{path}: {wrong}.", way_out)
    return table


def _build(folder: Path, head: CohortHead, tables: dict[str, pd.DataFrame]) -> Cohort:
    pictures = Path(head.root) if head.root is not None else folder
    if not pictures.is_dir():
        raise CohortError(
            f"{folder}: the folder of its pictures, {pictures}, is gone.",
            "Move them back, or set `root` in cohort.toml to where they are now.",
        )
    cohort = Cohort(
        root=folder,
        name=head.name,
        classes=head.classes,
        modalities=head.modalities,
        source=head.source,
        licence=head.licence,
        simulated=head.simulated,
        details=head.details,
        pictures=pictures,
        **tables,
    )
    _check(cohort)
    return cohort


def _check(cohort: Cohort) -> None:
    """Refuse tables that do not fit each other; every message names the first offender."""
    patients, images, folds = cohort.patients, cohort.images, cohort.folds
    where = {name: f"cohort {cohort.name}: {name}.parquet" for name in TABLES}
    _check_patients(where["patients"], patients, cohort.classes)
    find_readers(patients, cohort.classes, where["patients"])
    _need_columns(where["images"], images, IMAGE_COLUMNS)
    _need_columns(where["folds"], folds, (PATIENT, FOLD))
    _refuse_repeats(where["images"], images[IMAGE])
    _refuse_repeats(where["folds"], folds[PATIENT])
    _refuse_unknown(where["images"], images[PATIENT], set(patients[PATIENT]), "a patient of patients.parquet")
    _refuse_unknown(where["images"], images[MODALITY], set(cohort.modalities), "a modality of cohort.toml")
    _refuse_unknown(where["folds"], folds[FOLD], set(range(len(folds))), "a fold")
    redraw = f"Draw the folds anew with `fusionln cohort folds {cohort.root}`."
    if set(folds[PATIENT]) != set(patients[PATIENT]):
        raise CohortError(f"{where['folds']} does not hold exactly the patients of patients.parquet.", redraw)
    columns = [f"{INNER}{fold}" for fold in range(cohort.n_folds)]
    _need_columns(where["folds"], folds, tuple(columns))
    if folds[columns].to_numpy(dtype=bool)[np.arange(len(folds)), folds[FOLD]].any():
        raise CohortError(f"{where['folds']}: a held-out patient serves inner validation.", redraw)


def _check_patients(where: str, patients: pd.DataFrame, classes: tuple[str, ...]) -> None:
    _need_columns(where, patients, (PATIENT, LABEL, SITE))
    _refuse_repeats(where, patients[PATIENT])
    _refuse_unknown(where, patients[LABEL], set(range(len(classes))), "a label 0..C-1")
    if patients.empty:
        raise CohortError(f"{where} holds no patient.", "Import the cohort again.")


def _need_columns(where: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if missing := [column for column in columns if column not in table]:
        raise CohortError(f"{where} lacks the column {missing[0]!r}.", "Import the cohort again.")


def _refuse_repeats(where: str, keys: pd.Series) -> None:
    if keys.duplicated().any():
        raise CohortError(f"{where} holds {keys[keys.duplicated()].iloc[0]!r} twice.", "Import the cohort again.")


def _refuse_unknown(where: str, values: pd.Series, known: set[str] | set[int], what: str) -> None:
    if unknown := set(values) - known:
        raise CohortError(f"{where} holds {sorted(unknown)[0]!r}, which is not {what}.", "Import the cohort again.")
