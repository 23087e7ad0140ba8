"""Batches of the pictures of a bank, as tensors."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from fusion_ln.images.bank import ImageBank

HOST = torch.device("cpu")


def as_network_input(pictures: Tensor) -> Tensor:
    """Convert uint8 (..., 3, S, S) to float in [0, 1], channels last: the layout that convolutions are fastest with."""
    flat = pictures.flatten(0, -4).contiguous(memory_format=torch.channels_last)
    return flat.float().div_(255).view(pictures.shape)


def balanced_rows(rows: np.ndarray, labels: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Over-sample at random: all of ``rows``, and rows of smaller classes again until all are equally frequent."""
    classes = [rows[labels == label] for label in np.unique(labels)]
    largest = max(len(members) for members in classes)
    return np.concatenate([np.append(members, rng.choice(members, largest - len(members))) for members in classes])


@dataclass(frozen=True)
class Batch:
    """A batch of B pictures.

    Attributes:
        pictures: uint8, shape (B, 3, S, S).
        labels: Class of each picture's patient. Shape (B,).
        patients: Patient of each picture. Shape (B,).
    """

    pictures: Tensor
    labels: Tensor
    patients: np.ndarray


@dataclass(frozen=True)
class Batches:
    """Pictures of a bank, cut into batches, in an order that depends on seed and epoch alone.

    Attributes:
        bank: Image bank.
        rows: Rows of the bank to use.
        batch_size: Pictures per batch, over all devices.
        seed: Seed of the order.
        oversample: Over-sample smaller classes, see `balanced_rows` (training only).
        share: (rank, world size): each of several devices takes its own part of every batch.
        device: Device that the batches are for; a GPU cuts them from its own copy of the bank, see `ImageBank.copy_on`.
    """

    bank: ImageBank
    rows: np.ndarray
    batch_size: int
    seed: int = 0
    oversample: bool = False
    share: tuple[int, int] = (0, 1)
    device: torch.device = HOST

    def __len__(self) -> int:
        """Count the batches of an epoch."""
        return max(1, self._drawn_per_epoch() // self.batch_size)

    def shuffled(self, epoch: int) -> Iterator[Batch]:
        """Yield whole batches, in a new order each epoch; the remainder of the last batch is left out."""
        rng = np.random.default_rng([self.seed, epoch])
        rows = balanced_rows(self.rows, self.bank.labels[self.rows], rng) if self.oversample else self.rows
        yield from self._cut(rng.permutation(rows)[: len(self) * self.batch_size])

    def in_order(self) -> Iterator[Batch]:
        """Yield every picture once, in the bank's order."""
        yield from self._cut(self.rows)

    def _drawn_per_epoch(self) -> int:
        if not self.oversample:
            return len(self.rows)
        counts = np.unique(self.bank.labels[self.rows], return_counts=True)[1]
        return int(counts.max() * len(counts))

    def _cut(self, rows: np.ndarray) -> Iterator[Batch]:
        """Cut rows into batches, in their order; of each the part of this device."""
        copy = self.bank.copy_on(self.device)
        if copy is not None:  # all of them at once, since every transfer would wait for the device
            places = torch.from_numpy(rows).to(self.device)
            labels = torch.from_numpy(self.bank.labels[rows]).to(self.device)
        rank, world = self.share
        for start in range(0, len(rows), self.batch_size):
            part = slice(start + rank, start + self.batch_size, world)
            cut = rows[part]
            if copy is not None:
                yield Batch(copy[places[part]], labels[part], self.bank.patients[cut])
            else:
                pictures, of_class = (torch.from_numpy(values[cut]) for values in (self.bank.pixels, self.bank.labels))
                yield Batch(pictures, of_class, self.bank.patients[cut])
