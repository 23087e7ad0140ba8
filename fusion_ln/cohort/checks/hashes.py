"""Hashes by which a model knows the pictures it was trained on without holding them.

A perceptual hash is the signs of random projections of a thumbnail (Charikar 2002): two pictures agree in more bits the
nearer their thumbnails are. Pictures of one scanner agree in the bits of their common layout, so there are two hashes:
of the thumbnail as it is, and of its content, the signs beside the median projection over all known pictures.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property

import numpy as np
import pandas as pd

from fusion_ln.cohort.checks.duplicates import normalised_thumbnails
from fusion_ln.cohort.checks.overlap import NONE_SEEN, grey_copies
from fusion_ln.cohort.checks.thumbnail import THUMBNAIL_SIDE, grey_copy
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.terms import IMAGE, SHA256

HASH, CONTENT_HASH = "perceptual_hash", "content_hash"
BITS = 1024
AGREEING = 0.92  # share of equal bits: thumbnails that correlate by 0.97
# Share of equal bits of contents, which then correlate by 0.88. Of 350,000 pairs of phantoms of two seeds none is above
# 0.78; of BUSI's pictures cropped by 1 % nine in ten are above 0.90 (`experiments/cohort/near_pictures.py`).
SAME_CONTENT = 0.84
FEWEST_KNOWN = 10  # known pictures of a common layout; the median of fewer is that of single pictures


@dataclass(frozen=True)
class PictureHashes:
    """Hashes of pictures of one collection.

    Attributes:
        table: ``sha256, perceptual_hash, content_hash`` (hex digits), sorted, so that no order tells of patients.
        centre: Median of each projection over the pictures, of no patient in particular. float32, shape (BITS,).
        source: The collection, in words; empty for the study's own.
    """

    table: pd.DataFrame
    centre: np.ndarray
    source: str = ""

    def recognise(self, copies: np.ndarray, sha256: Sequence[str]) -> list[str]:
        """Recognise pictures by their grey copies (P, 1024) and the hashes of their files.

        Returns:
            In words how each was found, the same file or nearly the same picture; empty for a new one.
        """
        of = f" of {self.source}" if self.source else ""
        return [
            f"the same file{of}"
            if each in self._files
            else f"nearly the same picture{of} ({agreement:.0%} of its hash)"
            if agreement
            else ""
            for each, agreement in zip(sha256, self._nearest(copies), strict=True)
        ]

    @cached_property
    def _files(self) -> frozenset[str]:
        return frozenset(self.table[SHA256])

    def _nearest(self, copies: np.ndarray) -> np.ndarray:
        """Find the share of equal bits with the known picture that each grey copy repeats; 0 without any. (P,)."""
        projected = _project(copies)
        equal = _share_of_equal(projected > 0, self.table[HASH])
        content = _share_of_equal(projected > self.centre, self.table[CONTENT_HASH])
        same = (equal >= AGREEING) & (content >= SAME_CONTENT)
        nearest: np.ndarray = np.where(same, equal, 0).max(axis=1, initial=0)
        return nearest


@dataclass(frozen=True)
class KnownHashes:
    """Hashes of all pictures that the networks of one modality learnt from, by collection."""

    collections: tuple[PictureHashes, ...]

    @property
    def n_own(self) -> int:
        """Number of pictures of the study itself."""
        return sum(len(known.table) for known in self.collections if not known.source)

    def find(self, cohort: Cohort, modality: str, seen: Mapping[str, np.ndarray] = NONE_SEEN) -> dict[str, str]:
        """Find the cohort's pictures of a modality that are among these; by image, in words how it was found.

        Pictures whose grey copies are ``seen``, by image, are not read again.
        """
        images = cohort.images_of(modality)
        copies = grey_copies(cohort, images, seen)
        return {
            str(image): detail
            for known in reversed(self.collections)  # of a picture in several, the first one stands
            for image, detail in zip(images[IMAGE], known.recognise(copies, images[SHA256].tolist()), strict=True)
            if detail
        }

    def recognise(self, picture: np.ndarray, sha256: str) -> str:
        """Recognise a picture (H, W, 3) of a file with this hash; returns how, in words, empty for a new one."""
        return self.recognise_copy(grey_copy(picture), sha256)

    def recognise_copy(self, copy: np.ndarray, sha256: str) -> str:
        """Recognise a picture by its grey copy (1024,); see `recognise`."""
        return next(filter(None, (known.recognise(copy[None], [sha256])[0] for known in self.collections)), "")


def hash_pictures(cohort: Cohort, modality: str) -> PictureHashes:
    """Hash a cohort's pictures of one modality."""
    images = cohort.images_of(modality)
    return hash_copies(grey_copies(cohort, images), images[SHA256].tolist())


def hash_copies(copies: np.ndarray, sha256: Sequence[str], source: str = "") -> PictureHashes:
    """Hash pictures by their grey copies (P, 1024) and the hashes of their files."""
    projected = _project(copies)
    centre = np.median(projected, axis=0) if len(copies) >= FEWEST_KNOWN else np.zeros(BITS, dtype=np.float32)
    table = pd.DataFrame({SHA256: sha256, HASH: _pack(projected > 0), CONTENT_HASH: _pack(projected > centre)})
    return PictureHashes(table.sort_values([SHA256, HASH], ignore_index=True), centre, source)


def _project(copies: np.ndarray) -> np.ndarray:
    """Project the thumbnails of grey copies (P, 1024) on random directions. float32, shape (P, BITS)."""
    projected: np.ndarray = normalised_thumbnails(copies) @ _directions()
    return projected


@cache
def _directions() -> np.ndarray:
    # RandomState: its numbers are the same in every version of NumPy.
    return np.random.RandomState(0).standard_normal((THUMBNAIL_SIDE * THUMBNAIL_SIDE, BITS)).astype(np.float32)


def _pack(bits: np.ndarray) -> list[str]:
    return [row.tobytes().hex() for row in np.packbits(bits, axis=1)]


def _share_of_equal(bits: np.ndarray, known: pd.Series) -> np.ndarray:
    """Compute the share of equal bits of P pictures and K known ones. Shape (P, K)."""
    packed = np.frombuffer(bytes.fromhex("".join(known)), dtype=np.uint8).reshape(-1, BITS // 8)
    signs = [2 * each.astype(np.float32) - 1 for each in (bits, np.unpackbits(packed, axis=1))]
    shares: np.ndarray = 0.5 + signs[0] @ signs[1].T / (2 * BITS)
    return shares
