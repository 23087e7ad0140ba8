"""A model as a report shows it: its record, its predictions, and their calibration."""

from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.folds import score_folds
from fusion_ln.evaluation.probabilities.maps import Calibrated, calibrate
from fusion_ln.metrics import PRIMARY
from fusion_ln.predictions import Predictions
from fusion_ln.records.kinds import BaselineRecord, ClinicalRecord, LateFusionRecord, TableRecord, TrainedFusionRecord
from fusion_ln.records.parse import PredictionRecord
from fusion_ln.settings.base import Protocol


@dataclass(frozen=True, eq=False)
class Model:
    """A finished run, or a bare table of predictions, as the report shows it.

    Attributes:
        name: Its folder relative to the runs' common parent; names it in every table.
        what: Title of its modality or of its fusion.
        group: The folders above its own up to the common parent, such as the backbone's; empty without any.
        modalities: The modalities that it reads, in the cohort's order; empty for a bare table.
        record: Its run.json; a `TableRecord` for a bare table.
        predictions: Out-of-fold predictions.
        inner: Predictions of the inner validation patients, ``fold`` being the model's; None for a bare table.
        history: Losses per fold and epoch; None where nothing was trained.
        subsets: Predictions from each subset of the modalities, by the subset's name; may be empty.
        explanation: The page of its explanation, if any.
        audit: The page of its shortcut audit, if any.
    """

    name: str
    what: str
    group: str
    modalities: tuple[str, ...]
    record: PredictionRecord | TableRecord
    predictions: Predictions
    inner: Predictions | None = None
    history: pd.DataFrame | None = None
    subsets: dict[str, Predictions] = field(default_factory=dict)
    explanation: Path | None = None
    audit: Path | None = None

    @property
    def title(self) -> str:
        return f"{self.what} · {self.group}" if self.group else self.what

    @property
    def is_fusion(self) -> bool:
        return isinstance(self.record, LateFusionRecord | TrainedFusionRecord)

    @property
    def is_single(self) -> bool:
        """True if it reads one modality; of a bare table that is not known."""
        return isinstance(self.record, BaselineRecord)

    @property
    def is_clinical(self) -> bool:
        """True if it reads columns of the cohort's table, or nothing."""
        return isinstance(self.record, ClinicalRecord)

    @property
    def is_chance(self) -> bool:
        """True if it gives everyone the class shares."""
        return isinstance(self.record, ClinicalRecord) and self.record.settings.model == "chance"

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns of a logistic regression that reads nothing else; else none."""
        record = self.record
        return record.settings.columns if isinstance(record, ClinicalRecord) and not record.members else ()

    @property
    def is_table(self) -> bool:
        """True for a bare table of predictions, whose making is unknown."""
        return isinstance(self.record, TableRecord)

    @property
    def protocol(self) -> Protocol:
        return self.record.protocol

    def auc_by_fold(self) -> pd.Series:
        """Score the macro one-vs-rest AUC of each held-out fold."""
        return _auc_by_fold(self.predictions)

    @property
    def is_stacked(self) -> bool:
        """True if it was fitted to the inner validation patients: a stack of predictions, or of these and columns."""
        record = self.record
        return (isinstance(record, LateFusionRecord) and record.is_stacked) or (
            isinstance(record, ClinicalRecord) and bool(record.members)
        )

    @property
    def calibrated(self) -> Calibrated | None:
        """Predictions calibrated by the inner validation patients; None for the reason in `uncalibrated`."""
        return self._calibration[0]

    @property
    def uncalibrated(self) -> str:
        """The reason why there are no calibrated predictions; empty where there are."""
        return self._calibration[1]

    @property
    def calibrated_or_raw(self) -> Predictions:
        """Predictions to act on: the calibrated ones where there are such."""
        return self.calibrated.predictions if self.calibrated else self.predictions

    @cached_property
    def _calibration(self) -> tuple[Calibrated | None, str]:
        if self.inner is None:
            return None, f"{self.title} has no inner validation predictions to learn from"
        try:
            return calibrate(self.predictions, self.inner, learn=not self.is_stacked), ""
        except PredictionsError as error:
            return None, f"{self.title}: {error.problem.rstrip('.')}"

    @cached_property
    def inner_auc(self) -> float:
        """Mean over the folds of the macro AUC on inner validation, the only figure by which models are chosen."""
        return float(_auc_by_fold(self.inner).mean()) if self.inner else np.nan


def _auc_by_fold(predictions: Predictions) -> pd.Series:
    """Score the macro AUC by fold; NaN where a fold lacks a class."""
    by_fold = score_folds(predictions)
    return pd.Series({fold: scores[PRIMARY] for fold, scores in by_fold.items()}, dtype=float, name=PRIMARY)
