"""Mean of calibrated logits, their temperatures learnt on inner validation."""

from torch import Tensor

from fusion_ln.models.late.base import LateHead, Learnt, ModalityLogits
from fusion_ln.models.late.late_logit import mean_logit
from fusion_ln.models.late.temperature import calibrate, learn_temperatures

TITLE = "Mean of calibrated logits"
ORDER = 5
ON_REQUEST = True


def mean_calibrated_logit(modality_logits: ModalityLogits, learnt: Learnt) -> Tensor:
    """Average the calibrated logits of the modalities a patient has. Logits (P, C)."""
    return mean_logit(calibrate(modality_logits, learnt), learnt)


HEAD = LateHead(mean_calibrated_logit, learn_temperatures)
