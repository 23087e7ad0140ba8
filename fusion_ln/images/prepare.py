"""A picture of any size becomes the square that a network takes; without torch, for whatever prepares pictures."""

import numpy as np
from PIL import Image

PREPARATION = "letterbox-bicubic-2"  # part of a bank's key: change it when prepare_picture changes


def prepare_picture(picture: np.ndarray, size: int) -> np.ndarray:
    """Resize a picture into a square and keep its proportions, which are a finding (the node's axis ratio).

    The width is resized before the height: versions of Pillow differ in which they take first of a tall picture.

    Args:
        picture: uint8, shape (H, W, 3).
        size: Pixels a side.

    Returns:
        uint8, shape (3, size, size), black beside the picture.
    """
    height, width = picture.shape[:2]
    across, down = (round(side / max(width, height) * size) for side in (width, height))
    square = Image.new("RGB", (size, size))
    if across and down:
        image, bicubic = Image.fromarray(picture), Image.Resampling.BICUBIC
        resized = image.resize((across, height), bicubic).resize((across, down), bicubic)
        square.paste(resized, (round((size - across) / 2), round((size - down) / 2)))
    return np.ascontiguousarray(np.asarray(square).transpose(2, 0, 1))
