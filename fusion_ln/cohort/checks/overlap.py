"""Pictures that two collections share: the same files, and pictures that show nearly the same."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType

import numpy as np
import pandas as pd

from fusion_ln.cohort.checks.duplicates import near_pairs_between, normalised_thumbnails
from fusion_ln.cohort.checks.thumbnail import grey_copy
from fusion_ln.cohort.cohort import Cohort
from fusion_ln.terms import IMAGE, SHA256
from fusion_ln.threads import map_with_progress

ORIGIN = "origin"
NONE_SEEN: Mapping[str, np.ndarray] = MappingProxyType({})


@dataclass(frozen=True)
class KnownPictures:
    """Pictures that a training used.

    Attributes:
        table: ``image_id, sha256, origin``, one row per picture; ``origin`` names the collection.
        copies: Their grey copies, in the order of the rows; may lie on disk. uint8, shape (K, 1024).
    """

    table: pd.DataFrame
    copies: np.ndarray


def known_pictures(cohort: Cohort, modality: str) -> KnownPictures:
    """Read what `find_shared_pictures` needs of a cohort's pictures of one modality."""
    images = cohort.images_of(modality)
    table = images[[IMAGE, SHA256]].assign(**{ORIGIN: cohort.name})
    return KnownPictures(table, grey_copies(cohort, images))


def grey_copies(cohort: Cohort, images: pd.DataFrame, seen: Mapping[str, np.ndarray] = NONE_SEEN) -> np.ndarray:
    """Read the grey copies of some rows of a cohort's ``images``, unless all are ``seen``. uint8, shape (K, 1024)."""
    if seen and all(image in seen for image in images[IMAGE]):
        return np.stack([seen[image] for image in images[IMAGE]])
    title = f"Looking at pictures of {cohort.name}"
    return np.stack(list(map_with_progress(title, partial(_read_grey_copy, cohort), list(images[IMAGE]))))


def find_shared_pictures(
    cohort: Cohort, modality: str, known: KnownPictures, seen: Mapping[str, np.ndarray] = NONE_SEEN
) -> dict[str, str]:
    """Find the cohort's pictures of a modality that are known: the same file, or nearly the same picture.

    Pictures whose grey copies are ``seen``, by image, are not read again.

    Returns:
        By image of the cohort, the known picture that it repeats, in words.
    """
    images = cohort.images_of(modality)
    same = images.merge(known.table, on=SHA256, suffixes=("", "_known"))
    found = {str(row.image_id): f"the same file as {row.origin}, {row.image_id_known}" for row in same.itertuples()}
    pairs, correlations = near_pairs_between(known.copies, normalised_thumbnails(grey_copies(cohort, images, seen)))
    for (i, j), correlation in zip(pairs, correlations, strict=True):
        row = known.table.iloc[i]
        detail = f"nearly the same as {row[ORIGIN]}, {row[IMAGE]} (correlation {correlation:.3f})"
        found.setdefault(str(images[IMAGE][j]), detail)
    return found


def _read_grey_copy(cohort: Cohort, image: str) -> np.ndarray:
    return grey_copy(cohort.read_picture(image))
