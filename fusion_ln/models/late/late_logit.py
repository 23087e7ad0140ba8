"""Mean of logits."""

from torch import Tensor

from fusion_ln.models.late.base import LateHead, Learnt, ModalityLogits

TITLE = "Mean of logits"
ORDER = 2


def mean_logit(modality_logits: ModalityLogits, learnt: Learnt) -> Tensor:
    """Average the logits of the modalities a patient has (P, C): the normalised product of the probabilities."""
    return modality_logits.centred.sum(1) / modality_logits.present.sum(1, keepdim=True)


HEAD = LateHead(mean_logit)
