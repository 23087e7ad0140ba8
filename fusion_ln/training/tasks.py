"""What is learned: a model, its loss on a batch, and its score on patients who were not trained on."""

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_ln.errors import PredictionsError
from fusion_ln.images.augment import augment
from fusion_ln.images.bank import Batches
from fusion_ln.metrics import score
from fusion_ln.predictions import softmax


@dataclass(frozen=True)
class PatientLogits:
    """A patient's prediction: the mean of the logits over the patient's pictures.

    Attributes:
        patients: Sorted. Length P.
        labels: Shape (P,).
        logits: float64, shape (P, C).
    """

    patients: list[str]
    labels: np.ndarray
    logits: np.ndarray

    @property
    def loss(self) -> float:
        """Mean cross-entropy over the patients."""
        return float(F.cross_entropy(torch.from_numpy(self.logits), torch.from_numpy(self.labels)))

    @property
    def auc(self) -> float:
        """Macro one-vs-rest AUC; not a number where a class has no patient."""
        classes = tuple(map(str, range(self.logits.shape[1])))
        try:
            return float(score(self.labels, softmax(self.logits), classes)["auc_ovr"][0])
        except PredictionsError:
            return float("nan")


@dataclass(frozen=True)
class PictureTask:
    """Tell the classes apart from single pictures of one modality."""

    modality: str
    model: nn.Module

    def loss(self, model: nn.Module, pictures: Tensor, labels: Tensor) -> Tensor:
        """Cross-entropy of one augmented batch; ``pictures`` uint8 (B, 3, S, S) on the model's device."""
        logits: Tensor = model(augment(as_network_input(pictures), self.modality))
        return F.cross_entropy(logits, labels)

    def predict(self, model: nn.Module, batches: Batches, device: torch.device) -> PatientLogits:
        """Logits of every patient of ``batches``."""
        model.eval()
        logits, labels, patients = [], [], []
        with torch.inference_mode():
            for batch in batches.in_order():
                logits.append(model(as_network_input(batch.pictures.to(device))).double().cpu().numpy())
                labels.append(batch.labels.numpy())
                patients.append(batch.patients)
        return _mean_over_pictures(np.concatenate(patients), np.concatenate(labels), np.concatenate(logits))


def as_network_input(pictures: Tensor) -> Tensor:
    """uint8 (B, 3, S, S) to float in [0, 1], channels last: the layout that convolutions are fastest with."""
    return pictures.contiguous(memory_format=torch.channels_last).float().div_(255)


def _mean_over_pictures(patients: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> PatientLogits:
    names, first, owner = np.unique(patients, return_index=True, return_inverse=True)
    total = np.zeros((len(names), logits.shape[1]))
    np.add.at(total, owner, logits)
    return PatientLogits(names.tolist(), labels[first], total / np.bincount(owner)[:, None])
