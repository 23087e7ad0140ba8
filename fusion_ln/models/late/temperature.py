"""Calibrated logits: each modality's divided by a temperature that inner validation teaches."""

import numpy as np
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar

from fusion_ln.models.late.base import Learnt, ModalityLogits

WIDEST = 5.0  # of the logarithm of a temperature


def log_shares(labels: np.ndarray, n_classes: int) -> np.ndarray:
    """Compute the logarithm of each class's share of patients, one patient more in each. Shape (C,)."""
    counts = np.bincount(labels, minlength=n_classes) + 1.0
    return np.asarray(np.log(counts / counts.sum()))


def learn_temperatures(modality_logits: ModalityLogits, labels: np.ndarray) -> Learnt:
    """Fit a temperature for each modality by maximum likelihood (Guo et al. 2017, arXiv 1706.04599).

    The networks see all classes equally often, so the prior of these patients is added to the logits first. A normal
    prior on the logarithm of a temperature counts as much as one patient; a modality that nobody has keeps 1.

    Returns:
        ``temperatures``, of shape (M,).
    """
    n_modalities, n_classes = modality_logits.logits.shape[1:]
    prior = torch.from_numpy(log_shares(labels, n_classes))
    truth, logits = torch.from_numpy(np.array(labels)), modality_logits.centred

    def loss(logarithm: float, modality: int) -> float:
        held = modality_logits.present[:, modality]
        posterior = logits[held, modality] / np.exp(logarithm) + prior
        return float(F.cross_entropy(posterior, truth[held], reduction="sum")) + logarithm**2 / 2

    bounds = (-WIDEST, WIDEST)
    found = [minimize_scalar(loss, args=(m,), bounds=bounds, method="bounded").x for m in range(n_modalities)]
    return {"temperatures": np.exp(found).tolist()}


def calibrate(modality_logits: ModalityLogits, learnt: Learnt) -> ModalityLogits:
    """Divide the logits of each modality by its temperature."""
    n_modalities = modality_logits.present.shape[1]
    temperatures = modality_logits.logits.new_tensor(learnt["temperatures"]).reshape(n_modalities, 1)
    return ModalityLogits(modality_logits.logits / temperatures, modality_logits.present)
