"""Reading of run folders and bare tables of predictions as the results of a report."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pandas as pd

from fusion_ln.clinical.columns import columns_title
from fusion_ln.clinical.settings import ClinicalSettings
from fusion_ln.cohort.checks.tables import IMAGE_COLUMNS
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.cohort.folder import load_cohort, open_run_cohort
from fusion_ln.decode.stored import Kind, read_stored_table
from fusion_ln.errors import CohortError, PredictionsError, RunError
from fusion_ln.evaluation.external.record import EVALUATION_FILE, read_record
from fusion_ln.heads import head_title
from fusion_ln.predictions import (
    REMAKE,
    Predictions,
    read_inner_predictions,
    read_predictions,
    read_subset_predictions,
)
from fusion_ln.progress import say
from fusion_ln.records.kinds import BaselineRecord, ClinicalRecord, TableRecord
from fusion_ln.report.run.model import Model
from fusion_ln.report.run.results import N_RESAMPLES, Results
from fusion_ln.runs import AUDIT_PAGE, RunFolder
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.terms import FOLD, LABEL, PATIENT, SITE, modality_title, short_title

# Columns that a figure needs.
HISTORY: dict[str, Kind] = {FOLD: "whole", "epoch": "whole", "train_loss": "number", "val_loss": "number"}


def read_results(runs: list[RunFolder], cohort: Cohort) -> Results:
    """Read finished runs of one cohort, to be compared with the best single modality.

    Raises:
        RunError: If a run is unfinished, or belongs to another cohort or to other folds.
        PredictionsError: If its predictions break their schema.
    """
    assert runs, "a report needs a run"
    assert len({run.root for run in runs}) == len(runs), "a run is given twice"
    names = _names([run.root for run in runs])
    for run in runs:
        run.check_cohort(cohort.describe())
    models = [_read_run(run, name, cohort.modalities) for run, name in zip(runs, names, strict=True)]
    return Results(cohort, _fusions_last(models), n_resamples=N_RESAMPLES)


def read_inputs(
    paths: list[Path], *, reference: Path | None = None, cohort: Path | None = None, n_resamples: int = N_RESAMPLES
) -> Results:
    """Read run folders and bare tables of predictions of one cohort, to be compared with each other.

    Args:
        paths: Run folders or tables of predictions. A table that lies in its run folder stands for the run.
        reference: The one of ``paths`` to compare with. Without it: the best single modality by inner validation or,
            where nothing tells that, the last one, so that differences read as typed: first minus last.
        cohort: Cohort folder. Without it: the one that the runs name, if it is still there.
        n_resamples: Bootstrap draws behind every interval.

    Raises:
        CohortError: If ``cohort`` is no cohort.
        RunError: If a run is unfinished, or belongs to another cohort or to other folds than the rest.
        PredictionsError: If there is one model only, one is given twice, ``reference`` is none of them, or predictions
            break their schema or do not fit the cohort.
    """
    places = [_place(path) for path in paths]
    _need_several(paths, places)
    runs = [place for place in places if isinstance(place, RunFolder)]
    shown = _find_cohort(runs, cohort)
    names = _names([p.root if isinstance(p, RunFolder) else _stem(p) for p in places])
    modalities = shown.modalities if shown else _modalities(runs)
    models = [
        _read_run(place, name, modalities) if isinstance(place, RunFolder) else _read_table(place, name)
        for place, name in zip(places, names, strict=True)
    ]
    for path, model in zip(paths, models, strict=True):
        if shown:
            _check_fits(path, model.predictions, shown)
    by_place = dict(zip(places, models, strict=True))
    return Results(
        shown or _cohort_of(models[0].predictions, runs),
        _fusions_last(models),
        named_reference=_choose_reference(by_place, reference),
        n_resamples=n_resamples,
    )


def _place(path: Path) -> RunFolder | Path:
    if path.is_dir():
        return RunFolder(path.resolve())
    run = RunFolder(path.resolve().parent)
    return run if run.predictions == path.resolve() and run.record.is_file() else path.resolve()


def _need_several(paths: list[Path], places: list[RunFolder | Path]) -> None:
    """Refuse a single model, and one that is named twice or stands in two evaluations by its digest."""
    for number, place in enumerate(places):
        if place in places[:number]:
            raise PredictionsError(f"{paths[number]}: given twice.", "Name each model once.")
    if len(places) < 2:
        raise PredictionsError(
            f"{paths[0]}: one model only; a comparison needs at least two.",
            "Name another run, or predictions.parquet file, of the same cohort.",
        )
    evaluated: dict[str, Path] = {}
    for path, place in zip(paths, places, strict=True):
        if isinstance(place, RunFolder) or not (place.parent / EVALUATION_FILE).is_file():
            continue
        digest = read_record(place.parent)[0].model.digest
        if digest and (other := evaluated.setdefault(digest, path)) != path:
            raise PredictionsError(
                f"{path}: answers of the model {digest[:12]}, as those of {other} are.", "Name each model once."
            )


def _find_cohort(runs: list[RunFolder], folder: Path | None) -> Cohort | None:
    """Open the given cohort, or the one that the runs were made on if it is where it was; the runs must agree."""
    if folder:
        cohort = load_cohort(folder)
        for run in runs:
            run.check_cohort(cohort.describe())
        return cohort
    if not runs:
        return None
    first = runs[0].read_prediction_record()
    for run in runs[1:]:
        run.check_cohort(first.cohort)
    try:
        cohort = open_run_cohort(runs[0], None)
    except (CohortError, RunError):
        name = first.cohort.name
        say(f"Cohort {name} is not where the runs were made on it: no pictures and no subgroups. Name it: --cohort DIR")
        return None
    return cohort


def _choose_reference(models: dict[RunFolder | Path, Model], path: Path | None) -> str:
    """Name the model to compare with; empty for the best single modality."""
    if path:
        if (place := _place(path)) not in models:
            known = ", ".join(m.name for m in models.values())
            raise PredictionsError(f"{path}: the reference is none of the models given ({known}).", "Name one of them.")
        return models[place].name
    if any(m.is_single for m in models.values()):
        return ""
    last = list(models.values())[-1].name
    say(f"No single-modality run to choose the reference from: comparing with the last one, {last}")
    return last


def _read_run(run: RunFolder, name: Path, modalities: tuple[str, ...]) -> Model:
    record = run.read_prediction_record()
    if not run.finished:
        raise RunError(
            f"{run.root}: unfinished, it has no {run.predictions.name} yet.",
            f"The same command again goes on from where it stopped: {record.command}",
        )
    if isinstance(record, ClinicalRecord):
        seen, title = _without_pictures(record.settings, modalities)
    elif isinstance(record, BaselineRecord):
        seen, title = {record.settings.modality}, modality_title(record.settings.modality)
    else:
        seen, title = set(record.settings.members), _head_title(record.settings.head, name.name)
    return Model(
        name=name.as_posix(),
        what=title,
        group=" · ".join(name.parts[:-1]),
        modalities=tuple(m for m in modalities if m in seen),
        record=record,
        predictions=read_predictions(run.predictions),
        inner=_read_inner(run.inner_predictions),
        history=read_stored_table(run.history, REMAKE, HISTORY) if run.history.is_file() else None,
        subsets=read_subset_predictions(run.subset_predictions),
        explanation=run.explanation.page if run.explanation.page.is_file() else None,
        audit=run.audit / AUDIT_PAGE if (run.audit / AUDIT_PAGE).is_file() else None,
    )


def _without_pictures(settings: ClinicalSettings, modalities: tuple[str, ...]) -> tuple[set[str], str]:
    """Give the modalities and the title of a model of columns, of chance, or of columns and pictures."""
    if settings.model == "chance":
        return set(), "Chance (class shares)"
    columns, pictures = columns_title(settings.columns, modalities), settings.pictures
    if pictures is None:
        return set(), columns
    if isinstance(pictures, BaselineSettings):
        return {pictures.modality}, f"{short_title(pictures.modality)} with {columns[0].lower()}{columns[1:]}"
    return set(pictures.members), f"{head_title(pictures.head)} with {columns[0].lower()}{columns[1:]}"


def _read_table(path: Path, name: Path) -> Model:
    return Model(
        name=name.as_posix(),
        what=name.name,
        group=" · ".join(name.parts[:-1]),
        modalities=(),
        record=TableRecord(),
        predictions=read_predictions(path),
        inner=_read_inner(path.with_name(f"inner_{path.name}")),
    )


def _read_inner(path: Path) -> Predictions | None:
    return read_inner_predictions(path) if path.is_file() else None


def _names(folders: list[Path]) -> list[Path]:
    """Give each folder relative to the common parent of all."""
    roots = [folder.resolve() for folder in folders]
    parent = Path(os.path.commonpath([root.parent for root in roots]))
    return [root.relative_to(parent) for root in roots]


def _stem(path: Path) -> Path:
    """Return the path that names a bare table: its file or, where that is called as every run's, its folder."""
    return path.parent if path.stem == "predictions" else path.with_suffix("")


def _fusions_last(models: list[Model]) -> tuple[Model, ...]:
    """Put fusions last, and add the folder's name to models with the same title, such as variants of one head."""
    titles = Counter(m.title for m in models)
    named = [replace(m, what=f"{m.what} ({m.name.rpartition('/')[2]})") if titles[m.title] > 1 else m for m in models]
    return tuple(sorted(named, key=lambda m: m.is_fusion))


def _modalities(runs: list[RunFolder]) -> tuple[str, ...]:
    return runs[0].read_prediction_record().cohort.modalities if runs else ()


def _cohort_of(predictions: Predictions, runs: list[RunFolder]) -> Cohort:
    """Rebuild a cohort whose folder is not at hand from predictions and records: patients, classes, folds."""
    summary = runs[0].read_prediction_record().cohort if runs else None
    patients = predictions.table[[PATIENT, LABEL]].assign(**{SITE: "unknown"})
    return Cohort(
        root=Path(),
        name=summary.name if summary else f"{len(patients)} patients",
        classes=predictions.classes,
        modalities=summary.modalities if summary else (),
        source="",
        licence="",
        patients=patients,
        images=pd.DataFrame(columns=list(IMAGE_COLUMNS)),
        folds=predictions.table[[PATIENT, FOLD]],
        pictures=Path(),
        simulated=bool(summary and summary.simulated),
    )


def _check_fits(path: Path, predictions: Predictions, cohort: Cohort) -> None:
    """Refuse predictions of other classes, patients, labels or folds than the cohort's."""
    way_out = "Compare models of this cohort and its folds, or name theirs with `--cohort DIR`."
    if predictions.classes != cohort.classes:
        held, expected = ", ".join(predictions.classes), ", ".join(cohort.classes)
        raise PredictionsError(
            f"{path}: classes {held}; the cohort {cohort.name} has {expected}, in this order.", way_out
        )
    truth = cohort.patients[[PATIENT, LABEL]].merge(cohort.folds[[PATIENT, FOLD]], on=PATIENT)
    rows = predictions.table[[PATIENT, LABEL, FOLD]]
    known = rows.merge(truth, on=PATIENT, how="left", suffixes=("", "_expected"))
    for column, what in ((LABEL, "label"), (FOLD, "fold")):
        differing = known[column] != known[f"{column}_expected"]
        if differing.any():
            patient = known.loc[differing, PATIENT].iloc[0]
            raise PredictionsError(
                f"{path}: {int(differing.sum())} of {len(known)} patients are unknown to the cohort {cohort.name} or "
                f"have another {what} there; the first is {patient!r}.",
                way_out,
            )


def _head_title(head: str, folder: str) -> str:
    """Return the head's title; with what its folder adds, where it is a variant (``fusion-concat-plain``)."""
    title = head_title(head)
    own = f"fusion-{head}-"
    return f"{title}, {folder.removeprefix(own)}" if folder.startswith(own) else title
