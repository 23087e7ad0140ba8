"""Pictures of patients, gathered by patient from the banks of all modalities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fusion_ln.cohort.clinical import clinical_values
from fusion_ln.images.bank import ImageBank

if TYPE_CHECKING:
    from fusion_ln.images.patient_batch import PatientBatch


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

    def views(self, positions: np.ndarray) -> list[np.ndarray]:
        """Gather the pictures of the patients at some positions: uint8 (B, V, 3, S, S) each, black where absent."""
        gathered = []
        for m, bank in enumerate(self.banks.values()):
            rows = self.rows[positions, m]
            views = np.zeros((*rows.shape, *bank.pixels.shape[1:]), dtype=np.uint8)
            views[rows >= 0] = bank.pixels[rows[rows >= 0]]
            gathered.append(views)
        return gathered

    def cut(self, positions: np.ndarray, rng: np.random.Generator | None = None) -> "PatientBatch":
        """Gather the patients at some positions as tensors; with ``rng`` augmented, on the device."""
        import torch  # answers are made of `views`

        from fusion_ln.images.patient_batch import PatientBatch

        return PatientBatch(
            modalities=tuple(self.banks),
            pictures=[torch.from_numpy(views) for views in self.views(positions)],
            present=torch.from_numpy(self.rows[positions] >= 0),
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
