"""Per-patient outcomes of a model and of readers on the patients whom all of them saw."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pandas as pd

from fusion_ln.decode.readers import Reader
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.limits.auc import auc_influence
from fusion_ln.predictions import Predictions

Measure = Literal["auc", "sensitivity", "specificity", "accuracy"]
FEWEST_READ = 10  # patients of a class, and others, below which no interval is given


@dataclass(frozen=True)
class Cases:
    """A measure of a model (first) and of J readers on the same patients.

    Attributes:
        positive: Patients of the class, of whom the AUC speaks; all of them for the other measures. bool, shape (P,).
        held: Suspicion of the class, or whether the call was right (0 or 1). Shape (1 + J, P).
    """

    measure: Measure
    of_class: str
    positive: np.ndarray
    held: np.ndarray

    @property
    def patients(self) -> int:
        """Patients who count for the measure."""
        return len(self.positive)

    @property
    def smallest(self) -> int:
        """Patients of the smallest group that the measure needs: of the class or of the others for an AUC."""
        return int(min(self.positive.sum(), (~self.positive).sum())) if self.measure == "auc" else self.patients

    @property
    def enough(self) -> bool:
        """True if there are `FEWEST_READ` patients of each group that the measure needs."""
        return self.smallest >= FEWEST_READ

    @property
    def figures(self) -> np.ndarray:
        """The measure of the model and of each reader. Shape (1 + J,)."""
        return self._scored[0]

    @property
    def influence(self) -> np.ndarray:
        """Influence of each patient on the measure; see `fusion_ln.evaluation.limits.auc.covariance`. (1 + J, P)."""
        return self._scored[1]

    @cached_property
    def _scored(self) -> tuple[np.ndarray, np.ndarray]:
        if self.measure == "auc":
            return auc_influence(self.positive, self.held)
        share = self.held.mean(axis=1)
        return share, (self.held - share[:, None]) / self.patients


def measures_of(readers: Sequence[Reader], classes: Sequence[str]) -> list[tuple[Measure, str]]:
    """List the measures that some reader has: AUC where suspicion is ordered, the others where there are calls."""
    found: list[tuple[Measure, str]] = []
    if any(len(reader.calls) for reader in readers):
        found.append(("accuracy", ALL_CLASSES))
    for name in classes:
        if any(has_measure(reader, "sensitivity", name) for reader in readers):
            found += [("sensitivity", name), ("specificity", name)]
        if any(has_measure(reader, "auc", name) for reader in readers):
            found.append(("auc", name))
    return found


def has_measure(reader: Reader, measure: Measure, of_class: str) -> bool:
    """Test whether a reader's columns give a measure."""
    return of_class in reader.suspicion if measure == "auc" else len(reader.calls) > 0


def read_by_all(predictions: Predictions, readers: Sequence[Reader]) -> list[str]:
    """List the patients whom the model predicted and every one of ``readers`` called."""
    return _common(predictions, [reader.calls for reader in readers])


def _common(predictions: Predictions, columns: Sequence[pd.Series]) -> list[str]:
    return sorted(set(predictions.patients).intersection(*(column.index for column in columns)))


def cases_of(predictions: Predictions, readers: Sequence[Reader], measure: Measure, of_class: str) -> Cases:
    """Collect a measure on the patients whom the model predicted and every one of ``readers`` read."""
    columns = [reader.suspicion[of_class] if measure == "auc" else reader.calls for reader in readers]
    patients = _common(predictions, columns)
    shown = predictions.of(patients)
    names = np.array(predictions.classes, dtype=object)
    truth, label = names[shown.labels], names == of_class
    if measure == "auc":
        values = [shown.probs[:, label][:, 0], *(column.loc[patients].to_numpy(float) for column in columns)]
        return Cases(measure, of_class, truth == of_class, np.stack(values))
    calls = [names[shown.probs.argmax(axis=1)], *(column.loc[patients].to_numpy(object) for column in columns)]
    if measure == "accuracy":
        right, counts = [call == truth for call in calls], np.ones(len(truth), dtype=bool)
    elif measure == "sensitivity":
        right, counts = [call == of_class for call in calls], truth == of_class
    else:
        right, counts = [call != of_class for call in calls], truth != of_class
    values = [each[counts].astype(float) for each in right]
    return Cases(measure, of_class, np.ones(int(counts.sum()), dtype=bool), np.stack(values))
