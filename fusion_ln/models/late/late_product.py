"""Product of experts: each modality's calibrated evidence, and the prior once."""

import numpy as np
from torch import Tensor

from fusion_ln.models.late.base import LateHead, Learnt, ModalityLogits
from fusion_ln.models.late.temperature import calibrate, learn_temperatures, log_shares

TITLE = "Product of experts"
ORDER = 6
ON_REQUEST = True


def learn_experts(modality_logits: ModalityLogits, labels: np.ndarray) -> Learnt:
    """Fit the temperatures of `learn_temperatures`, and the logarithm of the prior as ``log_prior`` (C,)."""
    log_prior = log_shares(labels, modality_logits.logits.shape[2])
    return {**learn_temperatures(modality_logits, labels), "log_prior": log_prior.tolist()}


def multiply_experts(modality_logits: ModalityLogits, learnt: Learnt) -> Tensor:
    """Multiply the calibrated probabilities of the modalities a patient has, the prior counted once. Logits (P, C).

    That is Bayes' rule where the modalities are independent given the class (Kittler et al. 1998, IEEE PAMI 20, 226);
    a finding that several show counts several times. The networks see all classes equally often, so their logits hold
    no prior.
    """
    logits = calibrate(modality_logits, learnt).centred.sum(1)
    return logits + logits.new_tensor(learnt["log_prior"]).reshape(logits.shape[1])


HEAD = LateHead(multiply_experts, learn_experts)
