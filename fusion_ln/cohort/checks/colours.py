"""Colours of a picture: the share of its pixels that are coloured, and the modality that such a share speaks for."""

import numpy as np

STRIP = 256  # rows at a time, since whole copies of a large picture would fill the memory
# A channel spread above this makes a pixel coloured: JPEG leaves less on grey pictures.
COLOUR_SPREAD = 32
# Share of coloured pixels: a Doppler frame without flow still has its colour bar (0.5 % on BUSI's); grey ones have 0.
COLOURED_FROM, GREY_BELOW = 0.003, 0.0005
# Flow colours vessels only (at most 7 % of simulated Doppler frames), strain the whole box (43 % and more).
STRAIN_FROM = 0.15


def coloured_share(pixels: np.ndarray) -> float:
    """Compute the share of coloured pixels of a picture, uint8 (H, W, 3)."""
    count = sum(int(coloured(pixels[top : top + STRIP]).sum()) for top in range(0, len(pixels), STRIP))
    height, width, _ = pixels.shape
    return float(count / (height * width))


def coloured(pixels: np.ndarray) -> np.ndarray:
    """Find the coloured pixels of a picture, uint8 (H, W, 3). Bool, shape (H, W)."""
    red, green, blue = np.ascontiguousarray(np.moveaxis(pixels, -1, 0))  # twice as fast as every third value
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    return np.asarray(spread > COLOUR_SPREAD)


def guess_modality(pixels: np.ndarray) -> str:
    """Guess the modality of a picture, uint8 (H, W, 3), by its colours alone: a guess to be corrected by hand."""
    share = coloured_share(pixels)
    if share < COLOURED_FROM:
        return "2d"
    return "cdfi" if share < STRAIN_FROM else "elastic"
