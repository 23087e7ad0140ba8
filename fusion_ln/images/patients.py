"""The pictures of patients, gathered by patient from the banks of all modalities."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fusion_ln.images.bank import ImageBank


@dataclass(frozen=True)
class PatientBatch:
    """The pictures of B patients: M modalities, up to V views of each.

    Attributes:
        pictures: Of each modality. uint8, shape (B, V, 3, S, S); black where there is none.
        present: Which pictures there are. bool, shape (B, M, V).
        labels: Shape (B,).
        patients: Length B.
    """

    pictures: list[Tensor]
    present: Tensor
    labels: Tensor
    patients: np.ndarray


@dataclass(frozen=True)
class PatientPictures:
    """All patients with a picture in one of some banks.

    Attributes:
        banks: By modality, in the order in which models take them; a bank may be empty.
        rows: Rows of the banks that belong to each patient, -1 where there is none. Shape (P, M, V).
        patients: Sorted. Shape (P,).
        labels: Shape (P,).
    """

    banks: Mapping[str, ImageBank]
    rows: np.ndarray
    patients: np.ndarray
    labels: np.ndarray

    def of(self, patients: Sequence[str]) -> np.ndarray:
        """Positions of those of ``patients`` who have a picture."""
        return np.flatnonzero(np.isin(self.patients, patients))

    def cut(self, who: np.ndarray) -> PatientBatch:
        """The patients at positions ``who``."""
        rows = self.rows[who]
        pictures = []
        for m, bank in enumerate(self.banks.values()):
            there = rows[:, m] >= 0
            own = np.zeros((*there.shape, *bank.pixels.shape[1:]), dtype=np.uint8)
            own[there] = bank.pixels[rows[:, m][there]]
            pictures.append(torch.from_numpy(own))
        return PatientBatch(
            pictures, torch.from_numpy(rows >= 0), torch.from_numpy(self.labels[who]), self.patients[who]
        )


def gather_pictures(banks: Mapping[str, ImageBank]) -> PatientPictures:
    """Gather the pictures of each patient, by patient, never by position."""
    patients, rows = rows_by_patient([bank.patients for bank in banks.values()])
    owners = np.concatenate([bank.patients for bank in banks.values()])
    labels = np.concatenate([bank.labels for bank in banks.values()])
    _, first = np.unique(owners, return_index=True)
    return PatientPictures(banks, rows, patients, labels[first])


def rows_by_patient(owners: Sequence[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Which pictures belong to whom.

    Args:
        owners: Patient of each picture, by modality.

    Returns:
        The patients, sorted (P,), and the rows of each one's pictures in each modality, in their order, -1 where
        there are fewer than V, the most of any (P, M, V).
    """
    patients = np.unique(np.concatenate(owners))
    place = [np.searchsorted(patients, own) for own in owners]
    n_views = max(int(np.bincount(own).max(initial=0)) for own in place)
    rows = np.full((len(patients), len(owners), n_views), -1)
    for m, own in enumerate(place):
        for row in np.argsort(own, kind="stable"):
            free = np.argmin(rows[own[row], m])
            rows[own[row], m, free] = row
    return patients, rows
