"""Late fusion: one opinion per patient from the modalities' own predictions. Plain arrays, no torch."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression

from fusion_ln.predictions import softmax

SMALLEST = 1e-12  # keeps logarithms finite


@dataclass(frozen=True)
class Opinions:
    """What M single-modality models say of P patients over C classes.

    Attributes:
        logits: Shape (P, M, C); what stands for an absent modality is never read.
        present: Which modalities each patient has. bool, shape (P, M), at least one per row.
    """

    logits: np.ndarray
    present: np.ndarray

    @property
    def probs(self) -> np.ndarray:
        """Shape (P, M, C); an absent modality's are uniform."""
        return softmax(self.centred)

    @property
    def centred(self) -> np.ndarray:
        """Logits with mean zero over the classes; zero, that is no opinion, for an absent modality. (P, M, C)."""
        centred = self.logits - self.logits.mean(axis=-1, keepdims=True)
        return np.where(self.present[..., None], centred, 0.0)


def mean_probability(opinions: Opinions, learnt: None = None) -> np.ndarray:
    """Mean of the probabilities of the modalities a patient has, as logits (P, C)."""
    return _weighted_probability(opinions, np.ones(opinions.present.shape[1]))


def mean_logit(opinions: Opinions, learnt: None = None) -> np.ndarray:
    """Mean of the logits of the modalities a patient has (P, C): the normalised product of the probabilities."""
    weights = opinions.present / opinions.present.sum(axis=1, keepdims=True)
    mean: np.ndarray = np.einsum("pm,pmc->pc", weights, opinions.centred)
    return mean


def learn_weights(opinions: Opinions, labels: np.ndarray) -> dict[str, Any]:
    """Weights of a mean of probabilities that make the labels most likely; non-negative, summing to 1.

    A normal prior on their logarithms counts as much as one patient, so that a few patients cannot
    silence a modality.
    """

    def loss(logarithms: np.ndarray) -> float:
        fused = _weighted_probability(opinions, softmax(logarithms))
        return _log_loss(fused, labels) + float(logarithms @ logarithms) / (2 * len(labels))

    start = np.zeros(opinions.present.shape[1])
    return {"weights": softmax(minimize(loss, start).x).tolist()}


def apply_weights(opinions: Opinions, learnt: dict[str, Any]) -> np.ndarray:
    """Weighted mean of probabilities, renormalised over the modalities a patient has, as logits (P, C)."""
    return _weighted_probability(opinions, np.asarray(learnt["weights"]))


def learn_stack(opinions: Opinions, labels: np.ndarray) -> dict[str, Any]:
    """Multinomial logistic regression with ridge penalty on all modalities' logits (stacking, Wolpert 1992)."""
    n_classes = opinions.logits.shape[2]
    model = LogisticRegression(C=STACK_C, max_iter=1000).fit(_columns(opinions), labels)
    coefficients = np.zeros((n_classes, _columns(opinions).shape[1]))
    intercept = np.full(n_classes, -1e3)  # a class that inner validation lacks cannot be predicted
    # Two classes get one row of coefficients, that of the second against the first.
    rows = model.coef_ if len(model.classes_) > 2 else np.concatenate([-model.coef_, model.coef_]) / 2
    offsets = model.intercept_ if len(model.classes_) > 2 else np.concatenate([-model.intercept_, model.intercept_]) / 2
    coefficients[model.classes_], intercept[model.classes_] = rows, offsets
    return {"coefficients": coefficients.tolist(), "intercept": intercept.tolist()}


def apply_stack(opinions: Opinions, learnt: dict[str, Any]) -> np.ndarray:
    """Logits (P, C) of the learnt regression."""
    logits: np.ndarray = _columns(opinions) @ np.asarray(learnt["coefficients"]).T + np.asarray(learnt["intercept"])
    return logits


STACK_C = 0.3  # few patients, many columns: lean on the mean of the modalities


@dataclass(frozen=True)
class LateHead:
    """How to fuse, and what to learn from inner validation first, if anything."""

    apply: Callable[[Opinions, Any], np.ndarray]
    learn: Callable[[Opinions, np.ndarray], dict[str, Any]] | None = None


LATE: dict[str, LateHead] = {
    "late-mean": LateHead(mean_probability),
    "late-logit": LateHead(mean_logit),
    "late-weighted": LateHead(apply_weights, learn_weights),
    "late-stacked": LateHead(apply_stack, learn_stack),
}


def _weighted_probability(opinions: Opinions, weights: np.ndarray) -> np.ndarray:
    held = opinions.present * weights
    # Where every modality a patient has was given the weight zero, they count alike.
    held = np.where(held.sum(axis=1, keepdims=True) > SMALLEST, held, opinions.present)
    probs = np.einsum("pm,pmc->pc", held / held.sum(axis=1, keepdims=True), opinions.probs)
    logits: np.ndarray = np.log(np.maximum(probs, SMALLEST))
    return logits


def _log_loss(logits: np.ndarray, labels: np.ndarray) -> float:
    return float(-np.log(np.maximum(softmax(logits)[np.arange(len(labels)), labels], SMALLEST)).mean())


def _columns(opinions: Opinions) -> np.ndarray:
    """Shape (P, M * C)."""
    return opinions.centred.reshape(len(opinions.centred), -1)
