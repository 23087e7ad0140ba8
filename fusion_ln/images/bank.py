"""Image banks: the pictures of a modality, decoded once into a memory-mapped array, from which batches are cut."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.stored import holds_array
from fusion_ln.errors import CohortError
from fusion_ln.files.formats import write_rows
from fusion_ln.files.hashes import hash_file
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.images.prepare import PREPARATION, prepare_picture
from fusion_ln.terms import IMAGE, LABEL, PATH, PATIENT, SHA256, cache_folder
from fusion_ln.threads import map_with_progress

Look = Callable[[str, np.ndarray], None]  # at a picture by its name and pixels

HOST = torch.device("cpu")
HELD_SHARE = 0.25  # most of a device's free memory that one bank may take


def as_network_input(pictures: Tensor) -> Tensor:
    """Convert uint8 (..., 3, S, S) to float in [0, 1], channels last: the layout that convolutions are fastest with."""
    flat = pictures.flatten(0, -4).contiguous(memory_format=torch.channels_last)
    return flat.float().div_(255).view(pictures.shape)


@dataclass(frozen=True)
class ImageBank:
    """N prepared pictures with their patients and labels, in the same order.

    Attributes:
        pixels: uint8 (N, 3, S, S), memory-mapped and read-only.
        patients: Patient of each picture. Shape (N,).
        labels: Class of each picture's patient. Shape (N,).
    """

    pixels: np.ndarray
    patients: np.ndarray
    labels: np.ndarray
    _copies: dict[torch.device, Tensor | None] = field(default_factory=dict, repr=False, compare=False)

    def copy_on(self, device: torch.device) -> Tensor | None:
        """Copy the pixels into the memory of a GPU, once; None on a CPU, and where they would fill the GPU."""
        if device not in self._copies:
            room = HELD_SHARE * free_memory(device)
            held = self.pixels.nbytes < room
            self._copies[device] = torch.from_numpy(np.array(self.pixels)).to(device) if held else None
        return self._copies[device]

    def rows_of(self, patients: list[str]) -> np.ndarray:
        """Find the rows of the pictures of ``patients``, in the bank's order."""
        return np.flatnonzero(np.isin(self.patients, patients))


def free_memory(device: torch.device) -> int:
    """Return the free bytes of a GPU; 0 for a CPU, which reads a bank where it lies."""
    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else 0


def bank_file(cohort: Cohort, modality: str, size: int) -> Path:
    """Locate the bank of one modality of a cohort, on disk or not; see `open_bank`."""
    parts = [PREPARATION, str(size), str(cohort.details.frame), *cohort.contents_of(modality)]
    key = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:24]
    return cache_folder() / "banks" / f"{key}.npy"


def empty_bank(side: int) -> ImageBank:
    """Make a bank of no picture, of ``side`` pixels a side."""
    return ImageBank(np.zeros((0, 3, side, side), dtype=np.uint8), np.array([], dtype=str), np.array([], dtype=int))


def open_bank(cohort: Cohort, modality: str, size: int, look: Look | None = None) -> ImageBank:
    """Open the bank of one modality of a cohort; prepare it first if it is not on disk.

    It lies in the cache folder under a hash of the pictures and settings, so that cohorts with the same pictures share
    it, and an edited picture cannot go unnoticed. ``look`` sees, in threads, the pictures that have to be decoded: all
    or none.

    Raises:
        CohortError: If the modality is absent or a picture is not the one that was imported.
        PictureError: If a picture cannot be decoded.
    """
    images, path = cohort.images_of(modality), bank_file(cohort, modality, size)
    if not holds_array(path):
        with locked(path.with_name(f".{path.stem}{LOCK}")):  # one of the processes prepares, the others wait
            if not holds_array(path):
                write_rows(
                    path, _prepare_all(cohort, images, size, look), (len(images), 3, size, size), np.dtype(np.uint8)
                )
    labels = cohort.patients.set_index(PATIENT)[LABEL]
    return ImageBank(
        pixels=np.load(path, mmap_mode="r"),
        patients=images[PATIENT].to_numpy(dtype=str),
        labels=labels.loc[images[PATIENT]].to_numpy(),
    )


def _prepare_all(cohort: Cohort, images: pd.DataFrame, size: int, look: Look | None) -> Iterator[np.ndarray]:
    def prepare(row: tuple[str, str, str]) -> np.ndarray:
        image, path, sha256 = row
        file = cohort.picture_path(path)
        if file.is_file() and hash_file(file) != sha256:
            raise CohortError(
                f"{file}: changed since it was imported.",
                f"Restore it, or import the cohort {cohort.name} again.",
            )
        pixels = cohort.read_picture(image)
        if look is not None:
            look(image, pixels)
        return prepare_picture(pixels, size)

    title = f"Preparing {images['modality'].iloc[0]} pictures at {size} px"
    return map_with_progress(title, prepare, list(zip(images[IMAGE], images[PATH], images[SHA256], strict=True)))


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
