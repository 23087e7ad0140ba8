"""Masks of the node and of the burned-in marks of simulated pictures, as they are prepared for a network."""

from typing import Any

import numpy as np
from PIL import Image, ImageDraw


def picture_masks(truth: Any, width: int, height: int, side: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw the masks of the node and of all burned-in marks of one picture, as `prepare_picture` places it.

    Args:
        truth: Row of `Truth.pictures`, in pixels of the original.
        width, height: Pixels of the original.
        side: Pixels a side of the prepared picture.

    Returns:
        Masks of the node and of the marks outside it. bool, each of shape (side, side).
    """
    scale = side / max(width, height)
    left, top = (side - width * scale) / 2, (side - height * scale) / 2

    def place(x: float, y: float) -> tuple[float, float]:
        return left + x * scale, top + y * scale

    node = Image.new("1", (side, side))
    outline = [place(x, y) for x, y in zip(truth.outline_x, truth.outline_y, strict=True)]
    ImageDraw.Draw(node).polygon(outline, fill=1)
    marks = Image.new("1", (side, side))
    pen = ImageDraw.Draw(marks)
    for mark in truth.marks:
        pen.rectangle([place(mark["left"], mark["top"]), place(mark["right"], mark["bottom"])], fill=1)
    return np.array(node), np.array(marks) & ~np.array(node)
