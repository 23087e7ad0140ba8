"""Task of a fusion: classification of whole patients, also where modalities are missing."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fusion_ln.images.batches import balanced_rows
from fusion_ln.training.fit import FitResult
from fusion_ln.training.tasks import BatchLoader, PatientLogits, ValidationScore


class FusionBatch(Protocol):
    """A batch of B patients, as pictures or as tokens."""

    @property
    def labels(self) -> Tensor:
        """Shape (B,)."""

    @property
    def patients(self) -> np.ndarray:
        """Length B."""

    @property
    def modalities_present(self) -> Tensor:
        """Presence mask of the modalities. bool, shape (B, M)."""

    def inputs(self, kept: Tensor, device: torch.device) -> tuple[object, ...]:
        """Prepare the input of the model from the ``kept`` modalities (B, M)."""


class FusionBank(Protocol):
    """All patients of a cohort, from which batches are cut."""

    @property
    def labels(self) -> np.ndarray:
        """Class of every patient. Shape (P,)."""

    def of(self, patients: list[str]) -> np.ndarray:
        """Find the positions of those of ``patients`` who have a picture."""

    def cut(self, positions: np.ndarray, rng: np.random.Generator | None = None) -> FusionBatch:
        """Gather the patients at some positions; with ``rng`` augmented, for training."""


@dataclass(frozen=True)
class PatientBatches:
    """Batches of some patients of a bank; in training the classes are balanced by random over-sampling.

    Attributes:
        positions: Positions of the patients.
        share: (rank, world size): with several devices each takes its own part of every batch.
    """

    bank: FusionBank
    positions: np.ndarray
    batch_size: int
    seed: int = 0
    share: tuple[int, int] = (0, 1)

    def __len__(self) -> int:
        """Return the number of batches of a training epoch."""
        counts = np.unique(self.bank.labels[self.positions], return_counts=True)[1]
        return max(1, int(counts.max() * len(counts)) // self.batch_size)

    def shuffled(self, epoch: int) -> Iterator[FusionBatch]:
        """Yield the batches of a training epoch; the same for the same epoch."""
        rng = np.random.default_rng([self.seed, epoch])
        positions = rng.permutation(balanced_rows(self.positions, self.bank.labels[self.positions], rng))
        rank, world = self.share
        for start in range(0, len(self) * self.batch_size, self.batch_size):
            yield self.bank.cut(positions[start : start + self.batch_size][rank::world], rng)

    def in_order(self) -> Iterator[FusionBatch]:
        """Yield every patient once."""
        for start in range(0, len(self.positions), self.batch_size):
            yield self.bank.cut(self.positions[start : start + self.batch_size])


@dataclass(frozen=True)
class FusionTask:
    """Classification of patients from all their pictures.

    Attributes:
        model: Takes the inputs of a batch of `FusionBatch`.
        modality_dropout: Chance that a training step leaves a modality out, but never all of a patient's.
        auxiliary: Weight of the loss of each modality alone, beside that of all together.
    """

    model: nn.Module
    modality_dropout: float = 0.0
    auxiliary: float = 0.0

    def loss(self, model: nn.Module, batch: FusionBatch, device: torch.device) -> Tensor:
        """Compute the cross-entropy of one batch."""
        present = batch.modalities_present
        kept = present & (torch.rand(present.shape) >= self.modality_dropout)
        kept = torch.where(kept.any(1, keepdim=True), kept, present)
        labels = batch.labels.to(device)
        loss = F.cross_entropy(model(*batch.inputs(kept, device)), labels)
        if self.auxiliary:
            n_modalities = present.shape[1]
            alone = torch.randint(n_modalities, (len(present),))  # one of those that each patient has
            alone = torch.where(present[torch.arange(len(present)), alone], alone, present.int().argmax(1))
            only = F.one_hot(alone, n_modalities).bool()
            loss = loss + self.auxiliary * F.cross_entropy(model(*batch.inputs(only, device)), labels)
        return loss

    def validate(self, batches: BatchLoader[FusionBatch], device: torch.device) -> ValidationScore:
        """Score the model on all pictures of the patients of ``batches``."""
        return self.predict(batches, device).score

    def predict(
        self, batches: BatchLoader[FusionBatch], device: torch.device, modalities: Sequence[bool] | None = None
    ) -> PatientLogits:
        """Predict the patients of ``batches`` who have all of some modalities, from these alone (None: any, all)."""
        model = self.model.eval()
        logits, labels, patients = [], [], []
        with torch.inference_mode():
            for batch in batches.in_order():
                kept, complete = batch.modalities_present, np.ones(len(batch.patients), dtype=bool)
                if modalities is not None:
                    chosen = torch.tensor(modalities)
                    complete = batch.modalities_present[:, chosen].all(1).numpy()
                    kept = batch.modalities_present & chosen
                if complete.any():
                    logits.append(model(*batch.inputs(kept, device)).double().cpu().numpy()[complete])
                    labels.append(batch.labels.numpy()[complete])
                    patients += batch.patients[complete].tolist()
        return PatientLogits(patients, np.concatenate(labels), np.concatenate(logits))


@dataclass(frozen=True)
class FittedFusion:
    """A fold's fusion after its fit.

    Attributes:
        task: With the weights of its best epoch.
        bank: Patients as the task's model takes them.
        result: History of the fit, and the weights.
    """

    task: FusionTask
    bank: FusionBank
    result: FitResult
