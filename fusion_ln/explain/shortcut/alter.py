"""Pictures altered on purpose, to see what a model's answers rest on."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
from scipy import ndimage

from fusion_ln.explain.shortcut.regions import BURNED_IN, NODE, PICTURE
from fusion_ln.images.patients import PatientPictures

LUMINANCE = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)

# A picture, uint8 (3, S, S); its regions (S, S), see `find_regions`; the mean picture (3, S, S) -> a picture.
Alter = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def hide_node(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Fill the part with the node from its surroundings."""
    return fill(picture, regions & NODE > 0, _is_tissue(regions))


def keep_frame(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Put the mean picture in place of the tissue; what lies around it and whatever is burned in stay.

    A plain ground would be stranger to a network than anything it was trained on, and blind it to the rest.
    """
    return np.where(_is_tissue(regions), mean, picture)


def paint_over_texts(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Fill everything that is burned in from its surroundings: tissue from tissue, the frame from the frame."""
    burned_in, inside = regions & BURNED_IN > 0, regions & PICTURE > 0
    return fill(fill(picture, burned_in & inside, inside), burned_in & ~inside, ~inside)


def grey_out(picture: np.ndarray, regions: np.ndarray, mean: np.ndarray) -> np.ndarray:
    """Keep the luminance and drop the colour."""
    grey = np.tensordot(LUMINANCE, picture.astype(np.float32), 1).round().astype(np.uint8)
    return np.repeat(grey[None], 3, axis=0)


def mean_picture(pixels: np.ndarray, regions: np.ndarray) -> np.ndarray:
    """The mean of the tissue over all pictures of a bank; black where none has any.

    Args:
        pixels: uint8, shape (N, 3, S, S).
        regions: Shape (N, 1, S, S).
    """
    total, count = np.zeros(pixels.shape[1:]), np.zeros(pixels.shape[2:])
    for picture, where in zip(pixels, regions[:, 0], strict=True):
        tissue = _is_tissue(where)
        total += picture * tissue
        count += tissue
    return (total / np.maximum(count, 1)).round().astype(np.uint8)


def fill(picture: np.ndarray, hole: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Fill a hole smoothly from what lies around it; nothing of its own content remains.

    Each pixel becomes the mean of those of the source within twice the hole's depth, the nearer the more (normalised
    convolution, Knutsson & Westin 1993, with a box filter twice, whose time does not grow with its width).

    Args:
        picture: uint8, shape (3, S, S).
        hole: bool, shape (S, S).
        source: Where to take the filling from, as far as it lies outside the hole; without any, the hole becomes
            black. bool, shape (S, S).
    """
    source = source & ~hole
    filled = picture.copy()
    filled[:, hole] = 0
    if not hole.any() or not source.any():
        return filled
    depth = float(ndimage.distance_transform_edt(~source)[hole].max())
    width = 2 * int(np.ceil(depth)) + 1
    kept = source.astype(np.float64)
    weight = np.maximum(_blur(kept, width)[hole], 1e-9)
    for channel, given in zip(filled, picture, strict=True):
        channel[hole] = (_blur(given * kept, width)[hole] / weight).round().clip(0, 255)
    return filled


def _blur(values: np.ndarray, width: int) -> np.ndarray:
    once = ndimage.uniform_filter(values, width)
    return np.asarray(ndimage.uniform_filter(once, width))


def swap_within_class(pictures: PatientPictures, groups: np.ndarray, modality: int, seed: int) -> PatientPictures:
    """Give every patient another one's pictures of one modality; see `swap`."""
    both = np.stack([groups, pictures.labels], axis=1)
    return swap(pictures, np.unique(both, axis=0, return_inverse=True)[1].ravel(), modality, seed)


def swap(pictures: PatientPictures, groups: np.ndarray, modality: int, seed: int) -> PatientPictures:
    """Give every patient another one's pictures of one modality.

    Among the patients of a group who have the modality, each one's pictures go to another, in a ring drawn at random.
    A patient who is alone there keeps them; one without pictures of the modality stays without.

    Args:
        pictures: The patients.
        groups: Who may swap with whom: equal numbers. Shape (P,).
        modality: Position of the modality.
        seed: Of the draw.
    """
    rng = np.random.default_rng([seed, modality])
    rows = pictures.rows.copy()
    has = (rows[:, modality] >= 0).any(axis=1)
    for group in np.unique(groups):
        ring = rng.permutation(np.flatnonzero(has & (groups == group)))
        rows[ring, modality] = pictures.rows[np.roll(ring, 1), modality]
    return replace(pictures, rows=rows)


def _is_tissue(regions: np.ndarray) -> np.ndarray:
    tissue: np.ndarray = (regions & PICTURE > 0) & (regions & BURNED_IN == 0)
    return tissue
