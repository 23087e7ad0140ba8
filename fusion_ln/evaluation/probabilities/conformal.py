"""Class-conditional conformal sets: classes that hold the true one with a chosen probability, class by class."""

from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.probabilities.calibration import wilson
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions
from fusion_ln.terms import PATIENT

ConformalMethod = Literal["lac", "aps"]


@dataclass(frozen=True)
class ConformalSets:
    """Classes that cannot be ruled out at the level ``alpha``, for each patient.

    Attributes:
        predictions: Predictions that the sets were made from.
        alpha: Share of each class's patients whose set may miss their class.
        member: Membership of each class in each patient's set. bool, shape (P, C).
    """

    predictions: Predictions
    alpha: float
    member: np.ndarray

    def coverage(self) -> pd.DataFrame:
        """Tabulate coverage and size of the sets.

        Returns:
            One row per true class and a last one `ALL_CLASSES`: ``class, n, covered, coverage, ci_low, ci_high``
            (95 %, Wilson) ``, mean_size, single, several, empty`` (patients with a set of that size).
        """
        labels, rows = self.predictions.labels, []
        held, size = self.member[np.arange(len(labels)), labels], self.member.sum(axis=1)
        groups = [(name, labels == c) for c, name in enumerate(self.predictions.classes)]
        for name, group in [*groups, (ALL_CLASSES, np.ones(len(labels), dtype=bool))]:
            n, covered = int(group.sum()), int(held[group].sum())
            low, high = wilson(covered, n)
            sizes = [int(np.sum(part)) for part in (size[group] == 1, size[group] > 1, size[group] == 0)]
            rows.append((name, n, covered, covered / n, low, high, size[group].mean(), *sizes))
        names = ["class", "n", "covered", "coverage", "ci_low", "ci_high", "mean_size", "single", "several", "empty"]
        return pd.DataFrame(rows, columns=names)

    def undecided(self) -> pd.DataFrame:
        """List the patients whose set is not one class: ``patient_id, truth, set`` (joined by `` / ``) ``, size``."""
        classes = self.predictions.classes
        rows = [
            (patient, classes[label], " / ".join(np.array(classes)[inside]), int(inside.sum()))
            for patient, label, inside in zip(
                self.predictions.patients, self.predictions.labels, self.member, strict=True
            )
            if inside.sum() != 1
        ]
        return pd.DataFrame(rows, columns=[PATIENT, "truth", "set", "size"])


def conformal_sets(predictions: Predictions, *, method: ConformalMethod = "lac", alpha: float = 0.1) -> ConformalSets:
    """Make each patient's set from the out-of-fold scores of the other folds' patients, class by class.

    ``lac`` scores a class by 1 - its probability (Sadinle, Lei & Wasserman 2019: smallest sets), ``aps`` by the
    probability of all likelier classes and half its own (Romano, Sesia & Candès 2020, with 1/2 in place of the random
    share, so that no coin is tossed over a patient). A class stays in the set where its conformal p-value among the
    patients of that class exceeds ``alpha``. As in cross-conformal prediction (Vovk 2015) each fold's scores come
    from its own model: coverage 1 - alpha then holds closely rather than by proof, so it is measured.

    Raises:
        PredictionsError: If there is one fold only, or a fold's others have no patient of some class.
    """
    if len(np.unique(predictions.folds)) < 2:
        raise PredictionsError("conformal sets need predictions of at least 2 folds; there is one.")
    scores = _lac_scores(predictions.probs) if method == "lac" else _aps_scores(predictions.probs)
    p_values = np.empty_like(scores)
    for fold in np.unique(predictions.folds):
        held_out = predictions.folds == fold
        labels = predictions.labels[~held_out]
        need_patients(labels, predictions.classes)
        for c in range(len(predictions.classes)):
            others = np.sort(scores[~held_out, c][labels == c])
            at_least = len(others) - np.searchsorted(others, scores[held_out, c], side="left")
            p_values[held_out, c] = (at_least + 1) / (len(others) + 1)
    return ConformalSets(predictions, alpha, p_values > alpha)


def _lac_scores(probs: np.ndarray) -> np.ndarray:
    return 1 - probs


def _aps_scores(probs: np.ndarray) -> np.ndarray:
    """Sum the probabilities of all classes likelier than each one, and half its own; equally likely ones count half."""
    others, own = probs[:, None, :], probs[:, :, None]  # (P, C, C)
    scores: np.ndarray = (((others > own) + 0.5 * (others == own)) * others).sum(axis=2)
    return scores
