"""Mean of probabilities."""

from torch import Tensor

from fusion_ln.models.late.base import LateHead, Learnt, ModalityLogits, weighted_probability

TITLE = "Mean of probabilities"
ORDER = 1


def mean_probability(modality_logits: ModalityLogits, learnt: Learnt | None = None) -> Tensor:
    """Average the probabilities of the modalities a patient has. Logits (P, C)."""
    return weighted_probability(modality_logits, modality_logits.logits.new_ones(modality_logits.present.shape[1]))


HEAD = LateHead(mean_probability)
