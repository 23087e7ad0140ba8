"""Several sets of pictures as one task for the loop: a batch is of one set, and each set has its own head."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fusion_ln.images.augment import augment
from fusion_ln.images.bank import Batch, Batches, as_network_input
from fusion_ln.models.classifier import MultiTaskClassifier
from fusion_ln.training.tasks import BatchLoader, PatientLogits, ValidationScore, mean_over_pictures

Order = Literal["sequential", "interleaved"]


@dataclass(frozen=True)
class TaskBatch:
    """A batch of the set with the number ``task``."""

    task: int
    batch: Batch

    @property
    def patients(self) -> np.ndarray:
        return self.batch.patients


@dataclass(frozen=True)
class TaskBatches:
    """The batches of several sets.

    Attributes:
        parts: One per set.
        order: Within an epoch: one set after another, as Jiang et al. 2025 do, or batches of all sets mixed.
        on_batch: Told of the epoch and the set before each training batch.
    """

    parts: tuple[Batches, ...]
    order: Order = "sequential"
    seed: int = 0
    on_batch: Callable[[int, int], None] = lambda epoch, task: None

    @property
    def batch_size(self) -> int:
        return self.parts[0].batch_size

    def __len__(self) -> int:
        """Number of batches of an epoch."""
        return sum(map(len, self.parts))

    def shuffled(self, epoch: int) -> Iterator[TaskBatch]:
        """The batches of a training epoch; the same for the same epoch."""
        tasks = np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])
        if self.order == "interleaved":
            tasks = np.random.default_rng([self.seed, epoch]).permutation(tasks)
        streams = [part.shuffled(epoch) for part in self.parts]
        for task in tasks.tolist():
            self.on_batch(epoch, task)
            yield TaskBatch(task, next(streams[task]))

    def in_order(self) -> Iterator[TaskBatch]:
        """Every picture once, set after set."""
        for task, part in enumerate(self.parts):
            for batch in part.in_order():
                yield TaskBatch(task, batch)


@dataclass(frozen=True)
class MultiTaskLearning:
    """Tell the classes of every set apart from single pictures.

    Attributes:
        modalities: Modality of each set, which decides how its pictures may be augmented.
        on_verdicts: Told of the verdict of each set whenever they are judged.
    """

    model: MultiTaskClassifier
    modalities: tuple[str, ...]
    on_verdicts: Callable[[list[ValidationScore]], None] = lambda verdicts: None

    def loss(self, model: torch.nn.Module, batch: TaskBatch, device: torch.device) -> Tensor:
        """Cross-entropy of one batch, augmented."""
        pictures = augment(as_network_input(batch.batch.pictures.to(device)), self.modalities[batch.task])
        return F.cross_entropy(model(pictures, batch.task), batch.batch.labels.to(device))

    def validate(self, batches: BatchLoader[TaskBatch], device: torch.device) -> ValidationScore:
        """The mean of the sets' losses and AUCs: every set counts the same, however large it is."""
        verdicts = [said.verdict for said in self.predict(batches, device)]
        self.on_verdicts(verdicts)
        losses, aucs = zip(*((verdict.loss, verdict.auc) for verdict in verdicts), strict=True)
        return ValidationScore(float(np.mean(losses)), float(np.mean(aucs)))

    def predict(self, batches: BatchLoader[TaskBatch], device: torch.device) -> list[PatientLogits]:
        """Logits of every patient, by set."""
        model = self.model.eval()
        said: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in self.modalities]
        with torch.inference_mode():
            for batch in batches.in_order():
                logits = model(as_network_input(batch.batch.pictures.to(device)), batch.task)
                parts = (batch.patients, batch.batch.labels.numpy(), logits.double().cpu().numpy())
                said[batch.task].append(parts)
        return [mean_over_pictures(*map(np.concatenate, zip(*parts, strict=True))) for parts in said]
