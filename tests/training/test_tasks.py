import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from fusion_ln.images.batches import Batch
from fusion_ln.training.pretraining.multitask import MultiTaskLearning, TaskBatch
from fusion_ln.training.tasks import PictureTask

LOGITS = [[2.0, -1.0, 0.5], [0.0, 1.0, 3.0]]


class Constant(nn.Module):
    """A network of one answer."""

    def forward(self, pictures, task=0):
        return torch.tensor(LOGITS)


@pytest.mark.parametrize("pretraining", [False, True])
def test_smoothed_labels_are_spread_over_all_classes(pretraining):
    batch = Batch(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.tensor([0, 1]), np.array(["a", "b"]))
    if pretraining:
        task, batch = MultiTaskLearning(Constant(), ("2d",), label_smoothing=0.3), TaskBatch(0, batch)
    else:
        task = PictureTask("2d", Constant(), label_smoothing=0.3)
    labels = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1]])
    expected = -(labels * log_softmax(LOGITS, axis=1)).sum(axis=1).mean()
    assert float(task.loss(task.model, batch, torch.device("cpu"))) == pytest.approx(expected, rel=1e-6)
