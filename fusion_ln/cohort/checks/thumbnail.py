"""Small grey copies of pictures, by which they are recognised."""

import numpy as np
from PIL import Image

THUMBNAIL_SIDE = 32  # pixels of a thumbnail


def grey_copy(pixels: np.ndarray) -> np.ndarray:
    """Shrink a picture (H, W, 3) to the 32 x 32 grey values of its thumbnail, before normalisation. uint8 (1024,)."""
    grey = Image.fromarray(pixels).convert("L").resize((THUMBNAIL_SIDE, THUMBNAIL_SIDE), Image.Resampling.BOX)
    return np.asarray(grey).ravel()
