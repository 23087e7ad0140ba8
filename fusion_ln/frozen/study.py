"""Reading of a finished study as the record and the scores of the model that leaves it."""

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np

from fusion_ln.errors import ModelError, PredictionsError
from fusion_ln.evaluation.external.points import learn_points
from fusion_ln.evaluation.limits.auc import aucs
from fusion_ln.evaluation.probabilities.cv_plus import FoldScores
from fusion_ln.evaluation.probabilities.ensemble import calibrate_mean
from fusion_ln.frozen.record import ALL_PATIENTS, Auc, ModelRecord, StoredCalibration, Study
from fusion_ln.heads import head_title
from fusion_ln.models.triplet import TrainedRun
from fusion_ln.predictions import (
    UNIT_KEYS,
    Predictions,
    read_inner_predictions,
    read_predictions,
    read_subset_predictions,
)
from fusion_ln.progress import say
from fusion_ln.records.kinds import BaselineRecord, ClinicalRecord, LateFusionRecord, TrainedFusionRecord
from fusion_ln.records.origin import installed_versions
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.runs import RunFolder
from fusion_ln.settings.fusion import HeadSettings
from fusion_ln.terms import FOLD, modality_title
from fusion_ln.units import are_nodes

if TYPE_CHECKING:
    from fusion_ln.training.fusion.refit import Refit

UNSTATED = "not stated"


def record_model(
    trained: TrainedRun, licence: str = UNSTATED, refitted: "Refit | None" = None
) -> tuple[ModelRecord, dict[str, FoldScores]]:
    """Describe the mean of a run's fold models, with its calibration and scores from each subset of the modalities.

    A subset of whose complete patients some class is missing has neither: the pooled ones stand in for it. Those of a
    refit are learnt from the out-of-fold predictions as if one model had made them.

    Args:
        trained: The run.
        licence: Licence of the weights.
        refitted: Its refit, which is described in its place.

    Raises:
        ModelError: If no calibration can be learnt at all.
        RunError, PredictionsError: If a table of the run is missing or damaged.
    """
    run, record = trained.run, trained.run.read_prediction_record()
    held_out, inner = read_predictions(run.predictions), read_inner_predictions(run.inner_predictions)
    if are_nodes(held_out.patients):
        raise ModelError(
            f"{run.root}: its study is of nodes, several of a patient; a model for new patients is not made of it.",
            "Freeze, predict, evaluate, export and serve take runs on a cohort with one row per patient.",
        )
    stacked = isinstance(record, LateFusionRecord) and record.is_stacked
    if refitted or stacked:  # a stack is fitted to its inner patients: they would make it too sure
        inner = Predictions(inner.classes, inner.table.iloc[:0])
    n_models = 1 if refitted else len(trained.models)
    try:
        pooled = calibrate_mean(held_out, inner, n_models)
        scores = {ALL_PATIENTS: _scores_of(held_out, refitted)}
    except PredictionsError as error:
        raise ModelError(f"{run.root}: {error.problem}", error.way_out) from None
    calibrations: dict[str, StoredCalibration] = {}
    for name, out, validation in _subsets_of(run, held_out, inner, trained):
        try:
            calibrations[name] = StoredCalibration.of(calibrate_mean(out, validation, n_models))
            scores[name] = _scores_of(out, refitted)
        except PredictionsError:
            say(f"{run.root}: too few patients have all of {name}; calibrated as all patients' are.")
    counts = {name: int((held_out.labels == label).sum()) for label, name in enumerate(trained.classes)}
    learnt = record.learnt if isinstance(record, LateFusionRecord) else None
    single = calibrate_mean(held_out, inner, 1).apply(held_out.probs)  # of the folds' models, one by one
    described = ModelRecord(
        answer="refit" if refitted else "ensemble",
        title=_title(record),
        classes=trained.classes,
        modalities=trained.sides,
        epochs=refitted.epochs if refitted else None,
        calibration=calibrations,
        pooled=StoredCalibration.of(pooled),
        operating_points=learn_points(held_out.classes, held_out.labels, single),
        figures=_measure(held_out, single),
        study=Study(
            cohort=record.cohort.name,
            simulated=record.cohort.simulated,
            patients=counts,
            n_folds=record.cohort.n_folds,
            fingerprint=record.cohort.fingerprint,
            folds=record.cohort.folds,
            protocol=record.protocol,
            preparation=record.cohort.preparation,
        ),
        licence=licence,
        frozen=datetime.now(UTC).date().isoformat(),
        versions=installed_versions(),
        late_head=record.settings.head if isinstance(record, LateFusionRecord) else None,
        learnt=(refitted.learnt,) if refitted and refitted.learnt else learnt if not refitted else None,
        head=_heads_of(record, refitted) if isinstance(record, TrainedFusionRecord) else None,
    )
    return described, scores


def _measure(held_out: Predictions, probs: np.ndarray) -> tuple[Auc, ...]:
    """Compute the AUC of each class, and their mean; nothing where a class has a single patient."""
    if np.bincount(held_out.labels, minlength=len(held_out.classes)).min() < 2:
        return ()
    found = aucs(held_out.labels, probs)
    (low, high), (least, most) = found.limits, found.macro_limits
    rows = zip([*held_out.classes, "mean"], [*found.by_class, found.macro], [*low, least], [*high, most], strict=True)
    return tuple(Auc(of=of, value=float(value), low=float(a), high=float(b)) for of, value, a, b in rows)


def _scores_of(held_out: Predictions, refitted: "Refit | None") -> FoldScores:
    """Take the out-of-fold scores; those of a refit are of one fold, since one model answers."""
    if refitted:
        held_out = Predictions(held_out.classes, held_out.table.assign(**{FOLD: 0}))
    return FoldScores.of(held_out)


def _subsets_of(
    run: RunFolder, held_out: Predictions, inner: Predictions, trained: TrainedRun
) -> Iterator[tuple[str, Predictions, Predictions]]:
    """Yield out-of-fold and inner predictions from each subset of the modalities; of a baseline, its only one."""
    if len(trained.sides) == 1:
        yield next(iter(trained.sides)), held_out, inner
        return
    out, teaches = read_subset_predictions(run.subset_predictions), len(inner.table) > 0
    validation = read_subset_predictions(run.inner_subset_predictions, key=[FOLD, *UNIT_KEYS]) if teaches else {}
    if out and not validation and teaches:
        say(
            f"{run.root}: made before inner predictions of every subset were kept, so the calibration of its answers "
            "from some of the modalities is that of single models."
        )
    empty = Predictions(inner.classes, inner.table.iloc[:0])
    for name, predictions in out.items():
        yield name, predictions, validation.get(name, empty)


def _title(record: PredictionRecord) -> str:
    assert not isinstance(record, ClinicalRecord), "it holds no network, so `load_run` refused it"
    if isinstance(record, BaselineRecord):
        return modality_title(record.settings.modality)
    return head_title(record.settings.head)


def _heads_of(record: TrainedFusionRecord, refitted: "Refit | None") -> tuple[HeadSettings, ...]:
    """Return the settings of a trained head in each model."""
    if refitted:
        return (record.settings.training,)
    return tuple(record.settings.training.of_fold(fold) for fold in range(record.cohort.n_folds))
