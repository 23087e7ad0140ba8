"""Late fusion: one opinion per patient from what the modalities' own networks say."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.special import softmax
from sklearn.linear_model import LogisticRegression
from torch import Tensor

SMALLEST = 1e-12  # keeps logarithms finite


@dataclass(frozen=True)
class ModalityLogits:
    """What M single-modality models say of P patients over C classes.

    Attributes:
        logits: Shape (P, M, C); what stands for an absent modality is never read.
        present: Which modalities each patient has. bool, shape (P, M), at least one per row.
    """

    logits: Tensor
    present: Tensor

    @property
    def probs(self) -> Tensor:
        """Shape (P, M, C); an absent modality's are uniform."""
        return self.centred.softmax(-1)

    @property
    def centred(self) -> Tensor:
        """Logits with mean zero over the classes; zero, that is no opinion, for an absent modality. (P, M, C)."""
        return torch.where(self.present[..., None], self.logits - self.logits.mean(-1, keepdim=True), 0)


def mean_probability(opinions: ModalityLogits, learnt: None = None) -> Tensor:
    """Mean of the probabilities of the modalities a patient has, as logits (P, C)."""
    return _weighted_probability(opinions, opinions.logits.new_ones(opinions.present.shape[1]))


def mean_logit(opinions: ModalityLogits, learnt: None = None) -> Tensor:
    """Mean of the logits of the modalities a patient has (P, C): the normalised product of the probabilities."""
    return opinions.centred.sum(1) / opinions.present.sum(1, keepdim=True)


def learn_weights(opinions: ModalityLogits, labels: np.ndarray) -> dict[str, Any]:
    """Weights of a mean of probabilities that make the labels most likely; non-negative, summing to 1.

    A normal prior on their logarithms counts as much as one patient, so that a few patients cannot
    silence a modality.
    """
    truth = torch.from_numpy(np.array(labels))

    def loss(logarithms: np.ndarray) -> float:
        fused = _weighted_probability(opinions, torch.from_numpy(softmax(logarithms)))
        return float(F.cross_entropy(fused, truth)) + float(logarithms @ logarithms) / (2 * len(labels))

    start = np.zeros(opinions.present.shape[1])
    return {"weights": softmax(minimize(loss, start).x).tolist()}


def apply_weights(opinions: ModalityLogits, learnt: dict[str, Any]) -> Tensor:
    """Weighted mean of probabilities, renormalised over the modalities a patient has, as logits (P, C)."""
    return _weighted_probability(opinions, opinions.logits.new_tensor(learnt["weights"]))


def learn_stack(opinions: ModalityLogits, labels: np.ndarray) -> dict[str, Any]:
    """Multinomial logistic regression with ridge penalty on all modalities' logits (stacking, Wolpert 1992)."""
    n_classes = opinions.logits.shape[2]
    columns = opinions.centred.flatten(1).numpy()
    model = LogisticRegression(C=STACK_C, max_iter=1000).fit(columns, labels)
    coefficients = np.zeros((n_classes, columns.shape[1]))
    intercept = np.full(n_classes, -1e3)  # a class that inner validation lacks cannot be predicted
    # Two classes get one row of coefficients, that of the second against the first.
    rows = model.coef_ if len(model.classes_) > 2 else np.concatenate([-model.coef_, model.coef_]) / 2
    offsets = model.intercept_ if len(model.classes_) > 2 else np.concatenate([-model.intercept_, model.intercept_]) / 2
    coefficients[model.classes_], intercept[model.classes_] = rows, offsets
    return {"coefficients": coefficients.tolist(), "intercept": intercept.tolist()}


def apply_stack(opinions: ModalityLogits, learnt: dict[str, Any]) -> Tensor:
    """Logits (P, C) of the learnt regression."""
    columns = opinions.centred.flatten(1)
    return F.linear(columns, columns.new_tensor(learnt["coefficients"]), columns.new_tensor(learnt["intercept"]))


STACK_C = 0.3  # few patients, many columns: lean on the mean of the modalities


@dataclass(frozen=True)
class LateHead:
    """How to fuse, and what to learn from inner validation first, if anything."""

    apply: Callable[[ModalityLogits, Any], Tensor]
    learn: Callable[[ModalityLogits, np.ndarray], dict[str, Any]] | None = None


LATE: dict[str, LateHead] = {
    "late-mean": LateHead(mean_probability),
    "late-logit": LateHead(mean_logit),
    "late-weighted": LateHead(apply_weights, learn_weights),
    "late-stacked": LateHead(apply_stack, learn_stack),
}


def _weighted_probability(opinions: ModalityLogits, weights: Tensor) -> Tensor:
    held = opinions.present * weights
    # Where every modality a patient has was given the weight zero, they count alike.
    held = torch.where(held.sum(1, keepdim=True) > SMALLEST, held, opinions.present.to(held.dtype))
    probs = ((held / held.sum(1, keepdim=True))[..., None] * opinions.probs).sum(1)
    return probs.clamp(min=SMALLEST).log()
