"""Texts and signs within a picture: found by classical rules, and filled from their surroundings.

- A *stroke* is at most 4 pixels thick (in larger pictures 1 % of the shorter side) and stands out sharply against both
  sides along the row. Tissue hardly can: a beam blurs it sideways, so bright fibres lie along the rows.
- A *sign* is a thicker bright patch of at most `LARGEST_SIGN` of the picture on a dark ground of its own: from white to
  black within two pixels all around, as no echo fades.

The rules miss dotted lines of callipers, letters on equally bright tissue, and letters that are not bright.
"""

import numpy as np
import scipy  # its parts load when they are first used

THICKEST = 5  # pixels: a stroke is thinner than this
STANDS_OUT, BRIGHT = 70, 130  # grey values of 255
SHARP_SHARE = 0.3  # share of a group of strokes that must stand out along the row
FEWEST_PIXELS = 6  # pixels of a group
WHITE, DARK = 200, 80  # grey values of 255 of a sign and its ground
LARGEST_SIGN = 0.01  # of the picture
SQUARE = np.ones((3, 3), dtype=bool)
ON_DARK = 0.9  # least share of a sign's ring, two pixels away, that is dark


def mask_text(pixels: np.ndarray) -> np.ndarray:
    """Fill the texts and signs of a picture, uint8 (H, W, 3), from their surroundings; same shape."""
    found = scipy.ndimage.binary_dilation(
        find_strokes(pixels) | find_signs(pixels), iterations=2
    )  # with their soft edges
    if not found.any():
        return pixels
    return np.ascontiguousarray(fill(np.ascontiguousarray(pixels.transpose(2, 0, 1)), found, ~found).transpose(1, 2, 0))


def find_signs(picture: np.ndarray) -> np.ndarray:
    """Find the pixels of signs, by the rule of this module. bool, shape (H, W)."""
    values = picture.max(axis=2)
    groups, _ = scipy.ndimage.label(values >= WHITE, SQUARE)
    found = np.zeros(values.shape, dtype=bool)
    largest = LARGEST_SIGN * values.size
    sizes = np.bincount(groups.ravel())
    for number, place in enumerate(scipy.ndimage.find_objects(groups), start=1):
        if not FEWEST_PIXELS <= sizes[number] <= largest:
            continue
        around = tuple(slice(max(edge.start - 3, 0), edge.stop + 3) for edge in place)
        sign = groups[around] == number
        ring = scipy.ndimage.binary_dilation(sign, SQUARE, 3) & ~scipy.ndimage.binary_dilation(sign, SQUARE)
        if (values[around][ring] <= DARK).mean() >= ON_DARK:
            found[around] |= sign
    return found


def find_strokes(picture: np.ndarray) -> np.ndarray:
    """Find the pixels of burned-in texts and graphics, thin and sharp. bool, shape (H, W)."""
    values = picture.max(axis=2).astype(np.int16)
    reach = max(THICKEST, min(values.shape) // 100 | 1)
    height = (values - scipy.ndimage.grey_opening(values, (reach, reach))) * (values >= BRIGHT)
    thin = height >= STANDS_OUT
    sharp = thin & (values - scipy.ndimage.grey_opening(values, (1, reach)) >= STANDS_OUT)
    near = scipy.ndimage.binary_closing(np.pad(thin, 3), SQUARE)[3:-3, 3:-3]
    groups, n_groups = scipy.ndimage.label(near, SQUARE)
    numbers = np.arange(n_groups + 1)
    size, sharp_size = (scipy.ndimage.sum_labels(part, groups, numbers) for part in (thin, sharp))
    kept = (size >= FEWEST_PIXELS) & (sharp_size >= SHARP_SHARE * size)
    kept[0] = False
    strokes = thin & kept[groups]
    beside = scipy.ndimage.binary_dilation(strokes, iterations=reach)  # fainter letters of a text
    return np.asarray(strokes | (beside & (height >= STANDS_OUT / 2)))


def fill(picture: np.ndarray, hole: np.ndarray, source: np.ndarray) -> np.ndarray:
    """Fill a hole smoothly from its surroundings; nothing of its content remains.

    Each pixel becomes a weighted mean of source pixels within twice the hole's depth, nearer ones weighing more
    (normalised convolution, Knutsson & Westin 1993, by two box filters, whose time is independent of their width).

    Args:
        picture: uint8, shape (3, S, S).
        hole: Mask of the pixels to fill. bool, shape (S, S).
        source: Mask of the pixels to fill from; those in the hole are ignored. If none is left, the hole becomes
            black. bool, shape (S, S).

    Returns:
        uint8, shape (3, S, S).
    """
    source = source & ~hole
    filled = picture.copy()
    filled[:, hole] = 0
    if not hole.any() or not source.any():
        return filled
    depth = float(scipy.ndimage.distance_transform_edt(~source)[hole].max())
    width = 2 * int(np.ceil(depth)) + 1
    kept = source.astype(np.float64)
    weight = np.maximum(_blur(kept, width)[hole], 1e-9)
    for channel, original in zip(filled, picture, strict=True):
        channel[hole] = (_blur(original * kept, width)[hole] / weight).round().clip(0, 255)
    return filled


def _blur(values: np.ndarray, width: int) -> np.ndarray:
    once = scipy.ndimage.uniform_filter(values, width)
    return np.asarray(scipy.ndimage.uniform_filter(once, width))
