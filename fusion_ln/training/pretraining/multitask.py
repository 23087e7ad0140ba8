"""Several tasks as one for the training loop: a batch belongs to one task, and each task has its own head."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from fusion_ln.compute.threads import one_thread_each
from fusion_ln.images.augment import augment
from fusion_ln.images.batches import Batch, Batches, as_network_input
from fusion_ln.models.classifier import MultiTaskClassifier
from fusion_ln.settings.pretraining import Order
from fusion_ln.threads import cores
from fusion_ln.training.tasks import BatchLoader, PatientLogits, ValidationScore, mean_over_pictures


@dataclass(frozen=True)
class TaskBatch:
    """A batch of the task with the number ``task``."""

    task: int
    batch: Batch

    @property
    def patients(self) -> np.ndarray:
        return self.batch.patients


@dataclass(frozen=True)
class TaskBatches:
    """Batches of several tasks.

    Attributes:
        parts: One per task.
        order: Within an epoch: one task after another, as Jiang et al. 2025 do, or batches of all tasks mixed.
        on_batch: Called with the epoch and the task before each training batch.
    """

    parts: tuple[Batches, ...]
    order: Order = "sequential"
    seed: int = 0
    on_batch: Callable[[int, int], None] = lambda epoch, task: None

    @property
    def batch_size(self) -> int:
        return self.parts[0].batch_size

    def __len__(self) -> int:
        """Return the number of batches of an epoch."""
        return sum(map(len, self.parts))

    def shuffled(self, epoch: int) -> Iterator[TaskBatch]:
        """Yield the batches of a training epoch; the same for the same epoch."""
        tasks = np.repeat(np.arange(len(self.parts)), [len(part) for part in self.parts])
        if self.order == "interleaved":
            tasks = np.random.default_rng([self.seed, epoch]).permutation(tasks)
        streams = [part.shuffled(epoch) for part in self.parts]
        for task in tasks.tolist():
            self.on_batch(epoch, task)
            yield TaskBatch(task, next(streams[task]))

    def in_order(self) -> Iterator[TaskBatch]:
        """Yield every picture once, task after task."""
        for task, part in enumerate(self.parts):
            for batch in part.in_order():
                yield TaskBatch(task, batch)


@dataclass(frozen=True)
class MultiTaskLearning:
    """Classification of single pictures, in several tasks.

    Attributes:
        modalities: Modality of each task, which decides how its pictures may be augmented.
        augmentation: Strength of augmentation.
        label_smoothing: Share of each label that is spread over all classes of its task.
        on_scores: Called with the score of each task at each validation.
    """

    model: MultiTaskClassifier
    modalities: tuple[str, ...]
    on_scores: Callable[[list[ValidationScore]], None] = lambda scores: None
    augmentation: float = 1.0
    label_smoothing: float = 0.0

    def loss(self, model: torch.nn.Module, batch: TaskBatch, device: torch.device) -> Tensor:
        """Compute the cross-entropy of one batch, augmented."""
        pictures = as_network_input(batch.batch.pictures.to(device))
        pictures = augment(pictures, self.modalities[batch.task], self.augmentation)
        logits, labels = model(pictures, batch.task), batch.batch.labels.to(device)
        return F.cross_entropy(logits, labels, label_smoothing=self.label_smoothing)

    def validate(self, batches: BatchLoader[TaskBatch], device: torch.device) -> ValidationScore:
        """Average loss and AUC over the tasks: every task counts the same, however large it is."""
        scores = [logits.score for logits in self.predict(batches, device)]
        self.on_scores(scores)
        losses, aucs = zip(*((score.loss, score.auc) for score in scores), strict=True)
        return ValidationScore(float(np.mean(losses)), float(np.mean(aucs)))

    def predict(self, batches: BatchLoader[TaskBatch], device: torch.device) -> list[PatientLogits]:
        """Predict the logits of every patient, by task; each core computes a batch of its own."""
        model = self.model.eval()
        fast, kind = torch.is_autocast_enabled(device.type), torch.get_autocast_dtype(device.type)

        def ask(batch: TaskBatch) -> np.ndarray:
            with torch.inference_mode(), torch.autocast(device.type, kind, enabled=fast):  # modes are a thread's own
                logits = model(as_network_input(batch.batch.pictures.to(device)), batch.task)
                return np.asarray(logits.double().cpu().numpy())

        predicted: list[list[tuple[np.ndarray, np.ndarray, np.ndarray]]] = [[] for _ in self.modalities]
        stream, n = batches.in_order(), cores()
        with one_thread_each(), ThreadPoolExecutor(n) as pool:
            while group := list(islice(stream, n)):
                for batch, logits in zip(group, pool.map(ask, group), strict=True):
                    predicted[batch.task].append((batch.patients, batch.batch.labels.cpu().numpy(), logits))
        return [mean_over_pictures(*map(np.concatenate, zip(*parts, strict=True))) for parts in predicted]
