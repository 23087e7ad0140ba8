"""Weighted mean of probabilities, its weights learnt on inner validation."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize
from scipy.special import softmax
from torch import Tensor

from fusion_ln.models.late.base import LateHead, Learnt, ModalityLogits, weighted_probability

TITLE = "Learnt weights"
ORDER = 3


def learn_weights(modality_logits: ModalityLogits, labels: np.ndarray) -> Learnt:
    """Fit the weights of a mean of probabilities by maximum likelihood; non-negative, summing to 1.

    A normal prior on their logarithms counts as much as one patient, so that a few patients cannot
    silence a modality.
    """
    truth = torch.from_numpy(np.array(labels))

    def loss(logarithms: np.ndarray) -> float:
        fused = weighted_probability(modality_logits, torch.from_numpy(softmax(logarithms)))
        return float(F.cross_entropy(fused, truth)) + float(logarithms @ logarithms) / (2 * len(labels))

    start = np.zeros(modality_logits.present.shape[1])
    return {"weights": softmax(minimize(loss, start).x).tolist()}


def apply_weights(modality_logits: ModalityLogits, learnt: Learnt) -> Tensor:
    """Average probabilities with the learnt weights, renormalised over the modalities a patient has. Logits (P, C)."""
    return weighted_probability(modality_logits, modality_logits.logits.new_tensor(learnt["weights"]))


HEAD = LateHead(apply_weights, learn_weights)
