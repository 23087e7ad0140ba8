"""Checks of the tables of a cohort: each must fit the others."""

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.head import TABLES
from fusion_ln.cohort.regions.box import Box
from fusion_ln.decode.readers import find_readers
from fusion_ln.errors import CohortError
from fusion_ln.terms import (
    CROP,
    CROP_BY,
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
    VIEW,
    WIDTH,
)
from fusion_ln.units import patient_of

IMAGE_COLUMNS = (IMAGE, PATIENT, MODALITY, VIEW, PATH, WIDTH, HEIGHT, SHA256)


def check_tables(cohort: Cohort) -> None:
    """Refuse tables that do not fit each other; every message names the first offender."""
    patients, images, folds = cohort.patients, cohort.images, cohort.folds
    where = {name: f"cohort {cohort.name}: {name}.parquet" for name in TABLES}
    check_patients(where["patients"], patients, cohort.classes)
    find_readers(patients, cohort.classes, where["patients"])
    _need_columns(where["images"], images, IMAGE_COLUMNS)
    if cohort.is_cropped:
        _check_boxes(where["images"], images)
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
    drawn = folds[[FOLD, *columns]].groupby(folds[PATIENT].map(patient_of)).nunique().max(axis=1)
    if (drawn > 1).any():
        raise CohortError(f"{where['folds']}: the nodes of patient {drawn.idxmax()} lie in several parts.", redraw)


def check_patients(where: str, patients: pd.DataFrame, classes: tuple[str, ...]) -> None:
    """Refuse a table of patients without its columns, with repeats, labels of no class, or no patient at all."""
    _need_columns(where, patients, (PATIENT, LABEL, SITE))
    _refuse_repeats(where, patients[PATIENT])
    _refuse_unknown(where, patients[LABEL], set(range(len(classes))), "a label 0..C-1")
    if patients.empty:
        raise CohortError(f"{where} holds no patient.", "Import the cohort again.")


def _check_boxes(where: str, images: pd.DataFrame) -> None:
    """Refuse boxes that are no part of their file's picture."""
    _need_columns(where, images, (*CROP, CROP_BY))
    sizes = images[[WIDTH, HEIGHT]].to_numpy().tolist()
    for path, corners, size in zip(images[PATH], images[list(CROP)].to_numpy().tolist(), sizes, strict=True):
        if problem := Box(*corners).within(*size):
            raise CohortError(f"{where}: {path}: {problem}.", "Import the cohort again.")


def _need_columns(where: str, table: pd.DataFrame, columns: tuple[str, ...]) -> None:
    if missing := [column for column in columns if column not in table]:
        raise CohortError(f"{where} lacks the column {missing[0]!r}.", "Import the cohort again.")


def _refuse_repeats(where: str, keys: pd.Series) -> None:
    if keys.duplicated().any():
        raise CohortError(f"{where} holds {keys[keys.duplicated()].iloc[0]!r} twice.", "Import the cohort again.")


def _refuse_unknown(where: str, values: pd.Series, known: set[str] | set[int], what: str) -> None:
    if unknown := set(values) - known:
        raise CohortError(f"{where} holds {sorted(unknown)[0]!r}, which is not {what}.", "Import the cohort again.")
