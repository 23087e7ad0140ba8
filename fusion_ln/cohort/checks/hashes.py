"""Hashes by which a model knows the pictures it was trained on without holding them.

The perceptual hash of a picture is the signs of random projections of its thumbnail (Charikar 2002): two pictures agree
in more bits the nearer their thumbnails are. Pictures of one scanner agree in the bits of their common layout, so they
must also correlate in what their bits differ from the mean over all known pictures.
"""

from dataclasses import dataclass

import numpy as np
import pandas as pd

from fusion_ln.cohort.checks.duplicates import normalised_thumbnails
from fusion_ln.cohort.checks.overlap import grey_copies
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.decode.thumbnail import THUMBNAIL_SIDE, grey_copy
from fusion_ln.terms import SHA256

HASH = "perceptual_hash"
BITS = 1024
# Correlation of two pictures' bits. Of phantoms of two seeds it was below 0.56, of brighter copies above 0.69, and of
# copies at three quarters of the size and JPEG quality 40 in the median 0.58 to 0.65.
SAME_BITS = 0.6
AGREEING = 0.92  # share of equal bits: thumbnails that correlate by 0.97; of the copies above 0.94 and more
FEWEST_KNOWN = 10  # known pictures of a common layout; of fewer, the mean bits are those of single pictures


@dataclass(frozen=True)
class PictureHashes:
    """Hashes of pictures of one modality.

    Attributes:
        table: ``sha256, perceptual_hash`` (hex digits), sorted, so that no order tells of patients.
    """

    table: pd.DataFrame

    def find(self, cohort: Cohort, modality: str) -> dict[str, str]:
        """Find the cohort's pictures of a modality that are among these: the same file, or nearly the same picture.

        Returns:
            By image of the cohort, in words how it was found.
        """
        images = cohort.images_of(modality)
        known = set(self.table[SHA256])
        found = {str(row.image_id): "the same file" for row in images.itertuples() if row.sha256 in known}
        own = _bits(grey_copies(cohort, images))
        for row, agreement in zip(images.itertuples(), self._nearest(own), strict=True):
            if agreement:
                found.setdefault(str(row.image_id), f"nearly the same picture ({agreement:.0%} of its hash)")
        return found

    def recognise(self, picture: np.ndarray, sha256: str) -> str:
        """Recognise a picture (H, W, 3) of a file with this hash; returns how, in words, empty for a new one."""
        return self.recognise_copy(grey_copy(picture), sha256)

    def recognise_copy(self, copy: np.ndarray, sha256: str) -> str:
        """Recognise a picture by its grey copy (1024,); see `recognise`."""
        if sha256 in set(self.table[SHA256]):
            return "the same file"
        agreement = self._nearest(_bits(copy[None]))[0]
        return f"nearly the same picture ({agreement:.0%} of its hash)" if agreement else ""

    def _nearest(self, bits: np.ndarray) -> np.ndarray:
        """Find the share of equal bits with the known picture that each one repeats; 0 without any. Shape (P,)."""
        packed = np.frombuffer(bytes.fromhex("".join(self.table[HASH])), dtype=np.uint8).reshape(-1, BITS // 8)
        known = np.unpackbits(packed, axis=1).astype(np.float32)
        layout = known.mean(axis=0) if len(known) >= FEWEST_KNOWN else np.full(BITS, 0.5, dtype=np.float32)
        centred = [values - layout for values in (bits, known)]
        lengths = [np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-6) for values in centred]
        correlations = (centred[0] / lengths[0]) @ (centred[1] / lengths[1]).T
        equal = (bits @ known.T + (1 - bits) @ (1 - known).T) / BITS
        same = (correlations >= SAME_BITS) & (equal >= AGREEING)
        nearest: np.ndarray = np.where(same, equal, 0).max(axis=1, initial=0)
        return nearest


def hash_pictures(cohort: Cohort, modality: str) -> PictureHashes:
    """Hash a cohort's pictures of one modality."""
    images = cohort.images_of(modality)
    packed = np.packbits(_bits(grey_copies(cohort, images)).astype(bool), axis=1)
    table = pd.DataFrame({SHA256: images[SHA256].tolist(), HASH: [row.tobytes().hex() for row in packed]})
    return PictureHashes(table.sort_values([SHA256, HASH], ignore_index=True))


def _bits(copies: np.ndarray) -> np.ndarray:
    """Project thumbnails and keep the signs, as 0 and 1. float32, shape (P, BITS)."""
    # RandomState: its numbers are the same in every version of NumPy.
    directions = np.random.RandomState(0).standard_normal((THUMBNAIL_SIDE * THUMBNAIL_SIDE, BITS)).astype(np.float32)
    signs: np.ndarray = (normalised_thumbnails(copies) @ directions > 0).astype(np.float32)
    return signs
