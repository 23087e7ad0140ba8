"""Alterations of pictures that remove a cue, to test what a model's predictions rest on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from fusion_ln.cohort.regions.text import fill
from fusion_ln.explain.shortcut.regions import BURNED_IN, NODE, PICTURE
from fusion_ln.images.patients import PatientPictures
from fusion_ln.units import number_patients

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)

# Alters one picture. Arguments: the picture, uint8 (3, S, S); its regions, uint8 (S, S), see `find_regions`; the mean
# picture, uint8 (3, S, S). Returns the altered picture, uint8 (3, S, S).
Alter = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def hide_node(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Fill the node region from its surroundings."""
    return fill(picture, regions & NODE > 0, _is_tissue(regions))


def keep_frame(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Replace the tissue by the mean picture; the frame and everything burned in stay.

    An even area would be unlike anything that the network was trained on, and might hide its response to the frame.
    """
    return np.where(_is_tissue(regions), mean, picture)


def paint_over_texts(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Fill everything burned in from its surroundings: on tissue from tissue, on the frame from the frame."""
    burned_in, inside = regions & BURNED_IN > 0, regions & PICTURE > 0
    return fill(fill(picture, burned_in & inside, inside), burned_in & ~inside, ~inside)


def grey_out(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Drop the colour and keep the luminance."""
    grey = np.tensordot(LUMINANCE, picture.astype(np.float32), 1).round().astype(np.uint8)
    return np.repeat(grey[None], 3, axis=0)


def mean_picture(pixels: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """Average the tissue over all pictures of a bank; black where no picture has tissue.

    Args:
        pixels: Pictures. uint8, shape (N, 3, S, S).
        regions: Their regions, see `find_regions`. uint8, shape (N, 1, S, S).

    Returns:
        uint8, shape (3, S, S).
    """
    total, count = np.zeros(pixels.shape[1:]), np.zeros(pixels.shape[2:])
    for picture, picture_regions in zip(pixels, regions[:, 0], strict=True):
        tissue = _is_tissue(picture_regions)
        total += picture * tissue
        count += tissue
    return (total / np.maximum(count, 1)).round().astype(np.uint8)


def swap_within_class(pictures: PatientPictures, groups: np.ndarray, modality: int, seed: int) -> PatientPictures:
    """Give every patient the pictures of another one of the same class, in one modality; see `swap`."""
    pairs = np.stack([groups, pictures.labels], axis=1)
    return swap(pictures, np.unique(pairs, axis=0, return_inverse=True)[1].ravel(), modality, seed)


def swap(pictures: PatientPictures, groups: np.ndarray, modality: int, seed: int) -> PatientPictures:
    """Give every patient another one's pictures of one modality.

    The patients of a group who have the modality form a random ring, in which each one's pictures go to the next; of
    nodes, to one of another patient. A patient who is alone keeps them; one without the modality stays without.

    Args:
        pictures: Pictures of P patients.
        groups: Group of each patient; pictures are swapped within groups. Shape (P,).
        modality: Position of the modality.
        seed: Seed of the ring.
    """
    rng = np.random.default_rng([seed, modality])
    rows, owners = pictures.rows.copy(), number_patients(pictures.patients)
    present = (rows[:, modality] >= 0).any(axis=1)
    for group in np.unique(groups):
        ring = rng.permutation(np.flatnonzero(present & (groups == group)))
        if len(ring):
            ring, givers = _givers(ring, owners, rng)
            rows[ring, modality] = pictures.rows[givers, modality]
    return replace(pictures, rows=rows)


def _givers(ring: np.ndarray, owners: np.ndarray, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Order a ring of units by patient and find for each one of another patient; itself where there is none."""
    _, first, numbers, counts = np.unique(owners[ring], return_index=True, return_inverse=True, return_counts=True)
    ring = ring[np.argsort(first[numbers], kind="stable")]
    givers = np.roll(ring, counts.max())  # past all nodes of a patient
    for place in np.flatnonzero(owners[givers] == owners[ring]):  # of one who has more than half of the nodes
        others = ring[owners[ring] != owners[ring[place]]]
        givers[place] = rng.choice(others) if len(others) else ring[place]
    return ring, givers


def _is_tissue(regions: np.ndarray) -> np.ndarray:
    tissue: np.ndarray = (regions & PICTURE > 0) & (regions & BURNED_IN == 0)
    return tissue
