"""What is learned: a model, its loss on a batch, and its score on patients who were not trained on."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy.special import softmax
from torch import Tensor, nn

from fusion_ln.errors import PredictionsError
from fusion_ln.images.augment import augment
from fusion_ln.images.bank import Batch, as_network_input
from fusion_ln.metrics import PRIMARY, score


class Labelled(Protocol):
    """Any batch: what `fit` itself needs to know of it."""

    @property
    def patients(self) -> np.ndarray:
        """Patients of the batch. Length B."""


B_co = TypeVar("B_co", bound=Labelled, covariant=True)
B_contra = TypeVar("B_contra", bound=Labelled, contravariant=True)


class BatchLoader(Protocol[B_co]):
    """Where batches come from."""

    @property
    def batch_size(self) -> int:
        """Pictures or patients of a batch."""

    def __len__(self) -> int:
        """Number of batches of an epoch."""

    def shuffled(self, epoch: int) -> Iterator[B_co]:
        """The batches of a training epoch; the same for the same epoch."""

    def in_order(self) -> Iterator[B_co]:
        """Everything once."""


@dataclass(frozen=True)
class ValidationScore:
    """How good a model is on patients who were not trained on; the loss decides which epoch is best."""

    loss: float
    auc: float


class Task(Protocol[B_contra]):
    """What `fit` learns."""

    @property
    def model(self) -> nn.Module:
        """What is trained, and what the checkpoint holds."""

    def loss(self, model: nn.Module, batch: B_contra, device: torch.device) -> Tensor:
        """Loss of a training batch; ``model`` is `model` as the device runs it."""

    def validate(self, batches: BatchLoader[B_contra], device: torch.device) -> ValidationScore:
        """Score of `model` on whole patients."""


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
    def verdict(self) -> ValidationScore:
        """Mean cross-entropy over the patients, and macro one-vs-rest AUC (nan where a class has no patient)."""
        loss = float(F.cross_entropy(torch.from_numpy(self.logits), torch.from_numpy(self.labels)))
        classes = tuple(map(str, range(self.logits.shape[1])))
        try:
            auc = float(score(self.labels, softmax(self.logits, axis=1), classes)[PRIMARY][0])
        except PredictionsError:
            auc = float("nan")
        return ValidationScore(loss, auc)


@dataclass(frozen=True)
class PictureTask:
    """Tell the classes apart from single pictures of one modality."""

    modality: str
    model: nn.Module
    augmentation: float = 1.0  # strength

    def loss(self, model: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Cross-entropy of one batch, augmented."""
        pictures = as_network_input(batch.pictures.to(device))
        logits: Tensor = model(augment(pictures, self.modality, self.augmentation))
        return F.cross_entropy(logits, batch.labels.to(device))

    def validate(self, batches: BatchLoader[Batch], device: torch.device) -> ValidationScore:
        """Score on the patients of ``batches``."""
        return self.predict(batches, device).verdict

    def predict(self, batches: BatchLoader[Batch], device: torch.device) -> PatientLogits:
        """Logits of every patient of ``batches``."""
        model = self.model.eval()
        logits, labels, patients = [], [], []
        with torch.inference_mode():
            for batch in batches.in_order():
                logits.append(model(as_network_input(batch.pictures.to(device))).double().cpu().numpy())
                labels.append(batch.labels.numpy())
                patients.append(batch.patients)
        return mean_over_pictures(np.concatenate(patients), np.concatenate(labels), np.concatenate(logits))


def mean_over_pictures(patients: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> PatientLogits:
    """Patient and label of each picture, shape (N,), and its logits (N, C), to one row per patient."""
    names, first, owner = np.unique(patients, return_index=True, return_inverse=True)
    total = np.zeros((len(names), logits.shape[1]))
    np.add.at(total, owner, logits)
    return PatientLogits(names.tolist(), labels[first], total / np.bincount(owner)[:, None])
