"""Late fusion of finished baselines, from their predictions."""

import os
from collections.abc import Iterable, Mapping

import numpy as np
import pandas as pd
import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.compute.threads import fixed_threads
from fusion_ln.errors import CohortError, RunError
from fusion_ln.evaluation.folds import describe_folds
from fusion_ln.files.formats import write_json, write_parquet
from fusion_ln.models.late.base import Learnt, ModalityLogits, load_late_head
from fusion_ln.predictions import (
    UNIT_KEYS,
    Predictions,
    join_tables,
    predictions_from_logits,
    read_inner_predictions,
    read_predictions,
    write_predictions,
)
from fusion_ln.records.kinds import BaselineRecord, LateFusionRecord
from fusion_ln.records.origin import new_origin
from fusion_ln.records.parts import UnitCounts
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import LateSettings
from fusion_ln.settings.training import BaselineSettings
from fusion_ln.terms import FOLD, LABEL, LOGIT, MODALITIES_USED, PATIENT, subsets


def fuse_late(cohort: Cohort, members: list[RunFolder], head: str, run: RunFolder) -> Predictions:
    """Fuse one baseline per modality and write the run.

    Every patient with at least one modality is predicted. A head that learns does so for each outer
    fold, from the predictions of that fold's inner validation patients by its own models alone.

    Args:
        cohort: The cohort of all members.
        members: Finished baselines, one per modality.
        head: One of `heads.LATE_HEADS`.
        run: Where to write.

    Raises:
        RunError: If a member is not a finished baseline of this cohort and its folds, or ``run`` is another run.
    """
    record = new_late_record(cohort, {m: finished_baseline(cohort, m) for m in members}, head, run)
    modalities = list(record.settings.members)
    out = _join([read_predictions(m.predictions) for m in members])
    inner = _join([read_inner_predictions(m.inner_predictions) for m in members])
    counts = UnitCounts(predicted=len(out[0]), skipped=len(cohort.patients) - len(out[0]))
    record = record.model_copy(update={"units": counts})
    if run.claim(record) and run.finished:
        return read_predictions(run.predictions)
    fused: list[pd.DataFrame] = []
    fused_inner: list[pd.DataFrame] = []
    fused_subsets: list[pd.DataFrame] = []
    fused_inner_subsets: list[pd.DataFrame] = []
    learnt: list[Learnt | None] = []
    with fixed_threads(cohort.n_folds):
        for fold in range(cohort.n_folds):
            held_out, validation = _part(*out, fold), _part(*inner, fold)
            learn = load_late_head(head).learn
            learnt.append(learn(validation[1], validation[0][LABEL].to_numpy()) if learn else None)
            fused.append(_apply(head, learnt[-1], *held_out, cohort.classes))
            fused_inner.append(_apply(head, learnt[-1], *validation, cohort.classes))
            for name, subset in subsets(modalities).items():
                for part, tables in ((held_out, fused_subsets), (validation, fused_inner_subsets)):
                    restricted = _restrict(*part, np.isin(modalities, subset))
                    table = _apply(head, learnt[-1], *restricted, cohort.classes)
                    tables.append(table.assign(**{MODALITIES_USED: name}))
    predictions = join_tables(cohort.classes, fused)
    run.write_record(record.model_copy(update={"learnt": tuple(learnt)}))
    write_parquet(run.subset_predictions, pd.concat(fused_subsets))
    write_parquet(run.inner_subset_predictions, pd.concat(fused_inner_subsets))
    write_predictions(run.inner_predictions, Predictions(cohort.classes, pd.concat(fused_inner)))
    write_json(run.metrics, describe_folds(predictions, cohort.patients[PATIENT]))
    write_predictions(run.predictions, predictions)
    return predictions


def new_late_record(
    cohort: Cohort, baselines: Mapping[RunFolder, BaselineSettings], head: str, run: RunFolder
) -> LateFusionRecord:
    """Describe a late fusion that begins now, or will once its baselines are trained."""
    members = {baseline.modality: baseline for baseline in baselines.values()}
    return LateFusionRecord(
        settings=LateSettings(head=head, members=members),
        cohort=cohort.describe(),
        cohort_path=str(cohort.root.resolve()),
        members=tuple(os.path.relpath(member.root, run.root) for member in baselines),
        **new_origin(),
    )


def learn_from_held_out(members: list[RunFolder], head: str) -> Learnt | None:
    """Let a late head learn from the out-of-fold predictions of all patients, as a refit does."""
    learn = load_late_head(head).learn
    if learn is None:
        return None
    rows, modality_logits = _join([read_predictions(member.predictions) for member in members])
    return learn(modality_logits, rows[LABEL].to_numpy())


def untaught_class(cohort: Cohort, modalities: Iterable[str]) -> tuple[int, str] | None:
    """Find a fold and a class of which its inner validation part has no patient with any of the modalities."""
    seen = {patient for modality in modalities for patient in cohort.patients_with(modality)}
    labels = cohort.patients.set_index(PATIENT)[LABEL]
    for fold in range(cohort.n_folds):
        present = set(labels.loc[[patient for patient in cohort.training_part(fold)[1] if patient in seen]])
        if missing := [name for label, name in enumerate(cohort.classes) if label not in present]:
            return fold, missing[0]
    return None


def check_teachable(cohort: Cohort, head: str, modalities: Iterable[str]) -> None:
    """Refuse a late head that learns where inner validation lacks a class: it could never predict it.

    Raises:
        CohortError: Naming the fold and the class.
    """
    if load_late_head(head).learn and (untaught := untaught_class(cohort, modalities)):
        raise CohortError(
            f"cohort {cohort.name}: fold {untaught[0]} has no inner validation patient of class {untaught[1]!r}, so "
            f"{head}, which learns from them, could never predict it.",
            "Add patients of that class, leave it out, or choose heads that learn nothing (`late-mean`, `late-logit`).",
        )


def finished_baseline(cohort: Cohort, run: RunFolder) -> BaselineSettings:
    """Read the settings of a finished baseline of this cohort and its folds.

    Raises:
        RunError: If ``run`` is something else.
    """
    record = run.read_record()
    if not isinstance(record, BaselineRecord) or not run.finished:
        raise RunError(f"{run.root}: not a finished baseline.", "Finish it with `fusionln run baseline`.")
    run.check_cohort(cohort.describe())
    return record.settings


def _join(members: Iterable[Predictions]) -> tuple[pd.DataFrame, ModalityLogits]:
    """Join the members' tables by patient and fold, never by row."""
    members = list(members)
    keys = [*UNIT_KEYS, FOLD, LABEL]
    rows = (
        pd.concat([m.table[keys] for m in members]).drop_duplicates().sort_values([FOLD, *UNIT_KEYS], ignore_index=True)
    )
    logits, present = [], []
    for member in members:
        joined = rows.merge(member.table, how="left", on=keys, validate="one_to_one")
        values = joined[[LOGIT + c for c in member.classes]].to_numpy()
        present.append(~np.isnan(values).any(axis=1))
        logits.append(np.nan_to_num(values))
    return rows, ModalityLogits(torch.from_numpy(np.stack(logits, 1)), torch.from_numpy(np.stack(present, 1)))


def _apply(
    head: str, learnt: Learnt | None, rows: pd.DataFrame, modality_logits: ModalityLogits, classes: tuple[str, ...]
) -> pd.DataFrame:
    """Fuse the rows to a table of predictions."""
    logits = load_late_head(head).apply(modality_logits, learnt or {}).numpy()
    keys = (rows[PATIENT].tolist(), rows[FOLD].to_numpy(), rows[LABEL].to_numpy())
    return predictions_from_logits(classes, *keys, logits).table


def _restrict(
    rows: pd.DataFrame, modality_logits: ModalityLogits, chosen: np.ndarray
) -> tuple[pd.DataFrame, ModalityLogits]:
    """Keep the patients who have all ``chosen`` modalities (bool, shape (M,)), and of them these alone."""
    kept = torch.from_numpy(chosen)
    complete = modality_logits.present[:, kept].all(1)
    return rows[complete.numpy()], ModalityLogits(
        modality_logits.logits[complete], modality_logits.present[complete] & kept
    )


def _part(rows: pd.DataFrame, modality_logits: ModalityLogits, fold: int) -> tuple[pd.DataFrame, ModalityLogits]:
    """Keep the rows of one outer fold."""
    chosen = np.flatnonzero(rows[FOLD] == fold)
    return rows.iloc[chosen], ModalityLogits(modality_logits.logits[chosen], modality_logits.present[chosen])
