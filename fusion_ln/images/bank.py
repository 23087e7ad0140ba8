"""Image banks: the pictures of a modality, decoded once into a memory-mapped array; torch only for its own copy."""

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.stored import holds_array
from fusion_ln.errors import CohortError
from fusion_ln.files.formats import write_rows
from fusion_ln.files.hashes import hash_file
from fusion_ln.files.locks import LOCK, locked
from fusion_ln.images.prepare import PREPARATION, prepare_picture
from fusion_ln.terms import IMAGE, LABEL, PATH, PATIENT, SHA256, cache_folder
from fusion_ln.threads import map_with_progress

if TYPE_CHECKING:
    import torch
    from torch import Tensor

Look = Callable[[str, np.ndarray], None]  # at a picture by its name and pixels

HELD_SHARE = 0.25  # most of a device's free memory that one bank may take


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
    _copies: "dict[torch.device, Tensor | None]" = field(default_factory=dict, repr=False, compare=False)

    def copy_on(self, device: "torch.device") -> "Tensor | None":
        """Copy the pixels into the memory of a GPU, once; None on a CPU, and where they would fill the GPU."""
        import torch  # what only answers needs none of it

        if device not in self._copies:
            room = HELD_SHARE * free_memory(device)
            held = self.pixels.nbytes < room
            self._copies[device] = torch.from_numpy(np.array(self.pixels)).to(device) if held else None
        return self._copies[device]

    def rows_of(self, patients: list[str]) -> np.ndarray:
        """Find the rows of the pictures of ``patients``, in the bank's order."""
        return np.flatnonzero(np.isin(self.patients, patients))


def free_memory(device: "torch.device") -> int:
    """Return the free bytes of a GPU; 0 for a CPU, which reads a bank where it lies."""
    import torch

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
