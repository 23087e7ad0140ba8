"""A picture of any size becomes the square that a network takes; without torch, for whatever prepares pictures."""

import numpy as np
from PIL import Image, ImageOps

PREPARATION = "letterbox-bicubic-1"  # part of a bank's key: change it when prepare_picture changes


def prepare_picture(picture: np.ndarray, size: int) -> np.ndarray:
    """Resize a picture into a square and keep its proportions, which are a finding (the node's axis ratio).

    Args:
        picture: uint8, shape (H, W, 3).
        size: Pixels a side.

    Returns:
        uint8, shape (3, size, size), black beside the picture.
    """
    square = ImageOps.pad(Image.fromarray(picture), (size, size), method=Image.Resampling.BICUBIC)
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
