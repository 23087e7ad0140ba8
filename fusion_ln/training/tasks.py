"""Tasks: a model, its loss on a batch, and its score on validation patients."""

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
from fusion_ln.images.batches import Batch, as_network_input
from fusion_ln.metrics import PRIMARY, score
from fusion_ln.predictions import Predictions, predictions_from_logits


class Labelled(Protocol):
    """A batch as `fit` needs it, whatever else it holds."""

    @property
    def patients(self) -> np.ndarray:
        """Patients of the batch. Length B."""


B_co = TypeVar("B_co", bound=Labelled, covariant=True)
B_contra = TypeVar("B_contra", bound=Labelled, contravariant=True)


class BatchLoader(Protocol[B_co]):
    """Source of the batches of a data set."""

    @property
    def batch_size(self) -> int:
        """Pictures or patients of a batch."""

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""

    def shuffled(self, epoch: int) -> Iterator[B_co]:
        """Yield the batches of a training epoch; the same for the same epoch."""

    def in_order(self) -> Iterator[B_co]:
        """Yield everything once."""


@dataclass(frozen=True)
class ValidationScore:
    """Validation loss and AUC; the loss selects the epoch."""

    loss: float
    auc: float


class Task(Protocol[B_contra]):
    """A model and how it is trained and validated by `fit`."""

    @property
    def model(self) -> nn.Module:
        """The model to train, whose weights the checkpoint holds."""

    def loss(self, model: nn.Module, batch: B_contra, device: torch.device) -> Tensor:
        """Compute the loss of a training batch; ``model`` is `model` as the device runs it."""

    def validate(self, batches: BatchLoader[B_contra], device: torch.device) -> ValidationScore:
        """Score `model` on whole patients."""


@dataclass(frozen=True)
class PatientLogits:
    """Logits of patients, each the mean over the patient's pictures.

    Attributes:
        patients: Sorted. Length P.
        labels: Shape (P,).
        logits: float64, shape (P, C).
    """

    patients: list[str]
    labels: np.ndarray
    logits: np.ndarray

    def of_fold(self, classes: tuple[str, ...], fold: int) -> Predictions:
        """Convert to predictions of an outer fold's model."""
        folds = np.full(len(self.patients), fold)
        return predictions_from_logits(classes, self.patients, folds, self.labels, self.logits)

    @property
    def score(self) -> ValidationScore:
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
    """Classification of single pictures of one modality."""

    modality: str
    model: nn.Module
    augmentation: float = 1.0  # strength
    label_smoothing: float = 0.0

    def loss(self, model: nn.Module, batch: Batch, device: torch.device) -> Tensor:
        """Compute the cross-entropy of one batch, augmented."""
        pictures = as_network_input(batch.pictures.to(device))
        logits: Tensor = model(augment(pictures, self.modality, self.augmentation))
        return F.cross_entropy(logits, batch.labels.to(device), label_smoothing=self.label_smoothing)

    def validate(self, batches: BatchLoader[Batch], device: torch.device) -> ValidationScore:
        """Score the model on the patients of ``batches``."""
        return self.predict(batches, device).score

    def predict(self, batches: BatchLoader[Batch], device: torch.device) -> PatientLogits:
        """Predict the logits of every patient of ``batches``."""
        model = self.model.eval()
        logits, labels, patients = [], [], []
        with torch.inference_mode():
            for batch in batches.in_order():
                logits.append(model(as_network_input(batch.pictures.to(device))).double())
                labels.append(batch.labels)
                patients.append(batch.patients)
        on_host = [torch.cat(parts).cpu().numpy() for parts in (labels, logits)]  # one wait for the device
        return mean_over_pictures(np.concatenate(patients), *on_host)


def mean_over_pictures(patients: np.ndarray, labels: np.ndarray, logits: np.ndarray) -> PatientLogits:
    """Average the logits of N pictures (N, C) by patient; patients and labels have shape (N,)."""
    names, first, places = np.unique(patients, return_index=True, return_inverse=True)
    total = np.zeros((len(names), logits.shape[1]))
    np.add.at(total, places, logits)
    return PatientLogits(names.tolist(), labels[first], total / np.bincount(places)[:, None])
