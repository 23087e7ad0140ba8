"""Files of a finished fold, and the run's tables that are made of them."""

from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import get_args

import pandas as pd
from pydantic import ValidationError

from fusion_ln.decode.stored import read_stored_table
from fusion_ln.errors import PredictionsError, RunError
from fusion_ln.evaluation.folds import describe_folds
from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.predictions import Predictions, check_table, join_tables, write_predictions
from fusion_ln.records.kinds import TrainedFusionRecord
from fusion_ln.records.parts import FoldRecord, UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.training import Precision
from fusion_ln.terms import FOLD
from fusion_ln.training.fit import FitResult
from fusion_ln.training.tasks import PatientLogits

# Files of a finished fold; the run's tables are made of them once all folds are finished.
FOLD_RECORD = "fold.json"
FOLD_TABLES = ("predictions.parquet", "inner_predictions.parquet", "history.parquet")
SUBSET_TABLES = ("subset_predictions.parquet", "inner_subset_predictions.parquet")  # of a trained head


def epoch_table(number: int, result: FitResult) -> pd.DataFrame:
    """Build the rows of a fold in ``history.parquet``, one per epoch."""
    return pd.DataFrame([{FOLD: number, **asdict(epoch)} for epoch in result.history])


def fold_record(number: int, result: FitResult, precision: str, *, peak_memory_mib: int | None = None) -> FoldRecord:
    """Summarise the fit of a fold for run.json."""
    seconds = sum(epoch.seconds for epoch in result.history)
    return FoldRecord(
        fold=number,
        seconds=round(seconds, 2),
        pictures_per_second=round(sum(epoch.pictures for epoch in result.history) / seconds, 1),
        epochs=len(result.history),
        best_epoch=result.best_epoch,
        precision=precision,
        peak_memory_mib=peak_memory_mib,
    )


def finish(run: RunFolder, units: Collection[str]) -> None:
    """Join the folds' tables and write the run of a cohort of these ``units``.

    Predictions come last, because a run that has them is finished.
    """
    if run.finished:
        return
    record = run.read_prediction_record()
    fused = isinstance(record, TrainedFusionRecord)
    folders = [run.fold(number) for number in range(record.cohort.n_folds)]
    names = (*FOLD_TABLES, *(SUBSET_TABLES if fused else ()))
    folds = [_read_fold(folder, number, record.cohort.classes, names) for number, folder in enumerate(folders)]
    out, inner, history, *of_subsets = (pd.concat(tables) for tables in zip(*(each for _, each in folds), strict=True))
    known: dict[str, object] = {"folds": tuple(fit for fit, _ in folds)}
    if fused:  # of those alone it is not known before
        known |= {"units": UnitCounts(predicted=len(out), skipped=len(units) - len(out))}
    run.write_record(record.model_copy(update=known))
    write_parquet(run.history, history)
    for name, table in zip(SUBSET_TABLES, of_subsets, strict=False):
        write_parquet(run.root / name, table)
    classes = record.cohort.classes
    write_predictions(run.inner_predictions, Predictions(classes, inner))
    predictions = join_tables(classes, [out])
    write_json(run.metrics, describe_folds(predictions, units))
    write_predictions(run.predictions, predictions)


def _read_fold(
    folder: Path, number: int, classes: tuple[str, ...], names: Sequence[str]
) -> tuple[FoldRecord, list[pd.DataFrame]]:
    """Read what `write_fold` wrote."""
    way_out = f"Delete {folder}: the command that made the run then trains this fold again."
    path = folder / FOLD_RECORD
    try:
        fit = FoldRecord.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        raise RunError(f"{path}: cannot be read as the record of a fold.", way_out) from None
    tables = [read_stored_table(folder / name, way_out, {FOLD: "whole"}) for name in names]
    try:
        found = {
            check_table(folder / name, table).classes for name, table in zip(FOLD_TABLES, tables[:2], strict=False)
        }
    except PredictionsError as error:
        raise RunError(error.problem, way_out) from None
    if found != {classes} or any((table[FOLD] != number).any() for table in tables) or fit.fold != number:
        raise RunError(f"{folder}: holds tables of another fold or of other classes.", way_out)
    return fit, tables


def write_fold(
    folder: Path,
    classes: tuple[str, ...],
    number: int,
    predicted: Sequence[PatientLogits],
    result: FitResult,
    precision: str,
    *,
    of_subsets: Sequence[pd.DataFrame] = (),
    peak_memory_mib: int | None = None,
) -> None:
    """Write the predictions of the held-out and the inner validation patients, the history and, last, the record.

    Args:
        folder: Folder of the fold.
        classes, number, result, precision, peak_memory_mib: Of the fold and its fit.
        predicted: Logits of the held-out patients and of those of inner validation.
        of_subsets: Predictions of both from every subset of the modalities, of a fusion.
    """
    for logits, file in zip(predicted, FOLD_TABLES[:2], strict=True):
        write_predictions(folder / file, logits.of_fold(classes, number))
    for file, table in zip(SUBSET_TABLES, of_subsets, strict=False):
        write_parquet(folder / file, table)
    write_parquet(folder / FOLD_TABLES[2], epoch_table(number, result))
    record = fold_record(number, result, precision, peak_memory_mib=peak_memory_mib)
    write_json(folder / FOLD_RECORD, record.model_dump(mode="json"))
    clear_states(folder)


def begun_precision(run: RunFolder) -> Precision | None:
    """Find the precision that a finished fold of a run was trained in; None: no fold is finished."""
    for path in sorted(run.root.glob(f"fold_*/{FOLD_RECORD}")):
        with suppress(OSError, ValidationError):
            precision = FoldRecord.model_validate_json(path.read_bytes()).precision
            return next((each for each in get_args(Precision) if each == precision), None)
    return None


def clear_states(folder: Path) -> None:
    """Remove the state of a finished fit."""
    for state in folder.glob("*.ckpt"):
        state.unlink()
