"""Late fusion of finished baselines: no training, it reads their predictions."""

import os
from collections.abc import Iterable

import numpy as np
import pandas as pd
import torch

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.errors import RunError
from fusion_ln.files import write_json, write_parquet
from fusion_ln.metrics import describe
from fusion_ln.models.late.base import Learnt, ModalityLogits, load_late_head
from fusion_ln.predictions import (
    Predictions,
    predictions_from_logits,
    read_inner_predictions,
    read_predictions,
    write_predictions,
)
from fusion_ln.records import BaselineRecord, LateFusionRecord, PatientCounts, new_origin
from fusion_ln.runs import RunFolder
from fusion_ln.settings import BaselineSettings, LateSettings
from fusion_ln.terms import FOLD, LABEL, LOGIT, MODALITIES_USED, PATIENT, subsets


def fuse_late(cohort: Cohort, members: list[RunFolder], head: str, run: RunFolder) -> Predictions:
    """Fuse one baseline per modality and write the run.

    Every patient with at least one modality is predicted. What a head learns, it learns for each outer fold
    from the inner validation patients of that fold alone, as its own models predict them.

    Args:
        cohort: The cohort of all members.
        members: Finished baselines, one per modality.
        head: One of `heads.LATE_HEADS`.
        run: Where to write.

    Raises:
        RunError: If a member is not a finished baseline of this cohort and its folds, or ``run`` is another run.
    """
    settings = LateSettings(head=head, members={s.modality: s for s in (finished_baseline(cohort, m) for m in members)})
    out = _line_up([read_predictions(m.predictions) for m in members])
    inner = _line_up([read_inner_predictions(m.inner_predictions) for m in members])
    record = LateFusionRecord(
        settings=settings,
        cohort=cohort.describe(),
        cohort_path=str(cohort.root.resolve()),
        members=tuple(os.path.relpath(m.root, run.root) for m in members),
        patients=PatientCounts(predicted=len(out[0]), skipped=len(cohort.patients) - len(out[0])),
        **new_origin(),
    )
    if run.claim(record) and run.finished:
        return read_predictions(run.predictions)
    fused: list[pd.DataFrame] = []
    fused_inner: list[pd.DataFrame] = []
    fused_subsets: list[pd.DataFrame] = []
    learnt: list[Learnt | None] = []
    for fold in range(cohort.n_folds):
        held_out, validation = _part(*out, fold), _part(*inner, fold)
        found = load_late_head(head).learn
        learnt.append(found(validation[1], validation[0][LABEL].to_numpy()) if found else None)
        fused.append(_apply(head, learnt[-1], *held_out, cohort.classes))
        fused_inner.append(_apply(head, learnt[-1], *validation, cohort.classes))
        for name, subset in subsets(list(settings.members)).items():
            seen = _restrict(*held_out, np.isin(list(settings.members), subset))
            fused_subsets.append(_apply(head, learnt[-1], *seen, cohort.classes).assign(**{MODALITIES_USED: name}))
    predictions = Predictions(cohort.classes, pd.concat(fused).sort_values(PATIENT, ignore_index=True))
    run.write_record(record.model_copy(update={"learnt": tuple(learnt)}))
    write_parquet(run.subset_predictions, pd.concat(fused_subsets))
    write_predictions(run.inner_predictions, Predictions(cohort.classes, pd.concat(fused_inner)))
    write_json(run.metrics, describe(predictions))
    write_predictions(run.predictions, predictions)
    return predictions


def finished_baseline(cohort: Cohort, run: RunFolder) -> BaselineSettings:
    """The settings of a finished baseline of this cohort and these folds.

    Raises:
        RunError: If ``run`` is something else.
    """
    record = run.read_record()
    if not isinstance(record, BaselineRecord) or not run.finished:
        raise RunError(f"{run.root}: not a finished baseline.", "Finish it with `fusionln run baseline`.")
    run.check_cohort(cohort.describe())
    return record.settings


def _line_up(members: Iterable[Predictions]) -> tuple[pd.DataFrame, ModalityLogits]:
    """Join the members' tables by patient and fold, never by row."""
    members = list(members)
    keys = [PATIENT, FOLD, LABEL]
    rows = pd.concat([m.table[keys] for m in members]).drop_duplicates().sort_values([FOLD, PATIENT], ignore_index=True)
    logits, present = [], []
    for member in members:
        joined = rows.merge(member.table, how="left", on=keys, validate="one_to_one")
        values = joined[[LOGIT + c for c in member.classes]].to_numpy()
        present.append(~np.isnan(values).any(axis=1))
        logits.append(np.nan_to_num(values))
    return rows, ModalityLogits(torch.from_numpy(np.stack(logits, 1)), torch.from_numpy(np.stack(present, 1)))


def _apply(
    head: str, learnt: Learnt | None, rows: pd.DataFrame, opinions: ModalityLogits, classes: tuple[str, ...]
) -> pd.DataFrame:
    logits = load_late_head(head).apply(opinions, learnt or {}).numpy()
    keys = (rows[PATIENT].tolist(), rows[FOLD].to_numpy(), rows[LABEL].to_numpy())
    return predictions_from_logits(classes, *keys, logits).table


def _restrict(rows: pd.DataFrame, opinions: ModalityLogits, chosen: np.ndarray) -> tuple[pd.DataFrame, ModalityLogits]:
    """The patients who have all of the ``chosen`` modalities (bool, shape (M,)), with these alone."""
    kept = torch.from_numpy(chosen)
    complete = opinions.present[:, kept].all(1)
    return rows[complete.numpy()], ModalityLogits(opinions.logits[complete], opinions.present[complete] & kept)


def _part(rows: pd.DataFrame, opinions: ModalityLogits, fold: int) -> tuple[pd.DataFrame, ModalityLogits]:
    """The rows of one outer fold."""
    chosen = np.flatnonzero(rows[FOLD] == fold)
    return rows.iloc[chosen], ModalityLogits(opinions.logits[chosen], opinions.present[chosen])
