"""Pictures of some patients as tensors, prepared as a fold's model takes them."""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fusion_ln.cohort.clinical import clinical_values
from fusion_ln.images.augment import augment
from fusion_ln.images.batches import as_network_input


@dataclass(frozen=True)
class PatientBatch:
    """Pictures of B patients: M modalities, up to V views of each.

    Attributes:
        modalities: Names of the M modalities.
        pictures: One tensor per modality. uint8, shape (B, V, 3, S, S), black where the picture is absent.
        present: Presence mask of the pictures. bool, shape (B, M, V).
        labels: Shape (B,).
        patients: Shape (B,).
        clinical: Standardised clinical columns, K of them or none. float32, shape (B, K).
        augmentation: Strength at which `inputs` augments each modality, for training; None: not at all. Length M.
    """

    modalities: tuple[str, ...]
    pictures: list[Tensor]
    present: Tensor
    labels: Tensor
    patients: np.ndarray
    clinical: Tensor
    augmentation: tuple[float, ...] | None = None

    @property
    def modalities_present(self) -> Tensor:
        """Presence mask of the modalities. bool, shape (B, M)."""
        return self.present.any(2)

    def with_clinical(self, table: pd.DataFrame) -> "PatientBatch":
        """Take the clinical columns from a table of them by patient, see `standardise`."""
        return replace(self, clinical=torch.from_numpy(clinical_values(table, self.patients)))

    def inputs(self, kept: Tensor, device: torch.device) -> tuple[list[Tensor], Tensor, Tensor]:
        """Prepare the input of a `TripletModel` from the ``kept`` modalities (B, M).

        Returns:
            Pictures of each modality in [0, 1], presence mask and clinical columns, on the device.
        """
        present = self.present & kept[..., None]
        pictures = [as_network_input(views.to(device)) for views in self.pictures]
        if self.augmentation is not None:
            parts = zip(pictures, self.modalities, self.augmentation, strict=True)
            pictures = [augment(views.flatten(0, 1), m, strength).view_as(views) for views, m, strength in parts]
        return pictures, present.to(device), self.clinical.to(device)
