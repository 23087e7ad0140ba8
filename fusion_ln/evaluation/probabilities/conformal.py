"""Class-conditional conformal sets: classes that hold the true one with a chosen probability, class by class."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd

from fusion_ln.errors import PredictionsError
from fusion_ln.evaluation.intervals import ALL_CLASSES
from fusion_ln.evaluation.limits.clusters import count_patients
from fusion_ln.evaluation.limits.shares import share_interval
from fusion_ln.evaluation.probabilities.maps import inner_part
from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions
from fusion_ln.terms import PATIENT

ConformalMethod = Literal["lac", "aps"]


@dataclass(frozen=True)
class ConformalSets:
    """Classes that cannot be ruled out at the level ``alpha``, for each patient, or node.

    A patient with several nodes has one score of a class, that of the worst of the nodes that are of the class; the
    sets then hold the classes of all these nodes at once with the probability that is asked for.

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
            (95 %, Wilson) ``, mean_size, single, several, empty`` (patients with a set of that size). ``n`` and
            ``covered`` count patients, covered where all nodes of the class are; sizes are those of the nodes' sets.
        """
        clusters = self.predictions.clusters
        labels, rows = self.predictions.labels, []
        held, size = self.member[np.arange(len(labels)), labels], self.member.sum(axis=1)
        groups = [(name, labels == c) for c, name in enumerate(self.predictions.classes)]
        for name, group in [*groups, (ALL_CLASSES, np.ones(len(labels), dtype=bool))]:
            n = int(count_patients(group, clusters))
            covered = n - int(count_patients(group & ~held, clusters))
            low, high = share_interval(covered, n)
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


def cross_conformal_sets(
    predictions: Predictions, *, method: ConformalMethod = "lac", alpha: float = 0.1
) -> ConformalSets:
    """Make each patient's set from the out-of-fold scores of the other folds' patients, class by class.

    ``lac`` scores a class by 1 - its probability (Sadinle, Lei & Wasserman 2019: smallest sets), ``aps`` by the
    probability of all likelier classes and half its own (Romano, Sesia & Candès 2020, with 1/2 in place of the random
    share, so that no coin is tossed over a patient). A class stays in the set where its conformal p-value among the
    patients of that class exceeds ``alpha``. As in cross-conformal prediction (Vovk 2015) each fold's scores come
    from its own model. The same patients' scores set the thresholds and are counted: their coverage comes out near
    1 - alpha whatever the model, so it checks the computation and says nothing about new patients.

    Raises:
        PredictionsError: If there is one fold only, or a fold's others have no patient of some class.
    """
    if len(np.unique(predictions.folds)) < 2:
        raise PredictionsError("conformal sets need predictions of at least 2 folds; there is one.")
    scores = NONCONFORMITY[method](predictions.probs)
    p_values = np.empty_like(scores)
    for fold in np.unique(predictions.folds):
        held_out = predictions.folds == fold
        labels = predictions.labels[~held_out]
        need_patients(labels, predictions.classes)
        p_values[held_out] = _p_values(scores[held_out], scores[~held_out], labels, _part(predictions, ~held_out))
    return ConformalSets(predictions, alpha, p_values > alpha)


def split_sets(
    predictions: Predictions, inner: Predictions, *, method: ConformalMethod = "lac", alpha: float = 0.1
) -> ConformalSets:
    """Make each patient's set from the scores of the inner validation patients of the patient's fold, class by class.

    Split conformal prediction (Papadopoulos et al. 2002; class by class: Vovk 2012): the held-out patients set no
    threshold, so their coverage is measured. The proof of 1 - alpha asks for inner patients who served nothing else;
    these also stopped the training and taught the calibration.

    Args:
        predictions: Out-of-fold predictions.
        inner: Predictions of each fold's inner validation patients by that fold's model; ``fold`` is the model's.
        method, alpha: See `cross_conformal_sets`.

    Raises:
        PredictionsError: If a fold has fewer than 1 / alpha - 1 inner patients of some class: no class could be ruled
            out then.
    """
    scores, inner_scores = NONCONFORMITY[method](predictions.probs), NONCONFORMITY[method](inner.probs)
    least = math.ceil(1 / alpha - 1 - 1e-9)
    p_values = np.empty_like(scores)
    for fold in np.unique(predictions.folds).tolist():
        held_out, part = predictions.folds == fold, inner_part(inner, fold)
        owners = _part(inner, part)
        counts = np.array([count_patients(inner.labels[part] == c, owners) for c in range(len(inner.classes))])
        if counts.min() < least:
            raise PredictionsError(
                f"split sets need {least} inner validation patients of each class and fold; fold {fold} has "
                f"{counts.min()} of class {inner.classes[counts.argmin()]!r}.",
                "A larger cohort has them.",
            )
        p_values[held_out] = _p_values(scores[held_out], inner_scores[part], inner.labels[part], owners)
    return ConformalSets(predictions, alpha, p_values > alpha)


def _part(predictions: Predictions, rows: np.ndarray) -> np.ndarray | None:
    """Find the number of the patient of each of these rows; None where each is a patient."""
    return None if predictions.clusters is None else np.unique(predictions.clusters[rows], return_inverse=True)[1]


def _p_values(scores: np.ndarray, others: np.ndarray, labels: np.ndarray, owners: np.ndarray | None) -> np.ndarray:
    """Compute the conformal p-value of each class among other patients of that class. Shape (P, C).

    Args:
        scores: Of the patients in question. Shape (P, C).
        others: Scores of the patients who set the thresholds. Shape (N, C).
        labels: True class of these. Shape (N,).
        owners: Number of the patient of each of these nodes; None: each is a patient. Shape (N,).
    """
    p_values = np.empty_like(scores)
    for c in range(scores.shape[1]):
        known = others[labels == c, c]
        if owners is not None:
            known = pd.Series(known).groupby(owners[labels == c]).max().to_numpy()
        known = np.sort(known)
        at_least = len(known) - np.searchsorted(known, scores[:, c], side="left")
        p_values[:, c] = (at_least + 1) / (len(known) + 1)
    return p_values


def _lac_scores(probs: np.ndarray) -> np.ndarray:
    return 1 - probs


def _aps_scores(probs: np.ndarray) -> np.ndarray:
    """Sum the probabilities of all classes likelier than each one, and half its own; equally likely ones count half."""
    others, own = probs[:, None, :], probs[:, :, None]  # (P, C, C)
    scores: np.ndarray = (((others > own) + 0.5 * (others == own)) * others).sum(axis=2)
    return scores


NONCONFORMITY: dict[ConformalMethod, Callable[[np.ndarray], np.ndarray]] = {"lac": _lac_scores, "aps": _aps_scores}
