import numpy as np
import pytest
import torch
from distilled import soft_loss
from scipy.special import log_softmax


def test_the_loss_of_a_student_is_the_cross_entropy_to_the_mixed_target(rng):
    logits, labels, soft = rng.normal(size=(6, 3)), rng.integers(0, 3, 6), rng.dirichlet(np.ones(3), 6)
    target = 0.25 * np.eye(3)[labels] + 0.75 * soft
    expected = -(target * log_softmax(logits, axis=1)).sum(axis=1).mean()
    found = soft_loss(torch.tensor(logits), torch.tensor(labels), torch.tensor(soft), 0.75)
    assert float(found) == pytest.approx(expected)
