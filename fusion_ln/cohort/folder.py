"""The folder of a cohort: written, read and checked."""

from dataclasses import replace
from pathlib import Path

import pandas as pd

from fusion_ln.cohort.checks.tables import check_patients, check_tables
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folds import draw_folds, folds_origin
from fusion_ln.cohort.head import HEAD, TABLES, CohortHead, read_head, write_head
from fusion_ln.decode.stored import Kind, load_table, wrong_column
from fusion_ln.errors import CohortError
from fusion_ln.files.formats import write_parquet
from fusion_ln.files.hashes import hash_table
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.runs import RunFolder
from fusion_ln.terms import (
    CINE,
    CROP,
    CROP_BY,
    FOLD,
    FRAME,
    HEIGHT,
    IMAGE,
    LABEL,
    MODALITY,
    PATH,
    PATIENT,
    SHA256,
    VIEW,
    WIDTH,
)

TEXTS = (PATIENT, IMAGE, MODALITY, PATH, SHA256, CINE, CROP_BY)
NUMBERS = (LABEL, FOLD, VIEW, WIDTH, HEIGHT, FRAME, *CROP)


def save_cohort(cohort: Cohort) -> None:
    """Write the folder; ``cohort.toml`` comes last, so a folder without it is an unfinished one."""
    check_tables(cohort)
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
        check_patients(f"{folder / 'patients.parquet'}", tables["patients"], head.classes)
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
    check_tables(cohort)
    return cohort
