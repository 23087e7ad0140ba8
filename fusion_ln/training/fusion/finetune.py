"""Training of a whole model, networks and head, from the pictures of triplets."""

import resource
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.images.augment import augment
from fusion_ln.images.bank import as_network_input, open_bank
from fusion_ln.images.patients import PatientBatch, PatientPictures, gather_pictures
from fusion_ln.models.triplet import TripletModel
from fusion_ln.settings import FinetuneSettings, HeadSettings
from fusion_ln.training.fit import derive_seed, fit
from fusion_ln.training.fusion.task import FusionTask, Learnt, PatientBatches


@dataclass(frozen=True)
class PictureBatch:
    """Some patients' pictures on their way to a whole model; ``changed``: augmented, for training."""

    pictures: PatientBatch
    clinical: Tensor
    modalities: tuple[str, ...]
    changed: bool

    @property
    def labels(self) -> Tensor:
        return self.pictures.labels

    @property
    def patients(self) -> np.ndarray:
        return self.pictures.patients

    @property
    def there(self) -> Tensor:
        """Which modalities each patient has. bool, shape (B, M)."""
        return self.pictures.present.any(2)

    def inputs(self, kept: Tensor, device: torch.device) -> tuple[list[Tensor], Tensor, Tensor]:
        """What a `TripletModel` takes, of these modalities (B, M) only."""
        present = self.pictures.present & kept[..., None]
        pictures = [
            self._prepared(modality, views.to(device))
            for modality, views in zip(self.modalities, self.pictures.pictures, strict=True)
        ]
        return pictures, present.to(device), self.clinical.to(device)

    def _prepared(self, modality: str, views: Tensor) -> Tensor:
        """uint8 (B, V, 3, S, S) to float in [0, 1]."""
        shown = as_network_input(views)
        return augment(shown.flatten(0, 1), modality).reshape(views.shape) if self.changed else shown


@dataclass(frozen=True)
class PictureBank:
    """Patients with their pictures and standardised clinical columns (P, K)."""

    pictures: PatientPictures
    clinical: np.ndarray

    @property
    def labels(self) -> np.ndarray:
        return self.pictures.labels

    def of(self, patients: list[str]) -> np.ndarray:
        """Positions of those of ``patients`` who have a picture."""
        return self.pictures.of(patients)

    def cut(self, who: np.ndarray, rng: np.random.Generator | None = None) -> PictureBatch:
        """The patients at positions ``who``; with ``rng`` their pictures are augmented, on the device."""
        clinical = torch.from_numpy(self.clinical[who])
        return PictureBatch(self.pictures.cut(who), clinical, tuple(self.pictures.banks), changed=rng is not None)


def finetune(
    cohort: Cohort,
    model: TripletModel,
    settings: HeadSettings,
    how: FinetuneSettings,
    clinical: np.ndarray,
    number: int,
    *,
    seed: int,
    fabric: Fabric,
    folder: Path,
) -> Learnt:
    """Train all of a fold's model, its networks at a share of the head's rate.

    Args:
        model: The fold's baselines under its head, which was trained on their tokens.
        settings: Of the head.
        how: Of the fine-tuning.
        clinical: Of all patients with a picture, sorted by patient. Shape (P, K).
        number: The fold; its held-out patients are not looked at.
        folder: For the state of an interrupted fit.

    Raises:
        DivergedError: If a loss stops being a number.
    """
    bank = PictureBank(gather_pictures({m: open_bank(cohort, m, side) for m, side in model.sides.items()}), clinical)
    training, inner = cohort.training_part(number)
    seed, share = derive_seed(seed, number), (fabric.global_rank, fabric.world_size)
    task = FusionTask(model, settings.modality_dropout, settings.auxiliary)
    result = fit(
        task,
        PatientBatches(bank, bank.of(training), how.batch_size, seed, share),
        PatientBatches(bank, bank.of(inner), how.batch_size),
        settings=how,
        seed=seed,
        fabric=fabric,
        folder=folder,
        slower={"members.": how.backbone_lr_scale, "sources.": how.backbone_lr_scale},
        accumulate=how.accumulate,
    )
    model.load_state_dict(result.weights)
    return Learnt(task, bank, result)


def peak_memory_mib(device: torch.device) -> int:
    """The most memory that this process has held so far on a GPU or, without one, in all."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) // 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 2**10
