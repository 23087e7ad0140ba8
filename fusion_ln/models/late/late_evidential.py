"""Evidential fusion: Dirichlet opinions of the modalities, joined by Dempster's rule."""

import torch
from torch import Tensor

from fusion_ln.models.late.base import LATE_FLOOR, LateHead, Learnt, ModalityLogits
from fusion_ln.models.late.temperature import calibrate, learn_temperatures

TITLE = "Dempster's rule"
ORDER = 7
ON_REQUEST = True

MOST_LOGIT = 30.0  # keeps the evidence finite


def combine_opinions(modality_logits: ModalityLogits, learnt: Learnt) -> Tensor:
    """Join the opinions of the modalities a patient has; a doubtful modality weighs less. Logits (P, C).

    The evidence of a class is the exponential of its calibrated logit; evidence e gives the beliefs e / S and the doubt
    C / S with S = sum of e + C, as in trusted multi-view classification (Han et al. 2021, arXiv 2102.02051), whose
    networks learn the evidence; here they did not. The rule takes modalities in turn, and their order does not matter.
    """
    calibrated = calibrate(modality_logits, learnt)
    evidence = torch.where(
        calibrated.present[..., None], calibrated.centred.clamp(max=MOST_LOGIT).exp(), 0
    )  # (P, M, C)
    n_classes = evidence.shape[-1]
    strength = evidence.sum(-1, keepdim=True) + n_classes
    beliefs, doubts = evidence / strength, n_classes / strength  # (P, M, C), (P, M, 1)
    belief, doubt = beliefs[:, 0], doubts[:, 0]
    for other, doubted in zip(beliefs.unbind(1)[1:], doubts.unbind(1)[1:], strict=True):
        agreed = belief * other + belief * doubted + other * doubt
        total = agreed.sum(-1, keepdim=True) + doubt * doubted  # 1 - conflict
        belief, doubt = agreed / total, doubt * doubted / total
    return (belief + doubt / n_classes).clamp(min=LATE_FLOOR).log()


HEAD = LateHead(combine_opinions, learn_temperatures)
