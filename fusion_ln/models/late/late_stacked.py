"""Stacking: multinomial regression on the logits of all modalities, learnt on inner validation."""

import numpy as np
import torch.nn.functional as F
from torch import Tensor

from fusion_ln.models.late.base import LateHead, Learnt, ModalityLogits

TITLE = "Stacking"
ORDER = 4

INVERSE_RIDGE = 0.3  # `C` of the regression: few patients, many columns: lean on the mean of the modalities


def learn_stack(modality_logits: ModalityLogits, labels: np.ndarray) -> Learnt:
    """Fit a multinomial logistic regression with ridge penalty on all modalities' logits (stacking, Wolpert 1992)."""
    from sklearn.linear_model import LogisticRegression  # slow to import, and only learning needs it

    n_classes = modality_logits.logits.shape[2]
    columns = modality_logits.centred.flatten(1).numpy()
    model = LogisticRegression(C=INVERSE_RIDGE, max_iter=1000).fit(columns, labels)
    coefficients = np.zeros((n_classes, columns.shape[1]))
    intercept = np.full(n_classes, -1e3)  # a class that inner validation lacks cannot be predicted
    # Two classes get one row of coefficients, that of the second against the first.
    rows = model.coef_ if len(model.classes_) > 2 else np.concatenate([-model.coef_, model.coef_]) / 2
    offsets = model.intercept_ if len(model.classes_) > 2 else np.concatenate([-model.intercept_, model.intercept_]) / 2
    coefficients[model.classes_], intercept[model.classes_] = rows, offsets
    return {"coefficients": coefficients.tolist(), "intercept": intercept.tolist()}


def apply_stack(modality_logits: ModalityLogits, learnt: Learnt) -> Tensor:
    """Apply the learnt regression. Logits (P, C)."""
    columns = modality_logits.centred.flatten(1)
    return F.linear(columns, columns.new_tensor(learnt["coefficients"]), columns.new_tensor(learnt["intercept"]))


HEAD = LateHead(apply_stack, learn_stack)
