"""Pictures of patients, gathered by patient from the banks of all modalities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fusion_ln.cohort.clinical import clinical_values
from fusion_ln.images.augment import augment
from fusion_ln.images.bank import ImageBank, as_network_input


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


@dataclass(frozen=True)
class PatientPictures:
    """Patients with a picture in one of some banks.

    Attributes:
        banks: Image bank by modality, in the order of the models' inputs; a bank may be empty.
        rows: Rows of each patient's pictures in the banks, -1 for an absent picture. Shape (P, M, V).
        patients: Sorted. Shape (P,).
        labels: Shape (P,).
        clinical: Standardised clinical columns, K of them or none. float32, shape (P, K).
        augmentation: Strength of augmentation by modality; 1 where not given.
    """

    banks: Mapping[str, ImageBank]
    rows: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    clinical: np.ndarray
    augmentation: Mapping[str, float] = field(default_factory=dict)

    def of(self, patients: Sequence[str]) -> np.ndarray:
        """Find the positions of those of ``patients`` who have a picture."""
        return np.flatnonzero(np.isin(self.patients, patients))

    def cut(self, positions: np.ndarray, rng: np.random.Generator | None = None) -> PatientBatch:
        """Gather the patients at some positions; with ``rng`` their pictures are augmented, on the device."""
        rows = self.rows[positions]
        pictures = []
        for m, bank in enumerate(self.banks.values()):
            present = rows[:, m] >= 0
            views = np.zeros((*present.shape, *bank.pixels.shape[1:]), dtype=np.uint8)
            views[present] = bank.pixels[rows[:, m][present]]
            pictures.append(torch.from_numpy(views))
        return PatientBatch(
            modalities=tuple(self.banks),
            pictures=pictures,
            present=torch.from_numpy(rows >= 0),
            labels=torch.from_numpy(self.labels[positions]),
            patients=self.patients[positions],
            clinical=torch.from_numpy(self.clinical[positions]),
            augmentation=None if rng is None else tuple(self.augmentation.get(m, 1.0) for m in self.banks),
        )


def gather_pictures(banks: Mapping[str, ImageBank], clinical: pd.DataFrame | None = None) -> PatientPictures:
    """Gather the pictures of each patient and, from a table by patient, the clinical columns (see `standardise`)."""
    patients, rows = rows_by_patient([bank.patients for bank in banks.values()])
    owners = np.concatenate([bank.patients for bank in banks.values()])
    labels = np.concatenate([bank.labels for bank in banks.values()])
    _, first = np.unique(owners, return_index=True)
    columns = np.zeros((len(patients), 0), np.float32) if clinical is None else clinical_values(clinical, patients)
    return PatientPictures(banks, rows, patients, labels[first], columns)


def rows_by_patient(owners: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """List the pictures of each patient.

    Args:
        owners: Patient of each picture, by modality.

    Returns:
        The patients, sorted, shape (P,), and the rows of their pictures, in the order of ``owners``, shape (P, M, V);
        -1 for a patient with fewer than V pictures of the modality.
    """
    patients = np.unique(np.concatenate(owners))
    positions = [np.searchsorted(patients, names) for names in owners]
    n_views = max(int(np.bincount(each).max(initial=0)) for each in positions)
    rows = np.full((len(patients), len(owners), n_views), -1)
    for m, each in enumerate(positions):
        for row in np.argsort(each, kind="stable"):
            free = np.argmin(rows[each[row], m])
            rows[each[row], m, free] = row
    return patients, rows
