"""Conformal sets of a study's fold models by CV+, class by class."""

from dataclasses import dataclass

import numpy as np

from fusion_ln.metrics import need_patients
from fusion_ln.predictions import Predictions

MISS_RATE = 0.1  # share of a class's patients whose set may miss it


@dataclass(frozen=True)
class FoldScores:
    """Out-of-fold scores of a study's patients, without the patients.

    A score is 1 - the probability that the model of the patient's fold gives the true class: large where it misses.

    Attributes:
        folds, labels, scores: Fold, true class and score of each patient, sorted. Shapes (P,).
    """

    folds: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    @classmethod
    def of(cls, held_out: Predictions) -> "FoldScores":
        """Take the scores of out-of-fold predictions.

        Raises:
            PredictionsError: If a class has no patient.
        """
        labels = held_out.labels
        need_patients(labels, held_out.classes)
        scores = 1 - held_out.probs[np.arange(len(labels)), labels]
        order = np.lexsort((scores, labels, held_out.folds))  # the order of the patients would be a trace of them
        return cls(held_out.folds[order], labels[order], scores[order])

    def p_values(self, probs: np.ndarray) -> np.ndarray:
        """Compute how well each class fits new patients (CV+ in the form of Barber et al. 2021, section 3).

        A new patient's score of a class by the model of fold k is compared with the scores of that class's patients in
        fold k, who are unseen by that model as the new one is. The set of classes whose p-value exceeds alpha covers
        each class with probability 1 - 2 alpha by proof, and close to 1 - alpha as measured (Romano et al. 2020).

        Args:
            probs: Probabilities of the new patients by each fold's model, in the order of the folds. Shape (K, P, C).

        Returns:
            Shape (P, C).
        """
        counts = np.zeros(probs.shape[1:])
        for fold, new in enumerate(1 - probs):
            for c in range(probs.shape[2]):
                own = np.sort(self.scores[(self.folds == fold) & (self.labels == c)])
                counts[:, c] += len(own) - np.searchsorted(own, new[:, c], side="left")
        p_values: np.ndarray = (counts + 1) / (np.bincount(self.labels, minlength=probs.shape[2]) + 1)
        return p_values
